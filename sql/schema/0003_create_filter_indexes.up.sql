/*
An index of a filter ends in further filters: runs that do not match are passed over in
it, without reading them, so that two values that are common and never meet are found out
in a small part of the time. A suite with an agent, which is what people compare, has an
index of its own.

All runs and the statistics share one: in the order in which runs come, a submission adds
to the end of it, and a scan goes through the visibility map once.

The indexes that these take the place of are dropped by the next migration: who repeats
this one has them meanwhile.
*/
-- Drop what a failed attempt left.
drop index concurrently if exists benchmark_runs_started_at_id_stats_idx;
drop index concurrently if exists benchmark_runs_suite_started_at_id_others_idx;
drop index concurrently if exists benchmark_runs_scenario_started_at_id_others_idx;
drop index concurrently if exists benchmark_runs_suite_scenario_started_at_id_others_idx;
drop index concurrently if exists benchmark_runs_agent_started_at_id_others_idx;
drop index concurrently if exists benchmark_runs_suite_agent_started_at_id_others_idx;

create index concurrently benchmark_runs_started_at_id_stats_idx on benchmark_runs (started_at, id)
include (status, agent, is_successful, weighted_score, total_score);
create index concurrently benchmark_runs_suite_started_at_id_others_idx on benchmark_runs (suite, started_at, id, status);
create index concurrently benchmark_runs_scenario_started_at_id_others_idx on benchmark_runs (scenario, started_at, id, agent, status);
create index concurrently benchmark_runs_suite_scenario_started_at_id_others_idx on benchmark_runs (suite, scenario, started_at, id, agent, status);
create index concurrently benchmark_runs_agent_started_at_id_others_idx on benchmark_runs (agent, started_at, id, status);
create index concurrently benchmark_runs_suite_agent_started_at_id_others_idx on benchmark_runs (suite, agent, started_at, id, scenario, status);
