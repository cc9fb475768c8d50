//! T8: thirty sessions hold locks for 15 seconds: on rows of calls and of jobs, on the id of a call that is about to come,
//! and one of them on the whole table of calls. Then the rows of a call and of its job are locked crosswise, so that
//! PostgreSQL has to end one of the two, and it is ours. Answers stay quick, and all is well again after the release.

use std::time::Duration;

use goto_automation::dev::gate::{Gate, GatedUpstream};
use goto_automation::model::clock;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::checker::Findings;
use crate::ground::Ground;
use crate::report::Report;
use crate::sender::{Answer, Try};
use crate::stage::Stage;
use crate::traffic::Traffic;

const NAME: &str = "T8";
const WEBHOOKS: usize = 500;
const RATE: f64 = 10.0;
const BEFORE: Duration = Duration::from_secs(5);
/// Sessions that hold a row of a call, and of a job.
const ON_CALLS: i64 = 14;
const ON_JOBS: i64 = 14;
const HELD: Duration = Duration::from_secs(9);
/// After that, while the rows are still held, nobody may write a call at all, as under a careless CREATE INDEX.
const TABLE_HELD: Duration = Duration::from_secs(6);
const ANSWER_LIMIT: Duration = Duration::from_millis(2_500);
const NORMAL_LIMIT: Duration = Duration::from_secs(5);
const DRAIN_LIMIT: Duration = Duration::from_mins(1);
/// Longer than anything here: the server looks for deadlocks on behalf of the others first.
const NEVER_THE_VICTIM: &str = "SET deadlock_timeout = '10min'";
const DEADLOCKS: &str = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
/// Not by `pg_blocking_pids`, which stops the whole lock manager for each look.
const WRITER_WAITS: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE application_name = 'goto-automation writer' AND wait_event_type = 'Lock'";
/// Jobs that have been due for longer than idle workers take to look.
const OVERDUE: &str =
    "SELECT count(*) FROM jobs WHERE state = 'available' AND run_at < clock_timestamp() - interval '1.5 seconds'";

pub async fn run(ground: &Ground) -> anyhow::Result<Report> {
    let mut stage = Stage::prepare(ground, NAME, "").await?;
    let slack = GatedUpstream::to(stage.standins.slack_webhook_url.socket_addrs(|| None)?[0]).await?;
    stage.set("SLACK_WEBHOOK_URL", slack.url(&stage.standins.slack_webhook_url));
    stage.start().await?;
    let plan = Traffic::plain(WEBHOOKS, RATE).plan("t8", &stage.recordings, ground.seed_of(NAME));
    let locks = async {
        hold(&stage).await?;
        let released = clock::now();
        let normal = normal_again(&stage).await;
        lock_crosswise(&stage, &slack).await?;
        anyhow::Ok((released, normal))
    };
    let ((), (released, normal)) = tokio::try_join!(stage.sender.send(plan), locks)?;
    let drained = stage.drained(DRAIN_LIMIT).await;

    let (sent, _, mut report) = Findings::report(&stage, WEBHOOKS).await?;
    report.within("slowest answer", sent.times().into_iter().max(), ANSWER_LIMIT);
    report.within("nothing overdue after the release", normal, NORMAL_LIMIT);
    let well = |tried: &Try| tried.at < released + NORMAL_LIMIT || matches!(tried.answer, Answer::Acknowledged { .. });
    report.exactly("refused later than that", sent.count(|tried| !well(tried)), 0);
    report.some("deadlocks", stage.count(DEADLOCKS).await? as usize);
    report.none("processes ended", &stage.processes.ends());
    report.within("all ended after", drained, DRAIN_LIMIT);
    stage.strike(ground, NAME).await?;
    Ok(report)
}

