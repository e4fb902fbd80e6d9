/*
What statistics are made of. A cell is an agent with a model at a scenario and a tier. All
queries here read the matching runs themselves, at most run_limit of them.

Sums are of exact decimal numbers (see the function exact), so the order in which runs came plays
no part.
*/

-- name: ListCells :many
-- The runs that match all filters (see run_matches), summarized by cell and outcome (see run_outcome), in
-- order. Means and deviations are null, and lists are empty, without a value. durations_ms
-- has the known durations, in no particular order.
with figures as (
    select
        r.agent,
        r.model,
        r.scenario,
        r.tier,
        r.started_at,
        run_outcome(r) as outcome,
        r.status = 'completed' and r.is_successful as is_success,
        run_score(r, r.total_score) as score,
        run_score(r, r.weighted_score) as weighted_score,
        exact(t.cost_usd) as cost,
        t.tokens_in,
        t.tokens_out,
        t.duration_ms
    from benchmark_runs as r
    -- All digits of numbers, whatever the session is set to.
    cross join (select set_config('extra_float_digits', '1', true)) as digits
    left join run_telemetry as t on t.run_id = r.run_id
    where run_matches(r, @filters::jsonb)
    limit @run_limit::int
)

select
    agent,
    model,
    scenario,
    tier,
    outcome,
    count(*) as runs,
    count(*) filter (where is_success) as successes,
    count(score) as scores,
    mean(sum(score), count(score)) as score_mean,
    deviation(sum(score), sum(score * score), count(score)) as score_deviation,
    count(weighted_score) as weighted_scores,
    mean(sum(weighted_score), count(weighted_score)) as weighted_score_mean,
    deviation(sum(weighted_score), sum(weighted_score * weighted_score), count(weighted_score)) as weighted_score_deviation,
    count(cost) as costs,
    mean(sum(cost), count(cost)) as cost_mean,
    count(tokens_in) as tokens_in_known,
    mean(sum(tokens_in), count(tokens_in)) as tokens_in_mean,
    count(tokens_out) as tokens_out_known,
    mean(sum(tokens_out), count(tokens_out)) as tokens_out_mean,
    count(duration_ms) as durations,
    mean(sum(duration_ms), count(duration_ms)) as duration_mean,
    coalesce(array_agg(duration_ms) filter (where duration_ms is not null), '{}')::bigint[] as durations_ms,
    max(started_at)::timestamptz as last_started_at
from figures
group by agent, model, scenario, tier, outcome
order by agent, model nulls first, scenario, tier, outcome
limit @cell_limit::int;
