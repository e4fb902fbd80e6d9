-- benchmark_runs_completed_started_at_idx has its place. An older server is slower without it, and works.
drop index concurrently benchmark_runs_completed_scores_idx;
