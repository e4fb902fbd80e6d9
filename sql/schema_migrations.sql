-- The table that golang-migrate makes for itself. For sqlc, which has to know it.
create table schema_migrations (
    version bigint not null primary key,
    dirty boolean not null
);
