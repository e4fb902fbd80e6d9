-- name: ListDays :many
-- The runs that match all filters (see run_matches), at most run_limit, summarized by the day in UTC on which they
-- started, oldest first. An attempt is a final run that is no infra error (see run_outcome), or any final run if errors_count.
-- Means are over the attempts with a value, and null without one; total_cost is of all final runs.
with figures as (
    select
        date_trunc('day', r.started_at, 'UTC') as day,
        run_outcome(r) as outcome,
        exact(t.cost_usd) as spent,
        attempt.is_success,
        attempt.score,
        attempt.weighted_score,
        attempt.cost,
        attempt.tokens_in,
        attempt.tokens_out,
        attempt.duration_ms
    from benchmark_runs as r
    -- All digits of numbers, whatever the session is set to.
    cross join (select set_config('extra_float_digits', '1', true)) as digits
    left join run_telemetry as t on t.run_id = r.run_id
    -- All is null unless the run is an attempt. (sqlc knows t here only inside of expressions.)
    left join lateral (
        select
            r.status = 'completed' and r.is_successful as is_success,
            run_score(r, r.total_score) as score,
            run_score(r, r.weighted_score) as weighted_score,
            exact(t.cost_usd) as cost,
            t.tokens_in::numeric as tokens_in,
            t.tokens_out::numeric as tokens_out,
            t.duration_ms::numeric as duration_ms
        where run_outcome(r) = 'attempt' or run_outcome(r) = 'infraError' and @errors_count::boolean
    ) as attempt on true
    where run_matches(r, @filters::jsonb)
    limit @run_limit::int
)

select
    day::timestamptz as day,
    count(*) as runs,
    count(is_success) as attempts,
    count(*) filter (where is_success) as successes,
    count(*) filter (where outcome = 'infraError') as infra_errors,
    count(*) filter (where outcome = 'open') as open_runs,
    count(score) as scores,
    mean(sum(score), count(score)) as score_mean,
    count(weighted_score) as weighted_scores,
    mean(sum(weighted_score), count(weighted_score)) as weighted_score_mean,
    to_double(sum(spent) filter (where outcome <> 'open')) as total_cost,
    count(cost) as costs,
    mean(sum(cost), count(cost)) as cost_mean,
    mean(sum(tokens_in), count(tokens_in)) as tokens_in_mean,
    mean(sum(tokens_out), count(tokens_out)) as tokens_out_mean,
    count(duration_ms) as durations,
    mean(sum(duration_ms), count(duration_ms)) as duration_mean
from figures
group by day
order by day
limit @group_limit::int;
