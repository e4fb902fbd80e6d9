-- name: GetReadiness :one
-- Whether the database accepts writes, and the version of its schema. No row when it
-- has no schema.
select
    m.version as schema_version,
    m.dirty as schema_dirty,
    (not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off')::boolean as is_writable
from schema_migrations as m;

-- name: GetDatabaseSettings :one
-- What of the database matters to whoever operates it. Always one row.
select
    current_setting('server_version_num')::int as server_version,
    current_setting('server_encoding')::text as encoding,
    (current_setting('fsync') = 'on')::boolean as fsync,
    (current_setting('full_page_writes') = 'on')::boolean as full_page_writes,
    current_setting('synchronous_commit')::text as synchronous_commit,
    current_setting('random_page_cost')::double precision as random_page_cost,
    current_setting('max_connections')::int as max_connections,
    pg_database_size(current_database())::bigint as size_bytes,
    clock_timestamp()::timestamptz as clock;
