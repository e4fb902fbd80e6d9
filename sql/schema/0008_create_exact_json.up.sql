-- The JSON of a value, whose numbers have all their digits. Without it, extra_float_digits
-- decides how many they have: a session may have another value, from the database's or the
-- role's defaults, or from who used it before behind a pooler.
create or replace function exact_json(value anyelement) returns json
language sql stable parallel safe
set extra_float_digits = 1
as $$ select to_json(value) $$;
