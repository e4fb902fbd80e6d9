insert into items (name, price) select 'item ' || n, n from generate_series(1, 2000) as n;
insert into orders (item_id, amount) select id, 1 from items;
vacuum analyze items, orders;
