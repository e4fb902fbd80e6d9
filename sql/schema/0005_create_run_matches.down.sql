drop function run_matches(benchmark_runs, jsonb);
