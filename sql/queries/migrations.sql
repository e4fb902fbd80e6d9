-- name: UpdateLockTimeout :exec
-- How long the statements of this transaction wait for a lock, as "2s".
select set_config('lock_timeout', @lock_timeout::text, true);

-- name: UpsertSchemaVersion :exec
-- Records the version of the schema, and whether a migration to or from it is half-way;
-- a negative version is none.
with recorded as (select @version::bigint as version, @dirty::boolean as dirty),
deleted as (
    delete from schema_migrations as m using recorded where m.version <> recorded.version
)
insert into schema_migrations (version, dirty)
select recorded.version, recorded.dirty from recorded where recorded.version >= 0
on conflict (version) do update set dirty = excluded.dirty;

-- name: GetMigrationRunning :one
-- Whether a session of the database holds the lock of migrations: then it cannot be
-- had. Always one row.
select (not pg_try_advisory_xact_lock_shared(@lock_id::bigint))::boolean as is_running;

-- name: GetMigrationLock :one
-- Takes the lock of migrations for this session, if nobody has it, and says whether
-- it did. Always one row.
select pg_try_advisory_lock(@lock_id::bigint)::boolean as is_taken;

-- name: DeleteMigrationLock :exec
-- Gives back the lock of migrations, once.
select pg_advisory_unlock(@lock_id::bigint);
