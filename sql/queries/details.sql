/*
What the details of a comparison are made of: the values of single attempts. What a run counts as is in the functions run_outcome
and run_score. Means are exact, as in cells.sql.
*/

-- name: ListAttemptValues :many
-- The runs that match all filters (see run_matches), at most run_limit, summarized by scenario and tier, in order. An attempt is a
-- final run that is no infra error, or any final run if errors_count. attempt_values has the values of the metric
-- (success, totalScore or weightedScore) of the attempts that have one, in ascending order; without any it is empty, and
-- value_mean is null.
with figures as (
    select
        r.scenario,
        r.tier,
        run_outcome(r) as outcome,
        case @metric::text
            when 'totalScore' then run_score(r, r.total_score)
            when 'weightedScore' then run_score(r, r.weighted_score)
            else (r.status = 'completed' and r.is_successful)::int
        end as value
    from benchmark_runs as r
    -- All digits of numbers, whatever the session is set to.
    cross join (select set_config('extra_float_digits', '1', true)) as digits
    where run_matches(r, @filters::jsonb)
    limit @run_limit::int
),

attempts as (
    select
        *,
        outcome = 'attempt' or outcome = 'infraError' and @errors_count::boolean as is_attempt
    from figures
)

select
    scenario,
    tier,
    count(*) as runs,
    count(*) filter (where is_attempt) as attempts,
    count(*) filter (where outcome = 'infraError') as infra_errors,
    count(*) filter (where outcome = 'open') as open_runs,
    coalesce(array_agg(value order by value) filter (where is_attempt and value is not null), '{}')::double precision[] as attempt_values,
    mean(sum(value) filter (where is_attempt), count(value) filter (where is_attempt)) as value_mean
from attempts
group by tier, scenario
order by scenario, tier
limit @group_limit::int;

-- name: ListEvaluationValues :many
-- The evaluations of the attempts that match all filters (see run_matches), at most evaluation_limit of at most run_limit
-- attempts, summarized by scenario, tier and evaluator, in order. An attempt is as in ListAttemptValues. Its value is the
-- mean of score / max_score over what the evaluator said of it: one evaluator may evaluate a run several times, which makes
-- no more attempts of it. attempt_values is in ascending order; without any score it is empty, and value_mean is null.
with attempts as (
    select
        r.run_id,
        r.scenario,
        r.tier
    from benchmark_runs as r
    where
        run_matches(r, @filters::jsonb)
        and (run_outcome(r) = 'attempt' or run_outcome(r) = 'infraError' and @errors_count::boolean)
    limit @run_limit::int
),

evaluated as (
    select
        a.run_id,
        a.scenario,
        a.tier,
        e.evaluator_name,
        evaluation_value(e.score, e.max_score) as value
    from attempts as a
    cross join (select set_config('extra_float_digits', '1', true)) as digits
    inner join evaluation_results as e on a.run_id = e.run_id
    limit @evaluation_limit::int
),

figures as (
    select
        scenario,
        tier,
        evaluator_name,
        count(*) as evaluations,
        count(value) as scored,
        avg(value) as value
    from evaluated
    group by run_id, scenario, tier, evaluator_name
)

select
    scenario,
    tier,
    evaluator_name,
    sum(evaluations)::bigint as evaluations,
    sum(evaluations - scored)::bigint as unscored,
    coalesce(array_agg(to_double(value) order by value) filter (where value is not null), '{}')::double precision[] as attempt_values,
    mean(sum(value), count(value)) as value_mean
from figures
group by evaluator_name, tier, scenario
order by scenario, tier, evaluator_name
limit @group_limit::int;
