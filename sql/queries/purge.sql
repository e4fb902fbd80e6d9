/*
Deleting runs for good. The filters are those of run_matches; voided runs match as well, and
with only_voided nothing else does. Which index is best depends on the values: db.CountPurge
and db.PurgePage run these with custom plans, not generic ones.
*/

-- name: GetPurgeCounts :one
-- How many runs match, how many of them are open and voided, when the first and the last of
-- them started, now when none matches, and the highest of their ids. Always one row.
-- audit: it counts all runs that match, before they are deleted.
select
    count(*) as runs,
    count(*) filter (where r.status in ('running', 'incomplete')) as open_runs,
    count(*) filter (where r.voided_at is not null) as voided_runs,
    coalesce(min(r.started_at), now())::timestamptz as first_started_at,
    coalesce(max(r.started_at), now())::timestamptz as last_started_at,
    coalesce(max(r.id), 0)::bigint as last_id
from benchmark_runs as r
where run_matches(r, @filters::jsonb)
    and r.started_at < @started_before::timestamptz
    and (r.voided_at is not null or not @only_voided::boolean);

-- name: ListRunsForPurge :many
-- Locks runs that match, have at most an id, and come after a position (started_at, id),
-- oldest first, until the transaction ends. No row when nothing matches.
-- audit: the pages together read all runs up to the last one that matches.
select r.run_id, r.batch_id, r.started_at, r.id from benchmark_runs as r
where run_matches(r, @filters::jsonb)
    and r.started_at < @started_before::timestamptz
    and (r.voided_at is not null or not @only_voided::boolean)
    and r.id <= @last_id::bigint
    and (r.started_at, r.id) > (@after_started_at::timestamptz, @after_id::bigint)
order by r.started_at, r.id
limit @row_limit::int
for update;

-- name: DeleteRuns :exec
-- Deletes runs with all they own. A run that is not stored is skipped.
delete from benchmark_runs where run_id = any(@run_ids::text[]);

-- name: ListBatchesForUpdate :many
-- Locks batches until the transaction ends, so that no run is added to them.
select batch_id from batch_runs
where batch_id = any(@batch_ids::text[])
order by batch_id
for update;

-- name: DeleteEmptyBatches :execrows
-- Deletes those of the batches that have no runs, and returns how many.
-- Lock the batches before, in a separate statement: this one has to see the runs that were
-- added until then.
delete from batch_runs as b
where b.batch_id = any(@batch_ids::text[])
    and not exists (select from benchmark_runs as r where r.batch_id = b.batch_id);
