/* Averages are sums of values scaled down by 2^64: see the view batch_summaries. */

-- name: GetStats :one
-- Counts and averages over completed runs; an average is null when no run has
-- the score. Always one row.
select
    count(*) as total_runs,
    count(*) filter (where is_successful) as successful_runs,
    (sum(total_score / 18446744073709551616) / count(total_score) * 18446744073709551616)::nullable_score as avg_score,
    (sum(weighted_score / 18446744073709551616) / count(weighted_score) * 18446744073709551616)::nullable_score
        as avg_weighted_score
from benchmark_runs
where status = 'completed';

-- name: ListAgentStats :many
-- The weighted scores of each agent over its completed, successful runs, best
-- average first, nulls last, ties by agent. A run without a weighted score counts
-- as a run. No row when there is no such run.
select
    agent,
    count(*) as runs,
    (sum(weighted_score / 18446744073709551616) / count(weighted_score) * 18446744073709551616)::nullable_score as avg_score,
    min(weighted_score)::nullable_score as min_score,
    max(weighted_score)::nullable_score as max_score
from benchmark_runs
where status = 'completed' and is_successful
group by agent
order by avg_score desc nulls last, agent;
