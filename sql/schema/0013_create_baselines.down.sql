drop table if exists baselines;
