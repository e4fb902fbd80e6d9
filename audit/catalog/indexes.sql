select i.relname::text, t.relname::text, pg_get_indexdef(x.indexrelid),
    exists (select 1 from pg_constraint as k where k.conindid = x.indexrelid and k.contype in ('p', 'u', 'x'))
from pg_index as x
inner join pg_class as i on i.oid = x.indexrelid
inner join pg_class as t on t.oid = x.indrelid
where t.relnamespace = 'public'::regnamespace and t.relname <> 'schema_migrations'
order by t.relname, i.relname;
