/*
A submission comes as rows of the tables that it ends up in: @runs, @evaluations and
@telemetry are JSON arrays of objects with the columns of benchmark_runs,
evaluation_results and run_telemetry. They are json, since jsonb, of what is read once,
takes longer. The tables' own row types read them, so a column is not named here unless
something is special about it, except in CreateRun. The database assigns every id
("overriding user value"). A time that the client left out is 'now', PostgreSQL's input for
the time at which the transaction began. db.SubmitRuns calls these queries.
*/

-- name: CreateRuns :one
-- Stores those of many runs that are not stored yet, each with its evaluations, its
-- telemetry and, unless it was announced, its batch; returns their ids. The ids of the
-- runs differ.
with run as (
    insert into benchmark_runs overriding user value
    select (r).*
    from json_populate_recordset(null::benchmark_runs, @runs::json) as r
    on conflict (run_id) do nothing
    returning run_id, batch_id, submitted_by
),
batch as (
    insert into batch_runs (batch_id, created_at, submitted_by)
    select run.batch_id, now(), run.submitted_by
    from run
    where run.batch_id is not null
    order by run.batch_id
    on conflict (batch_id) do nothing
),
evaluations as (
    insert into evaluation_results overriding user value
    select (e).*
    from json_populate_recordset(null::evaluation_results, @evaluations::json) as e
    where e.run_id in (select run.run_id from run)
),
telemetry as (
    insert into run_telemetry overriding user value
    select (t).*
    from json_populate_recordset(null::run_telemetry, @telemetry::json) as t
    where t.run_id in (select run.run_id from run)
)
select coalesce(array_agg(run.run_id), '{}')::text[] as run_ids from run;

-- name: CreateRun :one
-- Stores a run as CreateRuns does, and returns true; false where it is stored already.
-- PostgreSQL reads parameters in less time than JSON: a submission of one run takes a
-- sixth less. They are in the order of the tables' columns: a new column comes last.
with run as (
    insert into benchmark_runs overriding user value
    select
        @run_id::text as run_id
        , 0 as id
        , sqlc.narg(batch_id)::text as batch_id
        , @suite::text as suite
        , @scenario::text as scenario
        , @tier::text as tier
        , @agent::text as agent
        , sqlc.narg(model)::text as model
        , @status::text as status
        , case when @started_at_given::boolean then @started_at::timestamptz else now() end as started_at
        , @started_at_given::boolean as started_at_given
        , sqlc.narg(completed_at)::timestamptz as completed_at
        , sqlc.narg(total_score)::double precision as total_score
        , sqlc.narg(weighted_score)::double precision as weighted_score
        , @is_successful::boolean as is_successful
        , sqlc.narg(success_metric)::double precision as success_metric
        , sqlc.narg(specialist_enabled)::boolean as specialist_enabled
        , sqlc.narg(specialist_name)::text as specialist_name
        , sqlc.narg(specialist_version)::text as specialist_version
        , null::jsonb as metadata
        , sqlc.narg(submitted_by)::text as submitted_by
        , null::timestamptz as voided_at
        , null::text as voided_by
        , null::text as void_reason
        , sqlc.narg(metadata_text)::json as metadata_text
    on conflict (run_id) do nothing
    returning run_id, batch_id, submitted_by
),
batch as (
    insert into batch_runs (batch_id, created_at, submitted_by)
    select run.batch_id, now(), run.submitted_by
    from run
    where run.batch_id is not null
    on conflict (batch_id) do nothing
),
evaluations as (
    insert into evaluation_results overriding user value
    select (e).*
    from run
    cross join json_populate_recordset(null::evaluation_results, @evaluations::json) as e
),
telemetry as (
    insert into run_telemetry overriding user value
    select
        run.run_id
        , 0 as id
        , sqlc.narg(tool_calls)::bigint as tool_calls
        , sqlc.narg(tokens_in)::bigint as tokens_in
        , sqlc.narg(tokens_out)::bigint as tokens_out
        , sqlc.narg(cost_usd)::double precision as cost_usd
        , sqlc.narg(duration_ms)::bigint as duration_ms
        , sqlc.narg(workspace_dir)::text as workspace_dir
        , sqlc.narg(prompt_sent)::text as prompt_sent
    from run
    where @has_telemetry::boolean
)
select exists (select from run) as is_created;

