/*
The queries that take a submission name it the same way, so that their
parameters convert into each other in Go. What a client left out is null.
*/

-- name: CreateRun :one
-- Stores a run that is not there yet, with its evaluations, its telemetry and,
-- where nobody announced it, its batch: all or nothing, in one statement.
-- No row when the run is there already, in which case nothing is stored.
with submitted as (
    select
        @run_id::text as run_id,
        sqlc.narg(batch_id)::text as batch_id,
        @suite::text as suite,
        @scenario::text as scenario,
        @tier::text as tier,
        @agent::text as agent,
        sqlc.narg(model)::text as model,
        @status::text as status,
        sqlc.narg(started_at)::timestamptz as started_at,
        sqlc.narg(completed_at)::timestamptz as completed_at,
        sqlc.narg(total_score)::double precision as total_score,
        sqlc.narg(weighted_score)::double precision as weighted_score,
        @is_successful::boolean as is_successful,
        sqlc.narg(success_metric)::double precision as success_metric,
        sqlc.narg(specialist_enabled)::boolean as specialist_enabled,
        sqlc.narg(specialist_name)::text as specialist_name,
        sqlc.narg(specialist_version)::text as specialist_version,
        sqlc.narg(metadata)::jsonb as metadata,
        @evaluations::jsonb as evaluations,
        @has_telemetry::boolean as has_telemetry,
        sqlc.narg(tool_calls)::bigint as tool_calls,
        sqlc.narg(tokens_in)::bigint as tokens_in,
        sqlc.narg(tokens_out)::bigint as tokens_out,
        sqlc.narg(cost_usd)::double precision as cost_usd,
        sqlc.narg(duration_ms)::bigint as duration_ms,
        sqlc.narg(workspace_dir)::text as workspace_dir,
        sqlc.narg(prompt_sent)::text as prompt_sent,
        sqlc.narg(submitted_by)::text as submitted_by
),
run as (
    insert into benchmark_runs (
        run_id, batch_id, suite, scenario, tier, agent, model, status,
        started_at, started_at_given, completed_at,
        total_score, weighted_score, is_successful, success_metric,
        specialist_enabled, specialist_name, specialist_version, metadata, submitted_by
    )
    select
        s.run_id, s.batch_id, s.suite, s.scenario, s.tier, s.agent, s.model, s.status,
        coalesce(s.started_at, now()), s.started_at is not null, s.completed_at,
        s.total_score, s.weighted_score, s.is_successful, s.success_metric,
        s.specialist_enabled, s.specialist_name, s.specialist_version, s.metadata, s.submitted_by
    from submitted as s
    on conflict (run_id) do nothing
    returning id, run_id, batch_id, submitted_by
),
batch as (
    insert into batch_runs (batch_id, created_at, submitted_by)
    select run.batch_id, now(), run.submitted_by
    from run
    where run.batch_id is not null
    on conflict (batch_id) do nothing
),
evaluations as (
    insert into evaluation_results (
        run_id, position, evaluator_name, score, max_score, details, created_at
    )
    select run.run_id, e.position, e.evaluator_name, e.score, e.max_score, e.details, now()
    from run
    cross join submitted as s
    cross join jsonb_to_recordset(s.evaluations) as e (
        position integer,
        evaluator_name text,
        score double precision,
        max_score double precision,
        details text
    )
),
telemetry as (
    insert into run_telemetry (
        run_id, tool_calls, tokens_in, tokens_out, cost_usd, duration_ms, workspace_dir, prompt_sent
    )
    select
        run.run_id, s.tool_calls, s.tokens_in, s.tokens_out, s.cost_usd, s.duration_ms,
        s.workspace_dir, s.prompt_sent
    from run
    cross join submitted as s
    where s.has_telemetry
)
select run.id from run;

