-- An older server finds the orders that it knows in the indexes that took their place.
drop index concurrently if exists benchmark_runs_started_at_id_idx;
drop index concurrently if exists benchmark_runs_suite_started_at_id_idx;
drop index concurrently if exists benchmark_runs_scenario_started_at_id_idx;
drop index concurrently if exists benchmark_runs_suite_scenario_started_at_id_idx;
drop index concurrently if exists benchmark_runs_agent_started_at_id_idx;
drop index concurrently if exists benchmark_runs_completed_scores_idx;

-- Statistics look up in the visibility map which runs they need not read: keep it current.
alter table benchmark_runs set (autovacuum_vacuum_insert_scale_factor = 0.02);
