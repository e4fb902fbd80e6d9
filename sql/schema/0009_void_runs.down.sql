-- Voided runs count again.
create or replace function run_matches(run benchmark_runs, filters jsonb) returns boolean
language sql immutable parallel safe
as $$
select (filters ->> 'suite' is null or run.suite = filters ->> 'suite')
    and (filters ->> 'scenario' is null or run.scenario = filters ->> 'scenario')
    and (filters ->> 'agent' is null or run.agent = filters ->> 'agent')
    and (filters ->> 'status' is null or run.status = filters ->> 'status')
$$;

-- What was stored since then stays, as an older server stores it.
update benchmark_runs set metadata = metadata_text where metadata is null and metadata_text is not null;
update batch_runs set metadata = metadata_text where metadata is null and metadata_text is not null;

drop view batch_summaries;
create view batch_summaries as
select
    b.batch_id,
    b.created_at,
    b.completed_at,
    coalesce(b.total_runs, computed.total_runs)::bigint as total_runs,
    coalesce(b.successful_runs, computed.successful_runs)::bigint as successful_runs,
    coalesce(b.avg_score, computed.avg_score)::nullable_score as avg_score,
    coalesce(b.avg_weighted_score, computed.avg_weighted_score)::nullable_score as avg_weighted_score,
    b.metadata,
    b.submitted_by
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

alter table benchmark_runs
drop column metadata_text,
drop column voided_at,
drop column voided_by,
drop column void_reason;
alter table batch_runs drop column metadata_text;
drop table corrections;
