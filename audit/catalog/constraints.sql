select k.conname::text, t.relname::text, pg_get_constraintdef(k.oid)
from pg_constraint as k
inner join pg_class as t on t.oid = k.conrelid
where k.connamespace = 'public'::regnamespace and t.relname <> 'schema_migrations' and k.contype in ('c', 'f', 'p', 'u', 'x')
order by t.relname, k.conname;
