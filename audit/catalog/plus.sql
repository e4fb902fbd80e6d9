-- An expression that is another value of the type than %s is, null where none is known.
select case
    when kind in ('text', 'character varying', 'character') then 'coalesce(%s, '''') || ''x'''
    -- The largest has no successor.
    when kind in ('smallint', 'integer', 'bigint') then '(coalesce(%s, 0) + case when %s > 30000 then -1 else 1 end)::' || kind
    when kind in ('real', 'double precision', 'numeric') then 'coalesce(%s, 0) + 1'
    when kind = 'boolean' then 'not coalesce(%s, false)'
    when kind = 'date' then 'coalesce(%s, ''2001-01-01'') + 1'
    when kind like 'timestamp%' then 'coalesce(%s, ''2001-01-01'') + interval ''1 hour'''
    when kind like 'time %' or kind = 'interval' then 'coalesce(%s, ''00:00'') + interval ''1 hour'''
    when kind = 'jsonb' then 'case when jsonb_typeof(%s) = ''array'' then ''[]''::jsonb else ''{"mutant": true}''::jsonb end'
    when kind = 'json' then '''[]''::json'
    when kind = 'uuid' then 'md5(coalesce((%s)::text, ''''))::uuid'
    when kind = 'bytea' then 'case when length(%s) > 0 then set_byte(%s, 0, 255 - get_byte(%s, 0)) else ''\x00''::bytea end'
    when kind like '%[]' then 'case when cardinality(%s) > 0 then (%s)[2:] else array[null]::' || kind || ' end'
    when labels[2] is not null then format('case when %%s = %L then %L else %L end::%s', labels[1], labels[2], labels[1], kind)
end
from (
    select
        format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null) as kind,
        array(select e.enumlabel from pg_enum as e where e.enumtypid = t.oid order by e.enumsortorder) as labels
    from pg_type as t
    where t.oid = to_regtype($1)
) as types;
