-- name: UpsertBaseline :one
-- Names a batch, or moves the name to it, and returns the baseline. No row when there is no such batch.
insert into baselines (name, batch_id, set_at, set_by)
select @name::text, b.batch_id, clock_timestamp(), sqlc.narg(set_by)::text
from batch_runs as b
where b.batch_id = @batch_id::text
on conflict (name) do update
set batch_id = excluded.batch_id, set_at = excluded.set_at, set_by = excluded.set_by
returning *;

-- name: ListBaselines :many
-- Baselines whose name comes after another, by name. No row when there is none.
select * from baselines
where name > @after_name::text
order by name
limit @row_limit::int;

-- name: GetBaseline :one
-- A baseline. No row when there is none with that name.
select * from baselines where name = @name;

-- name: DeleteBaseline :one
-- Deletes a baseline, but not its batch, and returns it. No row when there is none with that name.
delete from baselines where name = @name
returning *;
