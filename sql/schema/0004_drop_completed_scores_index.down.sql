create index concurrently benchmark_runs_completed_scores_idx on benchmark_runs (
    agent, is_successful, weighted_score, total_score
) where status = 'completed';
