-- Everything in the schema, a line each, and the table to which it belongs, '' for
-- what belongs to none.
select
    case when c.relkind in ('r', 'p') then c.relname else '' end::text as owner,
    format(
        '%s %s %s %s %s %s', c.relkind::text, c.relname, a.attname, format_type(a.atttypid, a.atttypmod) || a.attnotnull || a.attidentity::text,
        (select l.collname from pg_collation as l where l.oid = a.attcollation),
        (select pg_get_expr(d.adbin, d.adrelid) from pg_attrdef as d where d.adrelid = c.oid and d.adnum = a.attnum)
    ) as line
from pg_class as c
inner join pg_attribute as a on a.attrelid = c.oid
where c.relnamespace = 'public'::regnamespace and c.relkind <> 'i' and a.attnum > 0 and not a.attisdropped
union all
select relname, format('grants %s %s', relname, relacl) from pg_class where relnamespace = 'public'::regnamespace and relkind <> 'i'
union all
select conrelid::regclass::text, format('constraint %s %s', conname, pg_get_constraintdef(oid)) from pg_constraint where connamespace = 'public'::regnamespace
union all
select tablename, indexdef from pg_indexes where schemaname = 'public'
union all
select '', format('view %s %s', viewname, definition) from pg_views where schemaname = 'public'
union all
select '', format(
    'function %s (%s) %s %s %s', p.proname, pg_get_function_identity_arguments(p.oid), pg_get_function_result(p.oid),
    md5(p.prosrc || coalesce(pg_get_function_sqlbody(p.oid), '')), p.proacl
)
from pg_proc as p
where p.pronamespace = 'public'::regnamespace
union all
select c.relname, format('trigger %s', pg_get_triggerdef(t.oid))
from pg_trigger as t
inner join pg_class as c on c.oid = t.tgrelid
where c.relnamespace = 'public'::regnamespace and not t.tgisinternal
union all
select '', format('type %s %s', t.typname, array(select e.enumlabel from pg_enum as e where e.enumtypid = t.oid order by e.enumsortorder))
from pg_type as t
where t.typnamespace = 'public'::regnamespace and t.typtype in ('d', 'e')
union all
select '', format('extension %s', extname) from pg_extension
order by 2, 1;
