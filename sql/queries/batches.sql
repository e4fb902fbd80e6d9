-- name: ListBatches :many
-- Batches that come after a position (created_at, batch_id), newest first; a
-- position beyond every time gives the first page. No row when there is none.
select * from batch_summaries
where (created_at, batch_id) < (@before_created_at::timestamptz, @before_batch_id::text)
order by created_at desc, batch_id desc
limit @row_limit::int;

-- name: GetBatch :one
-- A batch. No row when it is not there.
select * from batch_summaries where batch_id = @batch_id;
