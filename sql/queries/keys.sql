-- name: CreateKey :exec
-- Stores a key. Fails where a key has that name, even a revoked one.
insert into api_keys (name, hash, scope, created_at, expires_at)
values (@name, @hash, @scope, now(), sqlc.narg(expires_at)::timestamptz);

-- name: ListKeys :many
-- All keys, by name, each with its state: valid, expired or revoked. No row when
-- there is none.
select
    name,
    hash,
    scope,
    created_at,
    expires_at,
    revoked_at,
    last_used_at,
    (case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired' else 'valid' end)::text as state
from api_keys
order by name;

-- name: UpdateKeyRevoked :one
-- Revokes a key, and returns since when; a key that was revoked before stays as it
-- is. No row when there is no such key.
update api_keys
set revoked_at = coalesce(revoked_at, now())
where name = @name
returning revoked_at::timestamptz as revoked_at;

-- name: UpdateKeyUsed :exec
-- Records that a key is used now, unless that was recorded within the last minute.
update api_keys
set last_used_at = now()
where name = @name
    and (last_used_at is null or last_used_at < now() - interval '1 minute');
