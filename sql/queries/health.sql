-- name: GetReadiness :one
-- Whether the database accepts writes, the version of its schema, and which privileges a
-- server needs and its role does not have, as "SELECT on api_keys". No row when it has no
-- schema.
select
    m.version as schema_version,
    m.dirty as schema_dirty,
    (not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off')::boolean as is_writable,
    array(
        select concat(needed.privilege, ' on ', needed.table_name)
        from (
            values
            ('api_keys', 'SELECT'), ('api_keys', 'UPDATE'),
            ('batch_runs', 'SELECT'), ('batch_runs', 'INSERT'), ('batch_runs', 'UPDATE'),
            ('benchmark_runs', 'SELECT'), ('benchmark_runs', 'INSERT'), ('benchmark_runs', 'UPDATE'),
            ('corrections', 'SELECT'), ('corrections', 'INSERT'),
            ('evaluation_results', 'SELECT'), ('evaluation_results', 'INSERT'),
            ('evaluation_results', 'UPDATE'), ('evaluation_results', 'DELETE'),
            ('run_telemetry', 'SELECT'), ('run_telemetry', 'INSERT'),
            ('run_telemetry', 'UPDATE'), ('run_telemetry', 'DELETE')
        ) as needed (table_name, privilege)
        -- Null, hence not told, where there is no such table yet.
        where not has_table_privilege(to_regclass(needed.table_name), needed.privilege)
        order by needed.table_name, needed.privilege
    )::text[] as missing_privileges
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
