-- name: GetStats :one
-- Counts and averages over completed runs that are not voided; an average is null when no run has
-- the score. Always one row.
-- audit: figures over all completed runs read all of them; the index spares the table.
select
    count(*) as total_runs,
    count(*) filter (where is_successful) as successful_runs,
    scaled_up(sum(scaled_down(total_score)) / count(total_score)) as avg_score,
    scaled_up(sum(scaled_down(weighted_score)) / count(weighted_score)) as avg_weighted_score
from benchmark_runs
where status = 'completed' and voided_at is null;

-- name: ListAgentStats :many
-- The weighted scores of each agent over its completed, successful runs, best
-- average first, nulls last, ties by agent. Voided runs are left out. A run without a weighted score counts
-- as a run. No row when there is no such run.
-- audit: figures over all completed runs read all of them; the index spares the table.
select
    agent,
    count(*) as runs,
    scaled_up(sum(scaled_down(weighted_score)) / count(weighted_score)) as avg_score,
    min(weighted_score)::nullable_score as min_score,
    max(weighted_score)::nullable_score as max_score
from benchmark_runs
where status = 'completed' and is_successful and voided_at is null
group by agent
order by avg_score desc nulls last, agent;
