select format('%s %s %s %s', c.relkind::text, c.relname, a.attname, format_type(a.atttypid, a.atttypmod) || a.attnotnull || a.attidentity::text)
from pg_class as c
inner join pg_attribute as a on a.attrelid = c.oid
where c.relnamespace = 'public'::regnamespace and a.attnum > 0 and not a.attisdropped
union all
select format('constraint %s %s', conname, pg_get_constraintdef(oid)) from pg_constraint where connamespace = 'public'::regnamespace
union all
select indexdef from pg_indexes where schemaname = 'public'
union all
select format('view %s %s', viewname, definition) from pg_views where schemaname = 'public'
union all
select format('function %s %s', proname, md5(prosrc || coalesce(pg_get_function_sqlbody(oid), ''))) from pg_proc where pronamespace = 'public'::regnamespace
union all
select format('type %s', typname) from pg_type where typnamespace = 'public'::regnamespace and typtype in ('d', 'e')
order by 1;
