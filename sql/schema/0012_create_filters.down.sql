create or replace function has_evaluator(run_id text, evaluator text) returns boolean
language sql stable parallel safe
as $$
select exists (select from evaluation_results as e where e.run_id = $1 and e.evaluator_name = $2)
$$;

create or replace function run_matches(run benchmark_runs, filters jsonb) returns boolean
language sql stable parallel safe
as $$
select (filters ->> 'suite' is null or run.suite = filters ->> 'suite')
    and (filters ->> 'scenario' is null or run.scenario = filters ->> 'scenario')
    and (filters ->> 'tier' is null or run.tier = filters ->> 'tier')
    and (filters ->> 'agent' is null or run.agent = filters ->> 'agent')
    and (filters ->> 'model' is null or run.model = filters ->> 'model')
    and (filters ->> 'noModel' is null or run.model is null)
    and (filters ->> 'batchId' is null or run.batch_id = filters ->> 'batchId')
    and (filters ->> 'status' is null or run.status = filters ->> 'status')
    and (filters ->> 'since' is null or run.started_at >= (filters ->> 'since')::timestamptz)
    and (filters ->> 'until' is null or run.started_at < (filters ->> 'until')::timestamptz)
    and (filters ->> 'specialistName' is null or run.specialist_name = filters ->> 'specialistName')
    and (run.voided_at is null or filters ->> 'voided' = 'true')
    -- The last, since it looks into another table.
    and (filters ->> 'evaluator' is null or has_evaluator(run.run_id, filters ->> 'evaluator'))
$$;

drop function if exists has_evaluator(text, text[]);
drop function if exists filter_matches(jsonb, text);
drop function if exists filter_texts(jsonb);

-- Drop what a failed attempt left.
drop index concurrently if exists benchmark_runs_suite_started_at_id_others_idx;
drop index concurrently if exists benchmark_runs_scenario_started_at_id_others_idx;
drop index concurrently if exists benchmark_runs_suite_scenario_started_at_id_others_idx;
drop index concurrently if exists benchmark_runs_agent_started_at_id_others_idx;
drop index concurrently if exists benchmark_runs_suite_agent_started_at_id_others_idx;
drop index concurrently if exists benchmark_runs_status_started_at_id_idx;

create index concurrently benchmark_runs_suite_started_at_id_others_idx on benchmark_runs (suite, started_at, id, status);
create index concurrently benchmark_runs_scenario_started_at_id_others_idx on benchmark_runs (scenario, started_at, id, agent, status);
create index concurrently benchmark_runs_suite_scenario_started_at_id_others_idx on benchmark_runs (suite, scenario, started_at, id, agent, status);
create index concurrently benchmark_runs_agent_started_at_id_others_idx on benchmark_runs (agent, started_at, id, status);
create index concurrently benchmark_runs_suite_agent_started_at_id_others_idx on benchmark_runs (suite, agent, started_at, id, scenario, status);
create index concurrently benchmark_runs_status_started_at_id_idx on benchmark_runs (status, started_at, id);

drop index concurrently if exists benchmark_runs_suite_started_at_id_filters_idx;
drop index concurrently if exists benchmark_runs_scenario_started_at_id_filters_idx;
drop index concurrently if exists benchmark_runs_tier_started_at_id_filters_idx;
drop index concurrently if exists benchmark_runs_agent_started_at_id_filters_idx;
drop index concurrently if exists benchmark_runs_model_started_at_id_filters_idx;
drop index concurrently if exists benchmark_runs_status_started_at_id_filters_idx;
drop index concurrently if exists benchmark_runs_specialist_name_started_at_id_idx;
drop index concurrently if exists benchmark_runs_metadata_idx;