-- name: CreateRuns :one
-- Stores those of many runs that are not there yet, as CreateRun does one; their
-- ids, which differ among the runs, are returned. The runs are objects with the
-- parameters of CreateRun.
with submitted as materialized (
    -- The casts are for sqlc, which does not read the column list below.
    select
        r.run_id::text as run_id,
        r.batch_id::text as batch_id,
        r.suite::text as suite,
        r.scenario::text as scenario,
        r.tier::text as tier,
        r.agent::text as agent,
        r.model::text as model,
        r.status::text as status,
        r.started_at::timestamptz as started_at,
        r.completed_at::timestamptz as completed_at,
        r.total_score::double precision as total_score,
        r.weighted_score::double precision as weighted_score,
        r.is_successful::boolean as is_successful,
        r.success_metric::double precision as success_metric,
        r.specialist_enabled::boolean as specialist_enabled,
        r.specialist_name::text as specialist_name,
        r.specialist_version::text as specialist_version,
        r.metadata::jsonb as metadata,
        r.evaluations::jsonb as evaluations,
        r.has_telemetry::boolean as has_telemetry,
        r.tool_calls::bigint as tool_calls,
        r.tokens_in::bigint as tokens_in,
        r.tokens_out::bigint as tokens_out,
        r.cost_usd::double precision as cost_usd,
        r.duration_ms::bigint as duration_ms,
        r.workspace_dir::text as workspace_dir,
        r.prompt_sent::text as prompt_sent,
        r.submitted_by::text as submitted_by
    from jsonb_to_recordset(@runs::jsonb) as r (
        run_id text,
        batch_id text,
        suite text,
        scenario text,
        tier text,
        agent text,
        model text,
        status text,
        started_at timestamptz,
        completed_at timestamptz,
        total_score double precision,
        weighted_score double precision,
        is_successful boolean,
        success_metric double precision,
        specialist_enabled boolean,
        specialist_name text,
        specialist_version text,
        metadata jsonb,
        evaluations jsonb,
        has_telemetry boolean,
        tool_calls bigint,
        tokens_in bigint,
        tokens_out bigint,
        cost_usd double precision,
        duration_ms bigint,
        workspace_dir text,
        prompt_sent text,
        submitted_by text
    )
),
run as (
    insert into benchmark_runs (
        run_id, batch_id, suite, scenario, tier, agent, model, status,
        started_at, started_at_given, completed_at,
        total_score, weighted_score, is_successful, success_metric,
        specialist_enabled, specialist_name, specialist_version, metadata, submitted_by
    )
    select
        s.run_id, s.batch_id, s.suite, s.scenario, s.tier, s.agent, s.model, s.status,
        coalesce(s.started_at, now()), s.started_at is not null, s.completed_at,
        s.total_score, s.weighted_score, s.is_successful, s.success_metric,
        s.specialist_enabled, s.specialist_name, s.specialist_version, s.metadata, s.submitted_by
    from submitted as s
    on conflict (run_id) do nothing
    returning run_id, batch_id, submitted_by
),
batch as (
    insert into batch_runs (batch_id, created_at, submitted_by)
    select distinct run.batch_id, now(), run.submitted_by
    from run
    where run.batch_id is not null
    order by run.batch_id
    on conflict (batch_id) do nothing
),
evaluations as (
    insert into evaluation_results (
        run_id, position, evaluator_name, score, max_score, details, created_at
    )
    select run.run_id, e.position, e.evaluator_name, e.score, e.max_score, e.details, now()
    from run
    inner join submitted as s on s.run_id = run.run_id
    cross join jsonb_to_recordset(s.evaluations) as e (
        position integer,
        evaluator_name text,
        score double precision,
        max_score double precision,
        details text
    )
),
telemetry as (
    insert into run_telemetry (
        run_id, tool_calls, tokens_in, tokens_out, cost_usd, duration_ms, workspace_dir, prompt_sent
    )
    select
        run.run_id, s.tool_calls, s.tokens_in, s.tokens_out, s.cost_usd, s.duration_ms,
        s.workspace_dir, s.prompt_sent
    from run
    inner join submitted as s on s.run_id = run.run_id
    where s.has_telemetry
)
select coalesce(array_agg(run.run_id), '{}')::text[] as run_ids from run;

-- name: ListRunStatusesForUpdate :many
-- The statuses of runs, which stay as they are until the transaction ends, by id: so
-- that two who lock the same do not wait for each other. No row for one that is not there.
-- The lock is a write, so that the answer to a replay waits for a synchronous
-- standby as the first answer did.
select run_id, status from benchmark_runs
where run_id = any(@run_ids::text[])
order by run_id
for update;

