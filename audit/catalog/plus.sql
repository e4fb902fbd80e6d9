select case
    when $1 in ('text', 'character varying') then 'coalesce(%s, '''') || ''x'''
    when $1 in ('smallint', 'integer', 'bigint', 'double precision', 'numeric', 'nullable_score') then 'coalesce(%s, 0) + 1'
    when $1 = 'boolean' then 'not coalesce(%s, false)'
    when $1 like 'timestamp%' then 'coalesce(%s, ''2001-01-01'') + interval ''1 hour'''
    when $1 = 'jsonb' then '''{"mutant": true}''::jsonb'
    when $1 = 'json' then '''[]''::json'
    else ''
end;
