-- A view does not lose a column, so it is made anew.
drop view batch_summaries;
alter table batch_runs drop column submitted_by;
alter table benchmark_runs drop column submitted_by;
drop table api_keys;

-- Batches as they are read. What a batch did not report is computed: the counts
-- over all of its runs, the averages over the completed ones that have the score,
-- null when none has.
create view batch_summaries as
select
    b.batch_id,
    b.created_at,
    b.completed_at,
    coalesce(b.total_runs, computed.total_runs)::bigint as total_runs,
    coalesce(b.successful_runs, computed.successful_runs)::bigint as successful_runs,
    coalesce(b.avg_score, computed.avg_score)::nullable_score as avg_score,
    coalesce(b.avg_weighted_score, computed.avg_weighted_score)::nullable_score as avg_weighted_score,
    b.metadata
from batch_runs as b
cross join lateral (
    select
        count(*) as total_runs,
        count(*) filter (where scores.is_successful) as successful_runs,
        scaled_up(sum(scaled_down(scores.total)) / count(scores.total)) as avg_score,
        scaled_up(sum(scaled_down(scores.weighted)) / count(scores.weighted)) as avg_weighted_score
    from (
        select
            r.is_successful,
            case when r.status = 'completed' then r.total_score end as total,
            case when r.status = 'completed' then r.weighted_score end as weighted
        from benchmark_runs as r
        where r.batch_id = b.batch_id
            -- Nothing is read where everything was reported.
            and num_nulls(b.total_runs, b.successful_runs, b.avg_score, b.avg_weighted_score) > 0
    ) as scores
) as computed;
