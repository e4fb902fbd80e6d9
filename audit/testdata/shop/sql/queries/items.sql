-- name: GetItem :one
-- An item. No row when it is not there.
select * from items where id = $1;

-- name: ListItems :many
-- The items below a price, the dearest first.
select id, name, price from items
where price < @below::bigint
order by price desc
limit @row_limit::int;

-- name: ListItemsByName :many
-- The items of a name, or all: planned for its values.
select id, name, price from items
where sqlc.narg(name)::text is null or name = sqlc.narg(name)::text
order by id
limit 10;

-- name: CountItems :one
-- How many items there are.
-- audit: the program counts them once a day.
select count(*) from items;

-- name: CreateItem :one
-- Stores an item.
insert into items (name, price) values (@name, @price) returning id;
