alter table benchmark_runs
drop constraint benchmark_runs_names_check,
add constraint benchmark_runs_names_check check (
    '' <> all(array[run_id, suite, scenario, tier, agent, model])
    and greatest(
        char_length(run_id), char_length(suite), char_length(scenario),
        char_length(tier), char_length(agent), char_length(model)
    ) <= 150
) not valid;

alter table evaluation_results
drop constraint evaluation_results_values_check,
add constraint evaluation_results_values_check check (
    position >= 0 and char_length(evaluator_name) between 1 and 150 and max_score > 0
) not valid;

alter table run_telemetry
drop constraint run_telemetry_counts_check,
add constraint run_telemetry_counts_check check (
    least(tool_calls, tokens_in, tokens_out, duration_ms) >= 0
) not valid;
