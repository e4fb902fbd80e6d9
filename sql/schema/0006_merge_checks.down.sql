alter table benchmark_runs
drop constraint benchmark_runs_names_check,
add constraint benchmark_runs_names_check check (
    char_length(run_id) between 1 and 150
    and char_length(suite) between 1 and 150
    and char_length(scenario) between 1 and 150
    and char_length(tier) between 1 and 150
    and char_length(agent) between 1 and 150
    and char_length(model) between 1 and 150
);

alter table evaluation_results
drop constraint evaluation_results_values_check,
add constraint evaluation_results_position_check check (position >= 0),
add constraint evaluation_results_evaluator_name_check check (char_length(evaluator_name) between 1 and 150),
add constraint evaluation_results_max_score_check check (max_score > 0);

alter table run_telemetry
drop constraint run_telemetry_counts_check,
add constraint run_telemetry_tool_calls_check check (tool_calls >= 0),
add constraint run_telemetry_tokens_in_check check (tokens_in >= 0),
add constraint run_telemetry_tokens_out_check check (tokens_out >= 0),
add constraint run_telemetry_duration_ms_check check (duration_ms >= 0);
