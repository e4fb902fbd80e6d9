-- A valid check needs no reverting.
select 1;
