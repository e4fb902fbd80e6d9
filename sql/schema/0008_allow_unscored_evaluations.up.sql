-- An evaluator that could not score has no score.
alter table evaluation_results alter column score drop not null;