-- name: ListRunsDifferences :many
-- The fields in which submissions differ from the runs that are stored, in the
-- submission's own names; none of a run when it says the same. Absent equals absent: a
-- start that was left out equals only a start that was left out. Who submitted it
-- makes no difference. The runs, whose ids differ, are objects with the parameters of
-- CreateRun.
-- Lock the runs before, in a statement of its own: this one has to see what the
-- holders of the locks stored.
with submitted as materialized (
    -- The casts are for sqlc, which does not read the column list below.
    select
        r.run_id::text as run_id,
        r.batch_id::text as batch_id,
        r.suite::text as suite,
        r.scenario::text as scenario,
        r.tier::text as tier,
        r.agent::text as agent,
        r.model::text as model,
        r.status::text as status,
        r.started_at::timestamptz as started_at,
        r.completed_at::timestamptz as completed_at,
        r.total_score::double precision as total_score,
        r.weighted_score::double precision as weighted_score,
        r.is_successful::boolean as is_successful,
        r.success_metric::double precision as success_metric,
        r.specialist_enabled::boolean as specialist_enabled,
        r.specialist_name::text as specialist_name,
        r.specialist_version::text as specialist_version,
        r.metadata::jsonb as metadata,
        r.evaluations::jsonb as evaluations,
        r.has_telemetry::boolean as has_telemetry,
        r.tool_calls::bigint as tool_calls,
        r.tokens_in::bigint as tokens_in,
        r.tokens_out::bigint as tokens_out,
        r.cost_usd::double precision as cost_usd,
        r.duration_ms::bigint as duration_ms,
        r.workspace_dir::text as workspace_dir,
        r.prompt_sent::text as prompt_sent,
        r.submitted_by::text as submitted_by
    from jsonb_to_recordset(@runs::jsonb) as r (
        run_id text,
        batch_id text,
        suite text,
        scenario text,
        tier text,
        agent text,
        model text,
        status text,
        started_at timestamptz,
        completed_at timestamptz,
        total_score double precision,
        weighted_score double precision,
        is_successful boolean,
        success_metric double precision,
        specialist_enabled boolean,
        specialist_name text,
        specialist_version text,
        metadata jsonb,
        evaluations jsonb,
        has_telemetry boolean,
        tool_calls bigint,
        tokens_in bigint,
        tokens_out bigint,
        cost_usd double precision,
        duration_ms bigint,
        workspace_dir text,
        prompt_sent text,
        submitted_by text
    )
),
stored_evaluations as (
    select e.run_id, e.position, e.evaluator_name, e.score, e.max_score, e.details
    from evaluation_results as e
    inner join submitted as s on s.run_id = e.run_id
),
submitted_evaluations as (
    -- The casts are for sqlc, which does not read the column list below.
    select
        s.run_id,
        e.position::integer as position,
        e.evaluator_name::text as evaluator_name,
        e.score::double precision as score,
        e.max_score::double precision as max_score,
        e.details::text as details
    from submitted as s
    cross join jsonb_to_recordset(s.evaluations) as e (
        position integer,
        evaluator_name text,
        score double precision,
        max_score double precision,
        details text
    )
)
select
    s.run_id::text as run_id,
    unnest(array_remove(array[
        case when r.batch_id is distinct from s.batch_id then 'batchId' end,
        case when r.suite <> s.suite then 'suite' end,
        case when r.scenario <> s.scenario then 'scenario' end,
        case when r.tier <> s.tier then 'tier' end,
        case when r.agent <> s.agent then 'agent' end,
        case when r.model is distinct from s.model then 'model' end,
        case when r.status <> s.status then 'status' end,
        case when (s.started_at is null and r.started_at_given) or r.started_at <> s.started_at then 'startedAt' end,
        case when r.completed_at is distinct from s.completed_at then 'completedAt' end,
        case when r.total_score is distinct from s.total_score then 'totalScore' end,
        case when r.weighted_score is distinct from s.weighted_score then 'weightedScore' end,
        case when r.is_successful <> s.is_successful then 'isSuccessful' end,
        case when r.success_metric is distinct from s.success_metric then 'successMetric' end,
        case when r.specialist_enabled is distinct from s.specialist_enabled then 'specialistEnabled' end,
        case when r.specialist_name is distinct from s.specialist_name then 'specialistName' end,
        case when r.specialist_version is distinct from s.specialist_version then 'specialistVersion' end,
        case when r.metadata is distinct from s.metadata then 'metadata' end,
        case when (t.run_id is not null) <> s.has_telemetry then 'telemetry' end,
        case when t.tool_calls is distinct from s.tool_calls then 'telemetry.toolCalls' end,
        case when t.tokens_in is distinct from s.tokens_in then 'telemetry.tokensIn' end,
        case when t.tokens_out is distinct from s.tokens_out then 'telemetry.tokensOut' end,
        case when t.cost_usd is distinct from s.cost_usd then 'telemetry.costUsd' end,
        case when t.duration_ms is distinct from s.duration_ms then 'telemetry.durationMs' end,
        case when t.workspace_dir is distinct from s.workspace_dir then 'telemetry.workspaceDir' end,
        case when t.prompt_sent is distinct from s.prompt_sent then 'telemetry.promptSent' end
    ], null))::text as field
