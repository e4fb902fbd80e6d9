alter table benchmark_runs validate constraint benchmark_runs_metadata_text_check;
alter table batch_runs validate constraint batch_runs_metadata_text_check;

-- Statistics leave voided runs out, without reading the table.
drop index concurrently if exists benchmark_runs_started_at_id_figures_idx; -- left by a failed attempt
create index concurrently benchmark_runs_started_at_id_figures_idx on benchmark_runs (started_at, id)
include (status, agent, is_successful, weighted_score, total_score, voided_at);
drop index concurrently if exists benchmark_runs_started_at_id_stats_idx;
