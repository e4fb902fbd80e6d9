/*
Lists of runs give the runs that come after a position (started_at, id), newest first; a
position beyond every time gives the first page. No row when nothing matches.

The most frequent filters have a query each, which an index serves in the list's order and
whose plan is kept: that saves planning, which takes longer than reading a page. All other
combinations share ListRunsByFilters. db.ListRunsPage picks the query. Voided runs are left
out, unless the filters of ListRunsByFilters ask for them.

"= any(array[x])" is "= x", but no constant to the planner, so that ordering by
the column leaves it the list's own index alone. With "= x" the plan that is kept
for all values goes along (started_at, id), and reads every run of the table to
find that an agent has none.

sqlc replaces * by the columns of the table as they are when it generates.
*/

-- name: ListRuns :many
-- All runs, newest first.
select * from benchmark_runs
where voided_at is null
  and (started_at, id) < (@before_started_at::timestamptz, @before_id::bigint)
order by started_at desc, id desc
limit @row_limit::int;

-- name: ListRunsBySuite :many
-- The runs of a suite, newest first.
select * from benchmark_runs
where suite = any(array[@suite::text])
  and voided_at is null
  and (started_at, id) < (@before_started_at::timestamptz, @before_id::bigint)
order by suite desc, started_at desc, id desc
limit @row_limit::int;

-- name: ListRunsByScenario :many
-- The runs of a scenario, newest first.
select * from benchmark_runs
where scenario = any(array[@scenario::text])
  and voided_at is null
  and (started_at, id) < (@before_started_at::timestamptz, @before_id::bigint)
order by scenario desc, started_at desc, id desc
limit @row_limit::int;

-- name: ListRunsByAgent :many
-- The runs of an agent, newest first.
select * from benchmark_runs
where agent = any(array[@agent::text])
  and voided_at is null
  and (started_at, id) < (@before_started_at::timestamptz, @before_id::bigint)
order by agent desc, started_at desc, id desc
limit @row_limit::int;

-- name: ListRunsByStatus :many
-- The runs that have a status, newest first.
select * from benchmark_runs
where status = any(array[@status::text])
  and voided_at is null
  and (started_at, id) < (@before_started_at::timestamptz, @before_id::bigint)
order by status desc, started_at desc, id desc
limit @row_limit::int;

-- name: ListRunsByFilters :many
-- The runs that match all filters (see run_matches), newest first. Which index is best depends on the values:
-- db.ListRunsPage runs this query and the next ones with custom plans, not generic ones.
select * from benchmark_runs as r
where run_matches(r, @filters::jsonb)
  and (r.started_at, r.id) < (@before_started_at::timestamptz, @before_id::bigint)
order by r.started_at desc, r.id desc
limit @row_limit::int;

-- name: ListOldestRuns :many
-- The runs that match all filters and come after a position, oldest first.
select * from benchmark_runs as r
where run_matches(r, @filters::jsonb)
  and (r.started_at, r.id) > (@after_started_at::timestamptz, @after_id::bigint)
order by r.started_at, r.id
limit @row_limit::int;

-- name: ListRunsByFigure :many
-- The runs that match all filters and come after a position (figure, id), highest figure first: score, weightedScore,
-- cost or duration. The figure of a run without it is -Infinity, which makes it the last; a position at Infinity gives
-- the first page. matches is how many runs match, at most match_limit. Above that, the runs are any of those
-- that match.
with matched as materialized (
    select
        r.run_id,
        r.id,
        coalesce(
            case @figure::text
                when 'score' then r.total_score
                when 'weightedScore' then r.weighted_score
                when 'cost' then t.cost_usd
                when 'duration' then t.duration_ms
            end,
            '-Infinity'
        )::double precision as figure
    from benchmark_runs as r
    left join run_telemetry as t on t.run_id = r.run_id
    where run_matches(r, @filters::jsonb)
    limit @match_limit::int
),

page as (
    select * from matched
    where (figure, id) < (@before_figure::double precision, @before_id::bigint)
    order by figure desc, id desc
    limit @row_limit::int
)

select
    sqlc.embed(r),
    p.figure,
    (select count(*) from matched) as matches
from page as p
inner join benchmark_runs as r on r.run_id = p.run_id
order by p.figure desc, p.id desc;

-- name: ListRunsByBatch :many
-- The runs of a batch that come after a position, oldest first, the voided ones only if
-- asked for. No row when it has none, or is not there.
select * from benchmark_runs
where batch_id = @batch_id::text
  and (voided_at is null or @with_voided::boolean)
  and (started_at, id) > (@after_started_at::timestamptz, @after_id::bigint)
order by started_at, id
limit @row_limit::int;

-- name: GetRun :one
-- A run with all it owns, in one snapshot: its evaluations as a JSON array of their
-- rows in the order submitted, empty when there are none; its telemetry,
-- whose id is null when there is none. No row when there is no such run.
select
    sqlc.embed(r),
    coalesce((
        select json_agg(e order by e.position)
        from evaluation_results as e
        -- All digits of numbers, whatever the session is set to.
        cross join (select set_config('extra_float_digits', '1', true)) as exact
        where e.run_id = r.run_id
    ), '[]')::json as evaluations,
    t.id as telemetry_id, t.tool_calls, t.tokens_in, t.tokens_out, t.cost_usd, t.duration_ms,
    t.workspace_dir, t.prompt_sent
from benchmark_runs as r
left join run_telemetry as t on t.run_id = r.run_id
where r.run_id = @run_id;

-- name: GetRunEvaluations :one
-- The evaluations of a run, as a JSON array of their rows in the order submitted,
-- empty when there are none. No row when there is no such run.
select
    coalesce((
        select json_agg(e order by e.position)
        from evaluation_results as e
        -- All digits of numbers, whatever the session is set to.
        cross join (select set_config('extra_float_digits', '1', true)) as exact
        where e.run_id = r.run_id
    ), '[]')::json as evaluations
from benchmark_runs as r
where r.run_id = @run_id;

-- name: GetRunTelemetry :one
-- The telemetry of a run, its prompt only if asked for; its id is null when there is none.
-- No row when there is no such run.
select
    r.run_id,
    t.id, t.tool_calls, t.tokens_in, t.tokens_out, t.cost_usd, t.duration_ms,
    t.workspace_dir,
    p.prompt_sent
from benchmark_runs as r
left join run_telemetry as t on t.run_id = r.run_id
left join run_telemetry as p on p.run_id = r.run_id and @with_prompt::boolean
where r.run_id = @run_id;
