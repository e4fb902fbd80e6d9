-- name: CreateOrder :exec
-- Stores an order.
insert into orders (item_id, amount) values (@item_id, @amount);

-- name: GetKey :one
-- Whether a key is known.
select (@key::text = 'secret')::boolean as is_known;
