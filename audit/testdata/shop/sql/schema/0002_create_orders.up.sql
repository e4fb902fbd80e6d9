create table orders (
    id bigint generated always as identity constraint orders_pkey primary key,
    item_id bigint not null constraint orders_item_id_fkey references items (id),
    amount bigint not null
);
