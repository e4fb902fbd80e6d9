drop function if exists exact_json(anyelement);
