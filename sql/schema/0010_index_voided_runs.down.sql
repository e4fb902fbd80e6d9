drop index concurrently if exists benchmark_runs_started_at_id_stats_idx; -- left by a failed attempt
create index concurrently benchmark_runs_started_at_id_stats_idx on benchmark_runs (started_at, id)
include (status, agent, is_successful, weighted_score, total_score);
drop index concurrently if exists benchmark_runs_started_at_id_figures_idx;