from submitted as s
inner join benchmark_runs as r on r.run_id = s.run_id
left join run_telemetry as t on t.run_id = s.run_id
union all
select
    coalesce(a.run_id, b.run_id)::text as run_id,
    unnest(array_remove(array[
        case when a.position is null or b.position is null
            then format('evaluations[%s]', coalesce(a.position, b.position)) end,
        case when a.evaluator_name <> b.evaluator_name then format('evaluations[%s].evaluatorName', a.position) end,
        case when a.score <> b.score then format('evaluations[%s].score', a.position) end,
        case when a.max_score <> b.max_score then format('evaluations[%s].maxScore', a.position) end,
        case when a.position = b.position and a.details is distinct from b.details
            then format('evaluations[%s].details', a.position) end
    ], null))::text as field
from stored_evaluations as a
full join submitted_evaluations as b on b.run_id = a.run_id and b.position = a.position;

-- name: UpdateRun :exec
-- Replaces all of a run but its id: its fields, its evaluations, its telemetry.
-- A start that the submission leaves out stays as it was announced. Creates the
-- batch where nobody announced it. Does nothing when there is no such run.
-- Lock the run before, in a statement of its own: this one has to see what the
-- holder of the lock stored.
with submitted as (
    select
        @run_id::text as run_id,
        sqlc.narg(batch_id)::text as batch_id,
        @suite::text as suite,
        @scenario::text as scenario,
        @tier::text as tier,
        @agent::text as agent,
        sqlc.narg(model)::text as model,
        @status::text as status,
        sqlc.narg(started_at)::timestamptz as started_at,
        sqlc.narg(completed_at)::timestamptz as completed_at,
        sqlc.narg(total_score)::double precision as total_score,
        sqlc.narg(weighted_score)::double precision as weighted_score,
        @is_successful::boolean as is_successful,
        sqlc.narg(success_metric)::double precision as success_metric,
        sqlc.narg(specialist_enabled)::boolean as specialist_enabled,
        sqlc.narg(specialist_name)::text as specialist_name,
        sqlc.narg(specialist_version)::text as specialist_version,
        sqlc.narg(metadata)::jsonb as metadata,
        @evaluations::jsonb as evaluations,
        @has_telemetry::boolean as has_telemetry,
        sqlc.narg(tool_calls)::bigint as tool_calls,
        sqlc.narg(tokens_in)::bigint as tokens_in,
        sqlc.narg(tokens_out)::bigint as tokens_out,
        sqlc.narg(cost_usd)::double precision as cost_usd,
        sqlc.narg(duration_ms)::bigint as duration_ms,
        sqlc.narg(workspace_dir)::text as workspace_dir,
        sqlc.narg(prompt_sent)::text as prompt_sent,
        sqlc.narg(submitted_by)::text as submitted_by
),
run as (
    update benchmark_runs as r
    set
        batch_id = s.batch_id,
        suite = s.suite,
        scenario = s.scenario,
        tier = s.tier,
        agent = s.agent,
        model = s.model,
        status = s.status,
        started_at = coalesce(s.started_at, r.started_at),
        started_at_given = s.started_at is not null,
        completed_at = s.completed_at,
        total_score = s.total_score,
        weighted_score = s.weighted_score,
        is_successful = s.is_successful,
        success_metric = s.success_metric,
        specialist_enabled = s.specialist_enabled,
        specialist_name = s.specialist_name,
        specialist_version = s.specialist_version,
        metadata = s.metadata,
        submitted_by = s.submitted_by
    from submitted as s
    where r.run_id = s.run_id
    returning r.run_id, r.batch_id, r.submitted_by
),
batch as (
    insert into batch_runs (batch_id, created_at, submitted_by)
    select run.batch_id, now(), run.submitted_by
    from run
    where run.batch_id is not null
    on conflict (batch_id) do nothing
),
-- One statement cannot delete a row and insert it again: what has a successor
-- is overwritten, the rest deleted.
deleted_evaluations as (
    delete from evaluation_results as e
    using submitted as s
    where e.run_id = s.run_id and e.position >= jsonb_array_length(s.evaluations)
),
evaluations as (
    insert into evaluation_results (
        run_id, position, evaluator_name, score, max_score, details, created_at
    )
    select run.run_id, e.position, e.evaluator_name, e.score, e.max_score, e.details, now()
    from run
    cross join submitted as s
    cross join jsonb_to_recordset(s.evaluations) as e (
        position integer,
        evaluator_name text,
        score double precision,
        max_score double precision,
        details text
    )
    on conflict (run_id, position) do update
    set
        evaluator_name = excluded.evaluator_name,
        score = excluded.score,
        max_score = excluded.max_score,
        details = excluded.details,
        created_at = excluded.created_at
),
deleted_telemetry as (
    delete from run_telemetry as t
    using submitted as s
    where t.run_id = s.run_id and not s.has_telemetry
)
insert into run_telemetry (
    run_id, tool_calls, tokens_in, tokens_out, cost_usd, duration_ms, workspace_dir, prompt_sent
)
select
    run.run_id, s.tool_calls, s.tokens_in, s.tokens_out, s.cost_usd, s.duration_ms,
    s.workspace_dir, s.prompt_sent
