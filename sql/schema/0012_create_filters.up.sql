-- What the filters of runs mean: a JSON object with a member for each filter that is set. Its value is a text, or an
-- array of texts, any of which is meant. PostgreSQL inlines all of this in a custom plan (planned for the values),
-- and then uses indexes: one text becomes an equality.

-- The values of a filter.
create or replace function filter_texts(filter jsonb) returns text[]
language sql immutable parallel safe
as $$
select case jsonb_typeof(filter)
    when 'array' then array(select jsonb_array_elements_text(filter))
    else array[filter #>> '{}']
end
$$;

-- Whether a value is one of a filter's. A filter that is not set (null) leaves nothing out.
create or replace function filter_matches(filter jsonb, value text) returns boolean
language sql immutable parallel safe
as $$
select case jsonb_typeof(filter)
    when 'string' then value = filter #>> '{}'
    when 'array' then value = any(filter_texts(filter))
    else filter is null
end
$$;

create or replace function has_evaluator(run_id text, evaluators text[]) returns boolean
language sql stable parallel safe
as $$
select exists (select from evaluation_results as e where e.run_id = $1 and e.evaluator_name = any($2))
$$;

create or replace function run_matches(run benchmark_runs, filters jsonb) returns boolean
language sql stable parallel safe
as $$
select filter_matches(filters -> 'suite', run.suite)
    and filter_matches(filters -> 'scenario', run.scenario)
    and filter_matches(filters -> 'tier', run.tier)
    and filter_matches(filters -> 'agent', run.agent)
    and filter_matches(filters -> 'model', run.model)
    and filter_matches(filters -> 'batchId', run.batch_id)
    and filter_matches(filters -> 'status', run.status)
    and filter_matches(filters -> 'specialistName', run.specialist_name)
    and (filters ->> 'noModel' is null or run.model is null)
    and (filters ->> 'isSuccessful' is null or run.is_successful = (filters ->> 'isSuccessful')::boolean)
    and (filters ->> 'since' is null or run.started_at >= (filters ->> 'since')::timestamptz)
    and (filters ->> 'until' is null or run.started_at < (filters ->> 'until')::timestamptz)
    and (run.voided_at is null or filters ->> 'voided' = 'true')
    -- A jsonpath, such as: strict $."commit" == "abc"
    and (filters ->> 'metadata' is null or coalesce(run.metadata, run.metadata_text::jsonb) @@ (filters ->> 'metadata')::jsonpath)
    -- The last, since it looks into another table.
    and (filters ->> 'evaluator' is null or has_evaluator(run.run_id, filter_texts(filters -> 'evaluator')))
$$;

drop function if exists has_evaluator(text, text);

/*
Each filter that can be rare has an index that carries the order of lists. It ends in further filters: runs that do
not match are passed over in it, without reading them, so that two values that are common and never meet are
found out in a small part of the time. (PostgreSQL does that for one value of a filter, not for several.)

The indexes that these take the place of are dropped at the end.
*/
-- Drop what a failed attempt left.
drop index concurrently if exists benchmark_runs_suite_started_at_id_filters_idx;
drop index concurrently if exists benchmark_runs_scenario_started_at_id_filters_idx;
drop index concurrently if exists benchmark_runs_tier_started_at_id_filters_idx;
drop index concurrently if exists benchmark_runs_agent_started_at_id_filters_idx;
drop index concurrently if exists benchmark_runs_model_started_at_id_filters_idx;
drop index concurrently if exists benchmark_runs_status_started_at_id_filters_idx;
drop index concurrently if exists benchmark_runs_specialist_name_started_at_id_idx;
drop index concurrently if exists benchmark_runs_metadata_idx;

create index concurrently benchmark_runs_suite_started_at_id_filters_idx on benchmark_runs (
    suite, started_at, id, agent, model, tier, status, is_successful
);
create index concurrently benchmark_runs_scenario_started_at_id_filters_idx on benchmark_runs (
    scenario, started_at, id, suite, agent, model, status
);
create index concurrently benchmark_runs_tier_started_at_id_filters_idx on benchmark_runs (tier, started_at, id, model, status);
create index concurrently benchmark_runs_agent_started_at_id_filters_idx on benchmark_runs (agent, started_at, id, suite, model, status);
create index concurrently benchmark_runs_model_started_at_id_filters_idx on benchmark_runs (model, started_at, id, suite, status)
where model is not null;
create index concurrently benchmark_runs_status_started_at_id_filters_idx on benchmark_runs (status, started_at, id, is_successful);
create index concurrently benchmark_runs_specialist_name_started_at_id_idx on benchmark_runs (specialist_name, started_at, id)
where specialist_name is not null;
-- Without fastupdate, no submission has to wait while the entries of many others are merged.
create index concurrently benchmark_runs_metadata_idx on benchmark_runs using gin (
    coalesce(metadata, metadata_text::jsonb) jsonb_path_ops
) with (fastupdate = off);

drop index concurrently if exists benchmark_runs_suite_started_at_id_others_idx;
drop index concurrently if exists benchmark_runs_scenario_started_at_id_others_idx;
drop index concurrently if exists benchmark_runs_suite_scenario_started_at_id_others_idx;
drop index concurrently if exists benchmark_runs_agent_started_at_id_others_idx;
drop index concurrently if exists benchmark_runs_suite_agent_started_at_id_others_idx;
drop index concurrently if exists benchmark_runs_status_started_at_id_idx;

analyze benchmark_runs; -- the values in metadata, too
