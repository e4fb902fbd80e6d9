-- What the filters of runs mean: a JSON object with a text for each filter that is set.
-- PostgreSQL inlines the function in a custom plan (planned for the values), and then uses
-- indexes. The body is text, since one that PostgreSQL parses here (begin atomic) would
-- keep columns from being added to the table.
create or replace function run_matches(run benchmark_runs, filters jsonb) returns boolean
language sql immutable parallel safe
as $$
select (filters ->> 'suite' is null or run.suite = filters ->> 'suite')
    and (filters ->> 'scenario' is null or run.scenario = filters ->> 'scenario')
    and (filters ->> 'agent' is null or run.agent = filters ->> 'agent')
    and (filters ->> 'status' is null or run.status = filters ->> 'status')
$$;
