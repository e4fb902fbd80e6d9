-- Where every evaluation has to have a score, one that has none counts as 0.
update evaluation_results set score = 0 where score is null;
alter table evaluation_results alter column score set not null;
