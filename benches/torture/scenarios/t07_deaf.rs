//! T7: only the connections that listen for notices go into a black hole. New work is found within 2 seconds by looking,
//! and the listeners are back within 30 seconds.

use std::time::Duration;

use chrono::{DateTime, Utc};
use goto_automation::model::clock;

use crate::checker::Findings;
use crate::ground::Ground;
use crate::report::{self, Report};
use crate::stage::{Stage, WORKERS};
use crate::traffic::Traffic;

const NAME: &str = "T7";
/// What a listener calls itself.
const LISTENER: &str = "goto-automation listener";
const BEFORE: usize = 20;
const DURING: usize = 80;
const RATE: f64 = 2.0;
const PICKED_UP_LIMIT: Duration = Duration::from_secs(2);
const BACK_LIMIT: Duration = Duration::from_secs(30);
const DRAIN_LIMIT: Duration = Duration::from_mins(1);

pub async fn run(ground: &Ground) -> anyhow::Result<Report> {
    let mut stage = Stage::prepare(ground, NAME, "").await?;
    stage.start().await?;
    let before = Traffic::plain(BEFORE, RATE).plan("t7-before", &stage.recordings, ground.seed_of(NAME));
    stage.sender.send(before).await?;
    let since = clock::now();
    stage.network.bury_connections_of(LISTENER);
    let during = Traffic::plain(DURING, RATE).plan("t7", &stage.recordings, ground.seed_of(NAME));
    let ((), back) = tokio::try_join!(stage.sender.send(during), listening_again(&stage, since))?;
    let drained = stage.drained(DRAIN_LIMIT).await;

    let findings = Findings::of(&stage).await?;
    let mut report = Report::default();
    report.exactly("calls", findings.calls, BEFORE + DURING);
    findings.tell(&mut report);
    let (heard, looked) = (waited(&stage, since, true).await?, waited(&stage, since, false).await?);
    report.figure(format!(
        "picked up before: p50 {}",
        report::percentile(&heard, 50).map_or_else(String::new, report::shown)
    ));
    report.figure(format!("after: p50 {}", report::percentile(&looked, 50).map_or_else(String::new, report::shown)));
    report.within("at the latest", looked.iter().max().copied(), PICKED_UP_LIMIT);
    report.within("all listening again after", back, BACK_LIMIT);
    report.within("all ended after", drained, DRAIN_LIMIT);
    stage.strike(ground, NAME).await?;
    Ok(report)
}

/// How long it takes until there are as many new listeners as workers.
async fn listening_again(stage: &Stage, since: DateTime<Utc>) -> anyhow::Result<Option<Duration>> {
    loop {
        let listening: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = $1 AND backend_start > $2",
        )
        .bind(LISTENER)
        .bind(since)
        .fetch_one(&stage.db)
        .await?;
        let elapsed = (clock::now() - since).to_std().unwrap_or_default();
        if listening >= WORKERS as i64 {
            return Ok(Some(elapsed));
        }
        if elapsed > BACK_LIMIT * 2 {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How long the first jobs of calls waited for a worker, before or after that time.
async fn waited(stage: &Stage, since: DateTime<Utc>, before: bool) -> anyhow::Result<Vec<Duration>> {
    let seconds: Vec<f64> = sqlx::query_scalar(
        "SELECT extract(epoch FROM a.started_at - j.created_at)::float8
         FROM job_attempts a JOIN jobs j ON j.id = a.job_id
         WHERE a.step = 'download' AND a.attempt = 1 AND (j.created_at < $1) = $2",
    )
    .bind(since)
    .bind(before)
    .fetch_all(&stage.db)
    .await?;
    Ok(seconds.into_iter().map(|seconds| Duration::from_secs_f64(seconds.max(0.0))).collect())
}
