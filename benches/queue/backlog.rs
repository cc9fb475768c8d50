//! What a million finished jobs, and half a million waiting ones, cost those who are due.

use goto_automation::queue::Waker;
use std::time::Instant;

use crate::Figures;
use crate::drain::{JOBS, drain};
use crate::pipeline::chains;
use crate::server::{Database, Server};
use crate::workers::{EMPTY, Empty, Running, policy, workers};

const SLOTS: usize = 50;

/// Calls that went through all four steps, as a pipeline leaves them.
const HISTORY: &str = "
    INSERT INTO calls (id, source, external_id, direction, recording, state)
    SELECT gen_random_uuid(), 'past', n::text, 'inbound', 'available', 'completed' FROM generate_series(1, 250000) n;
    INSERT INTO jobs (step, call_id, state, starts, attempts, worker, claimed_at, run_at, created_at, finished_at)
    SELECT step, id, 'completed', 1, 1, 'past', t, t, t, t
    FROM (SELECT id, now() - random() * interval '20 days' AS t FROM calls) c,
        unnest(ARRAY['first', 'second', 'third', 'empty']) step;
    INSERT INTO job_attempts (job_id, attempt, call_id, step, worker, token, started_at, ended_at, outcome)
    SELECT id, 1, call_id, step, 'past', id, finished_at, finished_at, 'completed' FROM jobs;
";
/// A third of them later, in the order in which they came.
const BACKLOG: &str = "
    INSERT INTO jobs (step, call_id, run_at)
    SELECT 'empty', gen_random_uuid(),
        CASE WHEN n % 3 = 0 THEN now() + random() * interval '1 day' + interval '1 hour'
             ELSE now() - interval '1 hour' + n * interval '1 ms' END
    FROM generate_series(1, 500000) n;
";

pub(crate) async fn with_history(server: &Server) -> anyhow::Result<Figures> {
    let past = filled(server, HISTORY).await?;
    let (drain_before, drain_after) = side_by_side(server, &past, async |db| drain(db, SLOTS).await).await?;
    let (chains_before, chains_after) = side_by_side(server, &past, async |db| chains(db).await).await?;
    server.drop(past).await?;
    let (drain_ratio, chains_ratio) = (drain_after / drain_before, chains_after / chains_before);
    Ok(vec![
        ("history_1m_ratio", drain_ratio.min(chains_ratio)),
        ("history_1m_drain_ratio", drain_ratio),
        ("history_1m_pipeline_ratio", chains_ratio),
    ])
}

pub(crate) async fn with_backlog(server: &Server) -> anyhow::Result<Figures> {
    let waiting = filled(server, BACKLOG).await?;
    let before = {
        let database = server.database().await?;
        let rate = drain(&database, SLOTS).await?;
        server.drop(database).await?;
        rate
    };
    let after = head_of(&server.copy_of(&waiting.name).await?).await?;
    server.drop(waiting).await?;
    Ok(vec![("backlog_500k_ratio", after / before), ("backlog_500k_jobs_per_s", after)])
}

/// A database with rows of an earlier time, in the shape in which autovacuum keeps such tables.
async fn filled(server: &Server, rows: &'static str) -> anyhow::Result<Database> {
    let database = server.database().await?;
    sqlx::raw_sql(rows).execute(&database.pool).await?;
    sqlx::raw_sql("VACUUM ANALYZE").execute(&database.pool).await?;
    sqlx::raw_sql("CHECKPOINT").execute(&database.pool).await?;
    // It is to be copied, which needs it to be alone.
    database.pool.close().await;
    Ok(database)
}

/// The same on an empty database and on a copy of a full one.
async fn side_by_side(
    server: &Server,
    full: &Database,
    rate: impl AsyncFn(&Database) -> anyhow::Result<f64>,
) -> anyhow::Result<(f64, f64)> {
    let empty = server.database().await?;
    let without = rate(&empty).await?;
    server.drop(empty).await?;
    let copy = server.copy_of(&full.name).await?;
    let with = rate(&copy).await?;
    server.drop(copy).await?;
    Ok((without, with))
}

/// Jobs per second at the head of a backlog that is not drained.
async fn head_of(database: &Database) -> anyhow::Result<f64> {
    let (waker, empty) = (Waker::default(), Empty::until(3 * JOBS));
    let workers = workers(&database.url, &waker)?.step(policy(EMPTY, SLOTS), empty.clone());
    let began = Instant::now();
    let running = Running::start(workers, &waker, &database.url)?;
    empty.reached().await?;
    let rate = (3 * JOBS) as f64 / began.elapsed().as_secs_f64();
    running.stop().await?;
    Ok(rate)
}