from run
cross join submitted as s
where s.has_telemetry
on conflict (run_id) do update
set
    tool_calls = excluded.tool_calls,
    tokens_in = excluded.tokens_in,
    tokens_out = excluded.tokens_out,
    cost_usd = excluded.cost_usd,
    duration_ms = excluded.duration_ms,
    workspace_dir = excluded.workspace_dir,
    prompt_sent = excluded.prompt_sent;

-- name: UpsertBatch :exec
-- Creates a batch, or updates all of it but its creation. Without a completion
-- the summary is ignored, and a batch that is complete stays as it is; with one
-- the summary replaces what was reported before. Absent metadata keeps what is
-- stored.
insert into batch_runs as b (
    batch_id, created_at, completed_at,
    total_runs, successful_runs, avg_score, avg_weighted_score, metadata, submitted_by
)
select
    s.batch_id,
    coalesce(s.created_at, now()),
    s.completed_at,
    case when s.completed_at is not null then s.total_runs end,
    case when s.completed_at is not null then s.successful_runs end,
    case when s.completed_at is not null then s.avg_score end,
    case when s.completed_at is not null then s.avg_weighted_score end,
    s.metadata,
    s.submitted_by
from (
    select
        @batch_id::text as batch_id,
        sqlc.narg(created_at)::timestamptz as created_at,
        sqlc.narg(completed_at)::timestamptz as completed_at,
        sqlc.narg(total_runs)::bigint as total_runs,
        sqlc.narg(successful_runs)::bigint as successful_runs,
        sqlc.narg(avg_score)::double precision as avg_score,
        sqlc.narg(avg_weighted_score)::double precision as avg_weighted_score,
        sqlc.narg(metadata)::jsonb as metadata,
        sqlc.narg(submitted_by)::text as submitted_by
) as s
on conflict (batch_id) do update
set
    completed_at = excluded.completed_at,
    total_runs = excluded.total_runs,
    successful_runs = excluded.successful_runs,
    avg_score = excluded.avg_score,
    avg_weighted_score = excluded.avg_weighted_score,
    metadata = coalesce(excluded.metadata, b.metadata),
    submitted_by = excluded.submitted_by
where b.completed_at is null or excluded.completed_at is not null;
