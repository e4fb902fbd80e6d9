/*
What evaluators gave. The value of an evaluation is its score / max_score. Attempts are the runs whose
outcome (see run_outcome) is one of the given.
*/

-- name: CountRuns :one
-- How many runs match all filters (see run_matches), at most run_limit; how many of them are attempts, infra errors and open
-- runs; and how many attempts no evaluator gave a score. Always one row. An infra error is counted twice if it is an attempt.
with figures as (
    select
        run_outcome(r) as outcome,
        exists (select from evaluation_results as e where e.run_id = r.run_id and e.score is not null) as is_scored
    from benchmark_runs as r
    where run_matches(r, @filters::jsonb)
    limit @run_limit::int
)

select
    count(*) as runs,
    count(*) filter (where outcome = any(@attempts::text [])) as attempts,
    count(*) filter (where outcome = 'infraError') as infra_errors,
    count(*) filter (where outcome = 'open') as open_runs,
    count(*) filter (where outcome = any(@attempts::text []) and not is_scored) as unscored
from figures;

-- name: ListEvaluatorCells :many
-- The evaluations of the attempts that match all filters (see run_matches), summarized by evaluator, scenario and
-- tier, in order. At most run_limit attempts are read. The mean is null without a score.
with attempts as (
    select
        r.run_id,
        r.scenario,
        r.tier
    from benchmark_runs as r
    where run_matches(r, @filters::jsonb) and run_outcome(r) = any(@attempts::text [])
    limit @run_limit::int
),

evaluations as (
    select
        a.run_id,
        a.scenario,
        a.tier,
        e.evaluator_name,
        e.score >= e.max_score as is_full,
        e.score <= 0 as is_zero,
        exact(e.score) / exact(e.max_score) as value
    from attempts as a
    -- All digits of numbers, whatever the session is set to.
    cross join (select set_config('extra_float_digits', '1', true)) as digits
    inner join evaluation_results as e on e.run_id = a.run_id
)

select
    evaluator_name,
    scenario,
    tier,
    count(*) as evaluations,
    count(distinct run_id) as runs,
    count(*) filter (where is_full) as full_scores,
    count(*) filter (where is_zero) as zero_scores,
    count(value) as scores,
    mean(sum(value), count(value)) as mean
from evaluations
-- An evaluator can evaluate a run more than once.
group by scenario, tier, evaluator_name
order by evaluator_name, scenario, tier
limit @cell_limit::int;
