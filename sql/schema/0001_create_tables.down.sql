drop view batch_summaries;
drop table run_telemetry;
drop table evaluation_results;
drop table benchmark_runs;
drop table batch_runs;
drop function scaled_up;
drop function scaled_down;
drop domain nullable_score;