-- name: ListRunStatusesForUpdate :many
-- Locks runs until the transaction ends, and returns their statuses, by id. No row for
-- a run that is not stored. The order keeps two transactions that lock the same runs
-- from a deadlock. The lock is a write, so that the answer to a replay waits for a
-- synchronous standby as the first answer did.
select run_id, status from benchmark_runs
where run_id = any(@run_ids::text[])
order by run_id
for update;

-- name: ListRunsDifferences :many
-- The columns in which submissions differ from the stored runs, at most 101 of each run, and
-- the first 101 characters of what is stored, as JSON; no row for a run that is the same. A part that
-- only one side has is named as a whole; stored is '' where the run does not have it. A
-- start that was left out equals only a start that was left out; who submitted the run
-- makes no difference. By run, its own columns first, then evaluations by position, then
-- telemetry; within these by column.
-- Lock the runs before, in a separate statement: this one has to see what the holders
-- of the locks stored.
-- audit: it sorts the differences of the submitted runs, which it finds by their keys.
with exact as materialized ( -- JSON has all digits of numbers, whatever the session is set to
    select set_config('extra_float_digits', '1', true)
),
submitted as materialized (
    select r as run from json_populate_recordset(null::benchmark_runs, @runs::json) as r
),
parts as (
    select
        r.run_id,
        null as name,
        -1 as position,
        coalesce(r.metadata::text, r.metadata_text::text) as metadata,
        to_jsonb(r) || jsonb_build_object('metadata', coalesce(r.metadata, r.metadata_text::jsonb)) as stored,
        to_jsonb((s).run) || jsonb_build_object('metadata', ((s).run).metadata_text::jsonb, 'started_at', case
            when ((s).run).started_at_given then ((s).run).started_at
            when not r.started_at_given then r.started_at
        end) as submitted
    from submitted as s
    inner join benchmark_runs as r on r.run_id = ((s).run).run_id
    cross join exact
    union all
    select
        coalesce(stored.run_id, submitted.run_id),
        format('evaluations[%s]', coalesce(stored.position, submitted.position)),
        coalesce(stored.position, submitted.position),
        null,
        to_jsonb(stored),
        to_jsonb(submitted)
    from (
        select e.* from evaluation_results as e
        where e.run_id in (select ((s).run).run_id from submitted as s)
    ) as stored
    full join json_populate_recordset(null::evaluation_results, @evaluations::json) as submitted
        on submitted.run_id = stored.run_id and submitted.position = stored.position
    cross join exact
    union all
    select
        coalesce(stored.run_id, submitted.run_id),
        'telemetry',
        2147483647,
        null,
        to_jsonb(stored),
        to_jsonb(submitted)
    from (
        select t.* from run_telemetry as t
        where t.run_id in (select ((s).run).run_id from submitted as s)
    ) as stored
    full join json_populate_recordset(null::run_telemetry, @telemetry::json) as submitted
        on submitted.run_id = stored.run_id
    cross join exact
)
select
    d.run_id::text as run_id,
    d.field::text as field,
    d.stored::text as stored
from (
    select
        p.run_id,
        concat_ws('.', p.name, differing.key) as field,
        coalesce(left(case differing.key when 'metadata' then p.metadata else differing.stored::text end, 101), '') as stored,
        row_number() over (partition by p.run_id order by p.position, differing.key collate "C") as place
    from parts as p
    cross join lateral (
        select null as key, p.stored - '{id,run_id,position,created_at}'::text[] as stored
        where p.stored is null or p.submitted is null
        union all
        select stored.key, stored.value
        from jsonb_each(p.stored) as stored
        inner join jsonb_each(p.submitted) as submitted on submitted.key = stored.key
        where stored.value <> submitted.value
            and stored.key not in (
                'id', 'submitted_by', 'started_at_given', 'created_at', 'metadata_text', 'voided_at', 'voided_by', 'void_reason'
            )
    ) as differing
) as d
where d.place <= 101
order by d.run_id, d.place;

