/*
What evaluators gave. An attempt is a final run that is no infra error (see run_outcome), or any final run if
errors_count.
*/

-- name: CountRuns :one
-- How many runs match all filters (see run_matches), at most run_limit; how many of them are attempts, infra errors and
-- open runs; and how many attempts no evaluator gave a score. Always one row. An infra error that is an attempt counts as both.
with figures as (
    select
        run_outcome(r) as outcome,
        run_outcome(r) = 'attempt' or run_outcome(r) = 'infraError' and @errors_count::boolean as is_attempt,
        exists (select from evaluation_results as e where e.run_id = r.run_id and e.score is not null) as is_scored
    from benchmark_runs as r
    where run_matches(r, @filters::jsonb)
    limit @run_limit::int
)

select
    count(*) as runs,
    count(*) filter (where is_attempt) as attempts,
    count(*) filter (where outcome = 'infraError') as infra_errors,
    count(*) filter (where outcome = 'open') as open_runs,
    count(*) filter (where is_attempt and not is_scored) as unscored
from figures;

-- name: ListEvaluatorCells :many
-- The evaluations of the attempts that match all filters (see run_matches), at most evaluation_limit of at most run_limit
-- attempts, summarized by evaluator, scenario and tier, in order. The mean is that of evaluation_value, null without a score.
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

evaluations as (
    select
        a.run_id,
        a.scenario,
        a.tier,
        e.evaluator_name,
        e.score >= e.max_score as is_full,
        e.score <= 0 as is_zero,
        evaluation_value(e.score, e.max_score) as value
    from attempts as a
    -- All digits of numbers, whatever the session is set to.
    cross join (select set_config('extra_float_digits', '1', true)) as digits
    inner join evaluation_results as e on e.run_id = a.run_id
    limit @evaluation_limit::int
)

select
    evaluator_name,
    scenario,
    tier,
    count(*) as evaluations,
    count(distinct run_id) as runs, -- which an evaluator can evaluate more than once
    count(*) filter (where is_full) as full_scores,
    count(*) filter (where is_zero) as zero_scores,
    count(value) as scores,
    mean(sum(value), count(value)) as mean
from evaluations
group by scenario, tier, evaluator_name
order by evaluator_name, scenario, tier
limit @group_limit::int;
