-- Individual API keys, in addition to the shared key of the configuration.
create table api_keys (
    name text collate "C" not null,
    -- SHA-256 of the key, which itself is kept nowhere. It has 130 random bits, so
    -- there is nothing to guess, and no need for a slow hash.
    hash bytea not null,
    scope text collate "C" not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz, -- to the minute
    constraint api_keys_pkey primary key (name),
    constraint api_keys_name_check check (char_length(name) between 1 and 150),
    constraint api_keys_hash_check check (octet_length(hash) = 32),
    constraint api_keys_scope_check check (scope in ('read', 'submit', 'admin'))
);

-- The name of the key that submitted it last, null for the shared key, which has
-- none. What was submitted stays when a key is gone, so it is no foreign key.
alter table batch_runs add column submitted_by text collate "C";
alter table benchmark_runs add column submitted_by text collate "C";

create or replace view batch_summaries as
select
    b.batch_id,
    b.created_at,
    b.completed_at,
    coalesce(b.total_runs, computed.total_runs)::bigint as total_runs,
    coalesce(b.successful_runs, computed.successful_runs)::bigint as successful_runs,
    coalesce(b.avg_score, computed.avg_score)::nullable_score as avg_score,
    coalesce(b.avg_weighted_score, computed.avg_weighted_score)::nullable_score as avg_weighted_score,
    b.metadata,
    b.submitted_by
from batch_runs as b
cross join lateral (
    select
        count(*) as total_runs,
        count(*) filter (where scores.is_successful) as successful_runs,
        scaled_up(sum(scaled_down(scores.total)) / count(scores.total)) as avg_score,
        scaled_up(sum(scaled_down(scores.weighted)) / count(scores.weighted)) as avg_weighted_score
    from (
        select
            r.is_successful,
            case when r.status = 'completed' then r.total_score end as total,
            case when r.status = 'completed' then r.weighted_score end as weighted
        from benchmark_runs as r
        where r.batch_id = b.batch_id
            -- Nothing is read where everything was reported.
            and num_nulls(b.total_runs, b.successful_runs, b.avg_score, b.avg_weighted_score) > 0
    ) as scores
) as computed;
