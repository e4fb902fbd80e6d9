select c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), greatest(c.reltuples, 0)::bigint
from pg_class as c
inner join pg_attribute as a on a.attrelid = c.oid
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
    and c.relname <> 'schema_migrations'
order by c.relname, a.attnum;
