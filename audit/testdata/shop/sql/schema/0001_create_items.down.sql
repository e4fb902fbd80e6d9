drop view cheap_items;
drop table items;
