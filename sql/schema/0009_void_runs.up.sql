-- A run that was wrong is voided: it stays, but is in no list and no figure.
alter table benchmark_runs
add column voided_at timestamptz,
-- The name of the key that voided it, null for the shared key.
add column voided_by text collate "C",
add column void_reason text;

-- What was voided and restored. Rows are only added: they stay when a run is deleted.
create table corrections (
    id bigint not null generated always as identity,
    run_id text collate "C" not null,
    action text collate "C" not null,
    reason text,
    -- The name of the key, null for the shared key.
    corrected_by text collate "C",
    corrected_at timestamptz not null,
    constraint corrections_pkey primary key (id),
    constraint corrections_action_check check (action in ('void', 'restore'))
);

create index corrections_run_id_id_idx on corrections (run_id, id);

-- Metadata as it was sent: jsonb reorders the members of objects, and returns 1e308 with
-- 309 digits. Where metadata is not null, an older server stored it, after metadata_text.
-- The checks refuse a text that cannot be compared as jsonb.
alter table benchmark_runs
add column metadata_text json,
add constraint benchmark_runs_metadata_text_check check (jsonb_typeof(metadata_text::jsonb) = 'object') not valid;
alter table batch_runs
add column metadata_text json,
add constraint batch_runs_metadata_text_check check (jsonb_typeof(metadata_text::jsonb) = 'object') not valid;

create or replace function run_matches(run benchmark_runs, filters jsonb) returns boolean
language sql immutable parallel safe
as $$
select (filters ->> 'suite' is null or run.suite = filters ->> 'suite')
    and (filters ->> 'scenario' is null or run.scenario = filters ->> 'scenario')
    and (filters ->> 'agent' is null or run.agent = filters ->> 'agent')
    and (filters ->> 'status' is null or run.status = filters ->> 'status')
    and (run.voided_at is null or filters ->> 'voided' = 'true')
$$;

create or replace view batch_summaries as
select
    b.batch_id,
    b.created_at,
    b.completed_at,
    coalesce(b.total_runs, computed.total_runs)::bigint as total_runs,
    coalesce(b.successful_runs, computed.successful_runs)::bigint as successful_runs,
    coalesce(b.avg_score, computed.avg_score)::nullable_score as avg_score,
    coalesce(b.avg_weighted_score, computed.avg_weighted_score)::nullable_score as avg_weighted_score,
    b.metadata,
    b.submitted_by,
    b.metadata_text
from batch_runs as b
cross join lateral (
    select
        count(*) as total_runs,
        count(*) filter (where scores.is_successful) as successful_runs,
        scaled_up(sum(scaled_down(scores.total)) / count(scores.total)) as avg_score,
        scaled_up(sum(scaled_down(scores.weighted)) / count(scores.weighted)) as avg_weighted_score
    from (
        select
            r.is_successful,
            case when r.status = 'completed' then r.total_score end as total,
            case when r.status = 'completed' then r.weighted_score end as weighted
        from benchmark_runs as r
        where r.batch_id = b.batch_id
            and r.voided_at is null
            -- Nothing is read where everything was reported.
            and num_nulls(b.total_runs, b.successful_runs, b.avg_score, b.avg_weighted_score) > 0
    ) as scores
) as computed;
