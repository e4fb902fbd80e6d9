create table items (
    id bigint generated always as identity constraint items_pkey primary key,
    name text not null constraint items_name_key unique,
    price bigint not null constraint items_price_check check (price >= 0)
);
create index items_price_idx on items (price);
create view cheap_items as
select id, name, price from items where price < 100;