-- name: UpdateRuns :exec
-- Replaces all of many runs but their ids: their columns, evaluations and telemetry. A
-- start that a submission leaves out stays as announced. Creates the batches that were
-- not announced. A run that is not stored is skipped.
-- Lock the runs before, in a separate statement: this one has to see what the holders
-- of the locks stored.
with run as (
    update benchmark_runs as r
    set
        batch_id = s.batch_id,
        suite = s.suite,
        scenario = s.scenario,
        tier = s.tier,
        agent = s.agent,
        model = s.model,
        status = s.status,
        started_at = case when s.started_at_given then s.started_at else r.started_at end,
        started_at_given = s.started_at_given,
        completed_at = s.completed_at,
        total_score = s.total_score,
        weighted_score = s.weighted_score,
        is_successful = s.is_successful,
        success_metric = s.success_metric,
        specialist_enabled = s.specialist_enabled,
        specialist_name = s.specialist_name,
        specialist_version = s.specialist_version,
        metadata = s.metadata,
        submitted_by = s.submitted_by,
        metadata_text = s.metadata_text
    from json_populate_recordset(null::benchmark_runs, @runs::json) as s
    where r.run_id = s.run_id
    returning r.run_id, r.batch_id, r.submitted_by
),
batch as (
    insert into batch_runs (batch_id, created_at, submitted_by)
    select run.batch_id, now(), run.submitted_by
    from run
    where run.batch_id is not null
    order by run.batch_id
    on conflict (batch_id) do nothing
),
-- One statement cannot delete a row and insert it again: a row that has a successor is
-- overwritten, the others are deleted.
submitted_evaluations as materialized (
    select e as evaluation from json_populate_recordset(null::evaluation_results, @evaluations::json) as e
),
deleted_evaluations as (
    delete from evaluation_results as e
    using run
    where e.run_id = run.run_id and not exists (
        select from submitted_evaluations as s
        where (s.evaluation).run_id = e.run_id and (s.evaluation).position = e.position
    )
),
evaluations as (
    insert into evaluation_results overriding user value
    select (s.evaluation).*
    from submitted_evaluations as s
    where (s.evaluation).run_id in (select run.run_id from run)
    on conflict (run_id, position) do update
    set
        evaluator_name = excluded.evaluator_name,
        score = excluded.score,
        max_score = excluded.max_score,
        details = excluded.details,
        created_at = excluded.created_at
),
submitted_telemetry as materialized (
    select t as telemetry from json_populate_recordset(null::run_telemetry, @telemetry::json) as t
),
deleted_telemetry as (
    delete from run_telemetry as t
    using run
    where t.run_id = run.run_id and not exists (
        select from submitted_telemetry as s where (s.telemetry).run_id = t.run_id
    )
)
insert into run_telemetry overriding user value
select (s.telemetry).*
from submitted_telemetry as s
where (s.telemetry).run_id in (select run.run_id from run)
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
-- the summary replaces what was reported before, unless that has a later completion. Absent metadata keeps what is
-- stored.
insert into batch_runs as b (
    batch_id, created_at, completed_at,
    total_runs, successful_runs, avg_score, avg_weighted_score, metadata_text, submitted_by
)
select
    s.batch_id,
    coalesce(s.created_at, now()),
    s.completed_at,
    case when s.completed_at is not null then s.total_runs end,
    case when s.completed_at is not null then s.successful_runs end,
    case when s.completed_at is not null then s.avg_score end,
    case when s.completed_at is not null then s.avg_weighted_score end,
    s.metadata_text,
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
        sqlc.narg(metadata_text)::json as metadata_text,
        sqlc.narg(submitted_by)::text as submitted_by
) as s
on conflict (batch_id) do update
set
    completed_at = excluded.completed_at,
    total_runs = excluded.total_runs,
    successful_runs = excluded.successful_runs,
    avg_score = excluded.avg_score,
    avg_weighted_score = excluded.avg_weighted_score,
    metadata = case when excluded.metadata_text is null then b.metadata end,
    metadata_text = coalesce(excluded.metadata_text, b.metadata_text),
    submitted_by = excluded.submitted_by
where b.completed_at is null or excluded.completed_at >= b.completed_at;
