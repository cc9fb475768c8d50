//! A backlog of empty jobs: by one process with 10 and with 50 slots, and by two processes with 25 each.

use std::time::{Duration, Instant};

use goto_automation::queue::Waker;

use crate::Figures;
use crate::server::{Database, Server};
use crate::workers::{EMPTY, Empty, OtherProcess, Running, all_written, enqueue, policy, workers};

pub(crate) const JOBS: usize = 20_000;

pub(crate) async fn measure(server: &Server) -> anyhow::Result<Figures> {
    let c10 = on_fresh(server, 10).await?;
    let c50 = on_fresh(server, 50).await?;
    let two = two_processes(server).await?;
    Ok(vec![
        ("drain_c10_jobs_per_s", c10),
        ("drain_c50_jobs_per_s", c50),
        ("drain_2proc_jobs_per_s", two),
        ("drain_2proc_ratio", two / c50),
    ])
}

async fn on_fresh(server: &Server, slots: usize) -> anyhow::Result<f64> {
    let database = server.database().await?;
    let rate = drain(&database, slots).await?;
    server.drop(database).await?;
    Ok(rate)
}

/// Jobs per second from the commit of the backlog, which idle workers wait for, until the last end is written.
pub(crate) async fn drain(database: &Database, slots: usize) -> anyhow::Result<f64> {
    let (waker, empty) = (Waker::default(), Empty::until(JOBS));
    let workers = workers(&database.url, &waker)?.step(policy(EMPTY, slots), empty.clone());
    let running = Running::start(workers, &waker, &database.url)?;
    enqueue(&database.pool, EMPTY, JOBS).await?;
    let began = Instant::now();
    waker.wake(EMPTY);
    empty.reached().await?;
    all_written(database).await?;
    let rate = JOBS as f64 / began.elapsed().as_secs_f64();
    running.stop().await?;
    Ok(rate)
}

async fn two_processes(server: &Server) -> anyhow::Result<f64> {
    let database = server.database().await?;
    let arguments = ["work", &database.url, "25"];
    let (first, second) = tokio::try_join!(OtherProcess::start(&arguments), OtherProcess::start(&arguments))?;
    enqueue(&database.pool, EMPTY, JOBS).await?;
    sqlx::query("SELECT pg_notify('goto_automation_jobs', $1)").bind(EMPTY).execute(&database.pool).await?;
    // Seldom asked: the answer costs the database several milliseconds, and the figure needs none of it.
    while database.open_jobs().await? > 0 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // By the database's clock, from the first claim to the last end.
    let took: f64 =
        sqlx::query_scalar("SELECT extract(epoch FROM max(ended_at) - min(started_at))::float8 FROM job_attempts")
            .fetch_one(&database.pool)
            .await?;
    first.end().await?;
    second.end().await?;
    server.drop(database).await?;
    Ok(JOBS as f64 / took)
}
