-- Averages that may be missing. sqlc takes a cast for "never null"; a cast to
-- this domain reaches Go as *float64 (see sqlc.yaml).
create domain nullable_score as double precision;

-- An average is scaled_up(sum(scaled_down(score)) / count(score)): scaling by 2^64
-- is exact, and keeps the sum of scores near the end of the range from overflowing.
-- avg() overflows far earlier, since it keeps the sum of squares as well.
-- PostgreSQL refuses a result too close to 0 to be held; a score that would become
-- one counts as 0, so that it does not take every average with it.
create function scaled_down(score double precision) returns double precision
language sql immutable parallel safe
return case when abs(score) < 1e-200 then 0 else score / 18446744073709551616 end;

create function scaled_up(score double precision) returns nullable_score
language sql immutable parallel safe
return score * 18446744073709551616;

-- Names compare by code point (collate "C"): the order is the same on every
-- machine, and an index survives an upgrade of the operating system's locales.

create table batch_runs (
    batch_id text collate "C" not null,
    created_at timestamptz not null,
    completed_at timestamptz,
    -- What the client reported on completion; null is computed from the runs.
    total_runs bigint,
    successful_runs bigint,
    avg_score double precision,
    avg_weighted_score double precision,
    metadata jsonb,
    constraint batch_runs_pkey primary key (batch_id),
    constraint batch_runs_batch_id_check check (char_length(batch_id) between 1 and 150),
    constraint batch_runs_total_runs_check check (total_runs >= 0),
    constraint batch_runs_successful_runs_check check (successful_runs >= 0),
    -- An open batch has no summary of its own.
    constraint batch_runs_summary_check check (
        completed_at is not null
        or num_nonnulls(total_runs, successful_runs, avg_score, avg_weighted_score) = 0
    )
);

create index batch_runs_created_at_batch_id_idx on batch_runs (created_at, batch_id);

-- Runs, and what they own, can be sharded by run: every key of theirs begins
-- with run_id, and id only breaks ties between equal times.
create table benchmark_runs (
    run_id text collate "C" not null,
    id bigint not null generated always as identity,
    batch_id text collate "C",
    suite text collate "C" not null,
    scenario text collate "C" not null,
    tier text collate "C" not null,
    agent text collate "C" not null,
    model text collate "C",
    status text collate "C" not null,
    started_at timestamptz not null,
    -- False where the last submission left its start out, and started_at is the
    -- time of receipt: the same submission, sent again, has to be recognised.
    started_at_given boolean not null,
    completed_at timestamptz,
    total_score double precision,
    weighted_score double precision,
    is_successful boolean not null,
    success_metric double precision,
    specialist_enabled boolean,
    specialist_name text,
    specialist_version text,
    metadata jsonb,
    constraint benchmark_runs_pkey primary key (run_id),
    constraint benchmark_runs_batch_id_fkey foreign key (batch_id) references batch_runs (batch_id),
    constraint benchmark_runs_names_check check (
        char_length(run_id) between 1 and 150
        and char_length(suite) between 1 and 150
        and char_length(scenario) between 1 and 150
        and char_length(tier) between 1 and 150
        and char_length(agent) between 1 and 150
        and char_length(model) between 1 and 150
    ),
    constraint benchmark_runs_status_check check (status in ('running', 'completed', 'failed', 'incomplete'))
);

-- Each filter of the list of runs has an index that carries the list's order.
-- Every further index costs every submission: at most 8 in all.
create index benchmark_runs_started_at_id_idx on benchmark_runs (started_at, id);
create index benchmark_runs_suite_started_at_id_idx on benchmark_runs (suite, started_at, id);
create index benchmark_runs_scenario_started_at_id_idx on benchmark_runs (scenario, started_at, id);
create index benchmark_runs_suite_scenario_started_at_id_idx on benchmark_runs (suite, scenario, started_at, id);
create index benchmark_runs_agent_started_at_id_idx on benchmark_runs (agent, started_at, id);
create index benchmark_runs_status_started_at_id_idx on benchmark_runs (status, started_at, id);
-- A batch with its runs, oldest first.
create index benchmark_runs_batch_id_started_at_id_idx on benchmark_runs (batch_id, started_at, id);
-- Both statistics, without touching the table.
create index benchmark_runs_completed_scores_idx on benchmark_runs (
    agent, is_successful, weighted_score, total_score
) where status = 'completed';

create table evaluation_results (
    run_id text collate "C" not null,
    position integer not null, -- as submitted, from 0
    id bigint not null generated always as identity,
    evaluator_name text collate "C" not null,
    score double precision not null,
    max_score double precision not null,
    details text,
    created_at timestamptz not null,
    constraint evaluation_results_pkey primary key (run_id, position),
    constraint evaluation_results_run_id_fkey foreign key (run_id) references benchmark_runs (run_id) on delete cascade,
    constraint evaluation_results_position_check check (position >= 0),
    constraint evaluation_results_evaluator_name_check check (char_length(evaluator_name) between 1 and 150),
    constraint evaluation_results_max_score_check check (max_score > 0)
);

create table run_telemetry (
    run_id text collate "C" not null,
    id bigint not null generated always as identity,
    tool_calls bigint,
    tokens_in bigint,
    tokens_out bigint,
    cost_usd double precision,
    duration_ms bigint,
    workspace_dir text,
    prompt_sent text,
    constraint run_telemetry_pkey primary key (run_id),
    constraint run_telemetry_run_id_fkey foreign key (run_id) references benchmark_runs (run_id) on delete cascade,
    constraint run_telemetry_tool_calls_check check (tool_calls >= 0),
    constraint run_telemetry_tokens_in_check check (tokens_in >= 0),
    constraint run_telemetry_tokens_out_check check (tokens_out >= 0),
    constraint run_telemetry_duration_ms_check check (duration_ms >= 0)
);

-- Batches as they are read. What a batch did not report is computed: the counts
-- over all of its runs, the averages over the completed ones that have the score,
-- null when none has.
create view batch_summaries as
select
    b.batch_id,
    b.created_at,
    b.completed_at,
    coalesce(b.total_runs, computed.total_runs)::bigint as total_runs,
    coalesce(b.successful_runs, computed.successful_runs)::bigint as successful_runs,
    coalesce(b.avg_score, computed.avg_score)::nullable_score as avg_score,
    coalesce(b.avg_weighted_score, computed.avg_weighted_score)::nullable_score as avg_weighted_score,
    b.metadata
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
            -- Nothing is read where everything was reported.
            and num_nulls(b.total_runs, b.successful_runs, b.avg_score, b.avg_weighted_score) > 0
    ) as scores
) as computed;
