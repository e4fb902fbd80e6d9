drop index concurrently if exists benchmark_runs_started_at_id_stats_idx; -- left by a failed attempt
create index concurrently benchmark_runs_started_at_id_stats_idx on benchmark_runs (started_at, id)
include (status, agent, is_successful, weighted_score, total_score);
drop index concurrently if exists benchmark_runs_started_at_id_figures_idx;

alter table benchmark_runs
drop constraint benchmark_runs_metadata_text_check,
add constraint benchmark_runs_metadata_text_check check (jsonb_typeof(metadata_text::jsonb) = 'object') not valid;
alter table batch_runs
drop constraint batch_runs_metadata_text_check,
add constraint batch_runs_metadata_text_check check (jsonb_typeof(metadata_text::jsonb) = 'object') not valid;
