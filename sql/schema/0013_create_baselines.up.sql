-- Names of batches that others are compared with. A name is moved to another batch, so that a
-- pipeline need not know its ID.
create table if not exists baselines (
    name text collate "C" not null,
    batch_id text collate "C" not null,
    set_at timestamptz not null,
    -- The name of the key, null for the shared key.
    set_by text collate "C",
    constraint baselines_pkey primary key (name),
    -- A batch is deleted when it has no runs any more: then there is nothing to compare with.
    constraint baselines_batch_id_fkey foreign key (batch_id) references batch_runs (batch_id) on delete cascade,
    constraint baselines_name_check check (char_length(name) between 1 and 150)
);
