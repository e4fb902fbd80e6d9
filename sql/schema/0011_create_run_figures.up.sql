-- What a run counts as, and what it contributes to statistics: one place for all of them.

-- The type of a run's error, null if it has none that is a text.
create or replace function error_type(run benchmark_runs) returns text
language sql stable parallel safe
as $$
select case jsonb_typeof(coalesce(run.metadata, run.metadata_text::jsonb) -> 'errorType')
    when 'string' then coalesce(run.metadata, run.metadata_text::jsonb) ->> 'errorType'
end
$$;

-- open: it has not ended. infraError: it failed, and its error is not the agent's. attempt: any other
-- final run; a failure that nobody explained counts as the agent's.
create or replace function run_outcome(run benchmark_runs) returns text
language sql stable parallel safe
as $$
select case
    when run.status in ('running', 'incomplete') then 'open'
    when run.status = 'failed' and error_type(run) not in ('agent', 'unknown') then 'infraError'
    else 'attempt'
end
$$;

-- The shortest decimal number that the double stands for. Sums of these are exact, so that
-- they do not depend on the order. (A cast to numeric rounds to 15 digits.) It needs
-- extra_float_digits = 1, PostgreSQL's default.
create or replace function exact(value double precision) returns numeric
language sql stable parallel safe
return value::text::numeric;

-- A run that failed without a score has the score 0.
create or replace function run_score(run benchmark_runs, score double precision) returns numeric
language sql stable parallel safe
as $$
select case when score is null and run.status = 'failed' then 0 else exact(score) end
$$;

-- The nearest double; a number that is too close to 0 is 0, and one beyond all doubles is the largest
-- or the smallest of them, since PostgreSQL refuses to convert it.
create or replace function to_double(value numeric) returns nullable_score
language sql immutable parallel safe
return case
    when abs(value) < 1e-300 then 0
    when abs(value) > 1.7976931348623157e308 then sign(value)::double precision * 1.7976931348623157e308
    else value::double precision
end;

-- The mean of values, null without any.
create or replace function mean(sum numeric, count bigint) returns nullable_score
language sql immutable parallel safe
return to_double(sum / nullif(count, 0));

-- The standard deviation of the population of values, null without any.
create or replace function deviation(sum numeric, squares numeric, count bigint) returns nullable_score
language sql immutable parallel safe
return case
    when count * squares = sum * sum then 0 -- no digits are lost: the sums are exact
    else to_double(sqrt((count * squares - sum * sum) / nullif(count * count, 0)))
end;

-- The value of an evaluation: its share of the highest score; null without a score. Shares that no double can
-- hold become the nearest one, so that an extreme evaluation cannot fail a statistic.
create or replace function evaluation_value(score double precision, max_score double precision) returns numeric
language sql stable parallel safe
return case
    when score is not null -- which least and greatest would ignore
    then greatest(least(exact(score) / exact(max_score), 1.7976931348623157e308), -1.7976931348623157e308)
end;

-- A function of its own, so that PostgreSQL can inline run_matches, which it cannot with a
-- subquery.
create or replace function has_evaluator(run_id text, evaluator text) returns boolean
language sql stable parallel safe
as $$
select exists (select from evaluation_results as e where e.run_id = $1 and e.evaluator_name = $2)
$$;

create or replace function run_matches(run benchmark_runs, filters jsonb) returns boolean
language sql stable parallel safe
as $$
select (filters ->> 'suite' is null or run.suite = filters ->> 'suite')
    and (filters ->> 'scenario' is null or run.scenario = filters ->> 'scenario')
    and (filters ->> 'tier' is null or run.tier = filters ->> 'tier')
    and (filters ->> 'agent' is null or run.agent = filters ->> 'agent')
    and (filters ->> 'model' is null or run.model = filters ->> 'model')
    and (filters ->> 'noModel' is null or run.model is null)
    and (filters ->> 'batchId' is null or run.batch_id = filters ->> 'batchId')
    and (filters ->> 'status' is null or run.status = filters ->> 'status')
    and (filters ->> 'since' is null or run.started_at >= (filters ->> 'since')::timestamptz)
    and (filters ->> 'until' is null or run.started_at < (filters ->> 'until')::timestamptz)
    and (filters ->> 'specialistName' is null or run.specialist_name = filters ->> 'specialistName')
    and (run.voided_at is null or filters ->> 'voided' = 'true')
    -- The last, since it looks into another table.
    and (filters ->> 'evaluator' is null or has_evaluator(run.run_id, filters ->> 'evaluator'))
$$;
