/*
A run that was wrong is voided: it stays, but is in no list and no figure. Each void and
each restore adds a row to corrections.
*/

-- name: UpdateRunVoided :one
-- Voids a run, and records that. No row when there is no such run, or it is voided already.
with run as (
    update benchmark_runs as r
    set voided_at = clock_timestamp(), voided_by = sqlc.narg(corrected_by)::text, void_reason = @reason::text
    where r.run_id = @run_id and r.voided_at is null
    returning r.*
),
correction as (
    insert into corrections (run_id, action, reason, corrected_by, corrected_at)
    select run.run_id, 'void', run.void_reason, run.voided_by, run.voided_at
    from run
)
select * from run;

-- name: UpdateRunRestored :one
-- Restores a voided run, and records that. No row when there is no such run, or it is not
-- voided.
with run as (
    update benchmark_runs as r
    set voided_at = null, voided_by = null, void_reason = null
    where r.run_id = @run_id and r.voided_at is not null
    returning r.*
),
correction as (
    insert into corrections (run_id, action, reason, corrected_by, corrected_at)
    select run.run_id, 'restore', sqlc.narg(reason)::text, sqlc.narg(corrected_by)::text, clock_timestamp()
    from run
)
select * from run;

-- name: ListCorrections :many
-- Corrections with an id below another, newest first.
select * from corrections
where id < @before_id::bigint
order by id desc
limit @row_limit::int;

-- name: ListCorrectionsByRun :many
-- The corrections of a run with an id below another, newest first.
select * from corrections
where run_id = @run_id and id < @before_id::bigint
order by id desc
limit @row_limit::int;
