select name, current_setting(name), current_setting('server_version_num')::int / 10000
from pg_settings
where name in (
    'random_page_cost', 'seq_page_cost', 'effective_cache_size', 'work_mem', 'max_parallel_workers_per_gather', 'default_statistics_target', 'jit'
);