/// Everything is locked, and then let go.
async fn hold(stage: &Stage) -> anyhow::Result<()> {
    sleep(BEFORE).await;
    let mut sessions = Vec::new();
    for number in 0..ON_CALLS {
        let lock = "SELECT 1 FROM (SELECT id FROM calls ORDER BY created_at DESC OFFSET $1 LIMIT 1) c
                    JOIN calls USING (id) FOR UPDATE OF calls";
        sessions.push(locked(stage, lock, number).await?);
    }
    for number in 0..ON_JOBS {
        let lock = "SELECT 1 FROM jobs WHERE id > (SELECT max(id) FROM jobs) - 100 AND state <> 'completed'
                    ORDER BY id DESC OFFSET $1 LIMIT 1 FOR UPDATE SKIP LOCKED";
        sessions.push(locked(stage, lock, number).await?);
    }
    // A client that sits idle in its transaction, on the name of a call that is still to come.
    let mut idle = PgConnection::connect(&stage.database).await?;
    sqlx::raw_sql("BEGIN").execute(&mut idle).await?;
    sqlx::query(
        "INSERT INTO calls (id, source, external_id, direction, recording)
         VALUES ($1, 'signed', 't8-00100', 'unknown', 'none')",
    )
    .bind(Uuid::now_v7())
    .execute(&mut idle)
    .await?;
    sleep(HELD).await;
    idle.close().await?;
    let mut table = PgConnection::connect(&stage.database).await?;
    sqlx::raw_sql("BEGIN; LOCK TABLE calls IN SHARE MODE").execute(&mut table).await?;
    sleep(TABLE_HELD).await;
    for session in sessions.into_iter().chain([table]) {
        session.close().await?;
    }
    Ok(())
}

async fn locked(stage: &Stage, lock: &'static str, number: i64) -> anyhow::Result<PgConnection> {
    let mut session = PgConnection::connect(&stage.database).await?;
    // What is locked for longer than that is under work, and another row does as well.
    sqlx::raw_sql("SET lock_timeout = '200ms'; BEGIN").execute(&mut session).await?;
    sqlx::query(lock).bind(number).execute(&mut session).await.ok();
    Ok(session)
}

/// How long it takes until nothing is overdue.
async fn normal_again(stage: &Stage) -> Option<Duration> {
    let released = Instant::now();
    while released.elapsed() < NORMAL_LIMIT * 4 {
        if stage.count(OVERDUE).await.is_ok_and(|overdue| overdue == 0) {
            return Some(released.elapsed());
        }
        sleep(Duration::from_millis(50)).await;
    }
    None
}

/// We hold a call and want its job; the worker that ends the job holds it and wants the call, whose state follows from
/// that end: the job is one that gives the call no further work.
async fn lock_crosswise(stage: &Stage, slack: &GatedUpstream) -> anyhow::Result<()> {
    slack.set(Gate::HoldAnswers);
    let mut ours = PgConnection::connect(&stage.database).await?;
    sqlx::raw_sql(NEVER_THE_VICTIM).execute(&mut ours).await?;
    let (job, call) = held_job(&mut ours).await?;
    sqlx::raw_sql("BEGIN").execute(&mut ours).await?;
    sqlx::query("SELECT 1 FROM calls WHERE id = $1 FOR NO KEY UPDATE").bind(call).execute(&mut ours).await?;
    slack.set(Gate::Open);
    stage.until(WRITER_WAITS, 1, DRAIN_LIMIT).await?;
    sqlx::query("SELECT 1 FROM jobs WHERE id = $1 FOR UPDATE").bind(job).execute(&mut ours).await?;
    ours.close().await?;
    stage.until(DEADLOCKS, 1, DRAIN_LIMIT).await?;
    Ok(())
}

/// A job whose message has been sent, and its call.
async fn held_job(session: &mut PgConnection) -> anyhow::Result<(i64, Uuid)> {
    let began = Instant::now();
    while began.elapsed() < DRAIN_LIMIT {
        let held = sqlx::query_as(
            "SELECT id, call_id FROM jobs
             WHERE state = 'running' AND step = 'notify' AND target IS NOT NULL AND claimed_at < now() - interval '1 second' LIMIT 1",
        );
        if let Some(found) = held.fetch_optional(&mut *session).await? {
            return Ok(found);
        }
        sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("no job waits for Slack")
}
