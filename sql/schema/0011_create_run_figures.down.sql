create or replace function run_matches(run benchmark_runs, filters jsonb) returns boolean
language sql immutable parallel safe
as $$
select (filters ->> 'suite' is null or run.suite = filters ->> 'suite')
    and (filters ->> 'scenario' is null or run.scenario = filters ->> 'scenario')
    and (filters ->> 'agent' is null or run.agent = filters ->> 'agent')
    and (filters ->> 'status' is null or run.status = filters ->> 'status')
    and (run.voided_at is null or filters ->> 'voided' = 'true')
$$;

drop function if exists has_evaluator(text, text);
drop function if exists evaluation_value(double precision, double precision);
drop function if exists deviation(numeric, numeric, bigint);
drop function if exists mean(numeric, bigint);
drop function if exists to_double(numeric);
drop function if exists run_score(benchmark_runs, double precision);
drop function if exists exact(double precision);
drop function if exists run_outcome(benchmark_runs);
drop function if exists error_type(benchmark_runs);
