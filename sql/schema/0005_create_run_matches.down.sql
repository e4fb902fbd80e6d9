drop function if exists run_matches(benchmark_runs, jsonb);
