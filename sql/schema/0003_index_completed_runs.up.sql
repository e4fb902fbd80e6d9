-- Both statistics, without touching the table. In the order in which runs come, so that
-- a submission adds to the end of the index, and a scan of it goes through the
-- visibility map once.
create index concurrently benchmark_runs_completed_started_at_idx on benchmark_runs (started_at)
include (agent, is_successful, weighted_score, total_score) where status = 'completed';
