-- name: GetReadiness :one
-- Whether the database takes writes, and where its schema stands. No row when it
-- has no schema.
select
    m.version as schema_version,
    m.dirty as schema_dirty,
    (not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off')::boolean as is_writable
from schema_migrations as m;
