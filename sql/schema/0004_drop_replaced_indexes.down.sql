alter table benchmark_runs reset (autovacuum_vacuum_insert_scale_factor);

-- Drop what a failed attempt left.
drop index concurrently if exists benchmark_runs_started_at_id_idx;
drop index concurrently if exists benchmark_runs_suite_started_at_id_idx;
drop index concurrently if exists benchmark_runs_scenario_started_at_id_idx;
drop index concurrently if exists benchmark_runs_suite_scenario_started_at_id_idx;
drop index concurrently if exists benchmark_runs_agent_started_at_id_idx;
drop index concurrently if exists benchmark_runs_completed_scores_idx;

create index concurrently benchmark_runs_started_at_id_idx on benchmark_runs (started_at, id);
create index concurrently benchmark_runs_suite_started_at_id_idx on benchmark_runs (suite, started_at, id);
create index concurrently benchmark_runs_scenario_started_at_id_idx on benchmark_runs (scenario, started_at, id);
create index concurrently benchmark_runs_suite_scenario_started_at_id_idx on benchmark_runs (suite, scenario, started_at, id);
create index concurrently benchmark_runs_agent_started_at_id_idx on benchmark_runs (agent, started_at, id);
create index concurrently benchmark_runs_completed_scores_idx on benchmark_runs (
    agent, is_successful, weighted_score, total_score
) where status = 'completed';
