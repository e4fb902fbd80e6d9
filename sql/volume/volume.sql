-- Data of realistic volume for the audit's plans: 1,000 batches, 100,000 runs,
-- 300,000 evaluations, 10,000 corrections, skewed as in life: a few suites, agents and recent days have
-- most of the runs, and a run has between one and five evaluations. The same each time.
insert into batch_runs (batch_id, created_at, completed_at, total_runs)
select
    'batch-' || b,
    timestamptz '2025-01-01 00:00Z' + b * interval '6 hours',
    case when b % 10 > 0 then timestamptz '2025-01-01 05:00Z' + b * interval '6 hours' end,
    case when b % 10 > 0 then 100 end
from generate_series(0, 999) as b;

insert into benchmark_runs (
    run_id, batch_id, suite, scenario, tier, agent, model, status, started_at, started_at_given,
    completed_at, total_score, weighted_score, is_successful, metadata
)
select
    'run-' || n,
    case when n % 4 > 0 then 'batch-' || n / 100 end,
    'suite-' || floor(20 * u ^ 3),
    'scenario-' || floor(500 * v ^ 2),
    'L' || n % 4,
    'agent-' || floor(30 * w ^ 3),
    'model-' || floor(60 * u * w),
    case when v < 0.9 then 'completed' when v < 0.97 then 'failed' when v < 0.99 then 'incomplete' else 'running' end,
    timestamptz '2025-01-01 00:00Z' + 250 * power(n / 100000.0, 0.25) * interval '1 day',
    true,
    timestamptz '2025-01-01 00:10Z' + 250 * power(n / 100000.0, 0.25) * interval '1 day',
    case when v < 0.9 then u end,
    case when v < 0.9 then u * 10 end,
    u > 0.5,
    jsonb_build_object('cli', '1.2.0', 'host', 'runner-17.internal.example', 'commit', md5(n::text), 'workspace', '/var/lib/runner/work/' || n)
from (
    select
        n,
        (n::bigint * 7919 % 100003) / 100003.0::double precision as u,
        (n::bigint * 104729 % 99991) / 99991.0::double precision as v,
        (n::bigint * 1299709 % 99989) / 99989.0::double precision as w
    from generate_series(0, 99999) as n
) as numbers;

insert into evaluation_results (run_id, position, evaluator_name, score, max_score, details, created_at)
select 'run-' || n, position, 'evaluator-' || position, n % 11, 10, 'details', timestamptz '2025-01-01 00:00Z'
from generate_series(0, 99999) as n
cross join generate_series(0, n * 7919 % 5) as position;

insert into corrections (run_id, action, reason, corrected_at)
select 'run-' || n * 31 % 5000, case when n < 5000 then 'void' else 'restore' end, 'reason', timestamptz '2025-06-01 00:00Z' + n * interval '1 minute'
from generate_series(0, 9999) as n;

-- Vacuum takes rows for visible to all when their commit is on disk: this one waits for that.
with waits as materialized (select set_config('synchronous_commit', 'on', true))
insert into run_telemetry (run_id, tool_calls, tokens_in, tokens_out, cost_usd, duration_ms, prompt_sent)
select 'run-' || n, n % 50, n, n % 1000, 0.01, n, 'prompt'
from generate_series(0, 99999) as n
cross join waits;

vacuum analyze;
