//! T2: PostgreSQL is stopped for 30 seconds under 10 webhooks per second. Every answer comes within 2 seconds, those of
//! the outage are 503 with Retry-After, all come in when they are sent again, no process ends, and work goes on quickly.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::sleep;

use crate::checker::Findings;
use crate::ground::Ground;
use crate::report::Report;
use crate::sender::{Answer, Sent};
use crate::stage::{self, Stage};
use crate::traffic::Traffic;

const NAME: &str = "T2";
const WEBHOOKS: usize = 600;
const RATE: f64 = 10.0;
const BEFORE: Duration = Duration::from_secs(10);
const OUTAGE: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
const ACK_LIMIT: Duration = Duration::from_secs(2);
const CLAIM_LIMIT: Duration = Duration::from_secs(10);
const DRAIN_LIMIT: Duration = Duration::from_mins(1);

pub async fn run(ground: &Ground) -> anyhow::Result<Report> {
    let mut stage = Stage::prepare(ground, NAME, "").await?;
    stage.start().await?;
    let plan = Traffic::plain(WEBHOOKS, RATE).plan("t2", &stage.recordings, ground.seed_of(NAME));
    let outage = async {
        sleep(BEFORE).await;
        let away = async {
            ground.postgres.stop_server().await;
            sleep(OUTAGE).await;
            ground.postgres.start_server().await
        };
        stage::outage(&stage.book, away).await
    };
    let ((), back) = tokio::try_join!(stage.sender.send(plan), outage)?;
    let drained = stage.drained(DRAIN_LIMIT).await;

    let (sent, _, mut report) = Findings::report(&stage, WEBHOOKS).await?;
    report.within("slowest answer", sent.times().into_iter().max(), ANSWER_LIMIT);
    report.some("503 with Retry-After", sent.count(|tried| is_busy(&tried.answer)));
    let other = sent.count(|tried| !is_busy(&tried.answer) && !matches!(tried.answer, Answer::Acknowledged { .. }));
    report.exactly("other answers", other, 0);
    report.none("processes ended", &stage.processes.ends());
    report.within("first ack after the return", first_ack(&sent, back), ACK_LIMIT);
    report.within("first claim after the return", first_claim(&stage, back).await?, CLAIM_LIMIT);
    report.within("all ended after", drained, DRAIN_LIMIT);
    stage.strike(ground, NAME).await?;
    Ok(report)
}

fn is_busy(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused { status: 503, retry_after: Some(_) })
}

fn first_ack(sent: &Sent, back: DateTime<Utc>) -> Option<Duration> {
    let acks = sent.tries.iter().filter(|tried| matches!(tried.answer, Answer::Acknowledged { .. }));
    acks.filter_map(|tried| (tried.at + tried.took - back).to_std().ok()).min()
}

async fn first_claim(stage: &Stage, back: DateTime<Utc>) -> anyhow::Result<Option<Duration>> {
    let claimed: Option<DateTime<Utc>> =
        sqlx::query_scalar("SELECT min(started_at) FROM job_attempts WHERE started_at > $1")
            .bind(back)
            .fetch_one(&stage.db)
            .await?;
    Ok(claimed.and_then(|claimed| (claimed - back).to_std().ok()))
}
