//! T1: a bad day. 5,000 webhooks in three minutes, while a random worker is killed every 2 seconds, the server every 20
//! seconds, and PostgreSQL is restarted as after a crash twice. The sender tries again what was not acknowledged.

use std::time::Duration;

use goto_automation::dev::standins::Upstream;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep_until};

use crate::checker::Findings;
use crate::ground::Ground;
use crate::report::Report;
use crate::stage::{self, SERVER, Stage, WORKER, WORKERS};
use crate::traffic::Traffic;

const NAME: &str = "T1";
const WEBHOOKS: (usize, usize) = (5_000, 800);
const SECONDS: (u64, u64) = (180, 29);
const DUPLICATES: usize = 10;
const OUT_OF_ORDER: usize = 5;
const WORKER_EVERY: Duration = Duration::from_secs(2);
const SERVER_EVERY: Duration = Duration::from_secs(20);
/// After such parts of the time.
const RESTARTS: [f64; 2] = [0.33, 0.72];
const END_LIMIT: Duration = Duration::from_mins(1);
/// Beyond the limit, so that what is late can be told from what never ends.
const PATIENCE: Duration = Duration::from_mins(2);

pub async fn run(ground: &Ground) -> anyhow::Result<Report> {
    let mut stage = Stage::prepare(ground, NAME, "").await?;
    stage.start().await?;
    let (webhooks, seconds) = (ground.either(WEBHOOKS.0, WEBHOOKS.1), ground.either(SECONDS.0, SECONDS.1));
    let rate = webhooks as f64 / seconds as f64;
    let traffic = Traffic { webhooks, rate, duplicates: DUPLICATES, out_of_order: OUT_OF_ORDER };
    let plan = traffic.plan("t1", &stage.recordings, ground.seed_of(NAME));
    let length = Duration::from_secs(seconds);
    let random = StdRng::seed_from_u64(ground.seed_of(NAME));
    let hits = async {
        let (workers, servers, ()) = tokio::try_join!(
            kill_workers(&stage, length, random),
            kill_servers(&stage, length),
            restart(ground, &stage, length)
        )?;
        // Those who were not acknowledged for want of a server are sent again after this.
        anyhow::Ok((workers, servers, Instant::now()))
    };
    let ((), (workers, servers, last_fault)) = tokio::try_join!(stage.sender.send(plan), hits)?;
    let drained = stage.drained(PATIENCE).await.map(|_| last_fault.elapsed());

    let (sent, findings, effects) = (stage.sender.sent(), Findings::of(&stage).await?, stage.effects()?);
    let mut report = Report::default();
    report.figure(sent.told());
    report.figure(format!("{workers} workers and {servers} servers killed, {} restarts of PostgreSQL", RESTARTS.len()));
    report.exactly("calls", findings.calls, traffic.calls());
    findings.tell(&mut report);
    report.figure(format!("paid again {}", findings.paid_again));
    report.figure(format!("downloaded again {}", effects.count(Upstream::Recordings).saturating_sub(traffic.calls())));
    report.figure(format!(
        "attempts lost {}",
        stage.count("SELECT count(*) FROM job_attempts WHERE outcome = 'lost'").await?
    ));
    report.within("all ended after the last fault", drained, END_LIMIT);
    stage.strike(ground, NAME).await?;
    Ok(report)
}

async fn kill_workers(stage: &Stage, length: Duration, mut random: StdRng) -> anyhow::Result<usize> {
    let (began, mut killed) = (Instant::now(), 0);
    for turn in 1..=(length.as_secs() / WORKER_EVERY.as_secs()) as u32 {
        sleep_until(began + WORKER_EVERY * turn).await;
        // One that is just being started again is hit no second time; then it is its neighbour's turn.
        let first = random.random_range(0..WORKERS);
        let hit = (0..WORKERS).any(|next| stage.kill(&format!("{WORKER}-{}", (first + next) % WORKERS)));
        killed += usize::from(hit);
    }
    Ok(killed)
}

async fn kill_servers(stage: &Stage, length: Duration) -> anyhow::Result<usize> {
    let (began, mut killed) = (Instant::now(), 0);
    for turn in 1..=(length.as_secs() / SERVER_EVERY.as_secs()) as u32 {
        sleep_until(began + SERVER_EVERY * turn).await;
        killed += usize::from(stage.kill(SERVER));
    }
    Ok(killed)
}

async fn restart(ground: &Ground, stage: &Stage, length: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    for part in RESTARTS {
        sleep_until(began + length.mul_f64(part)).await;
        stage::outage(&stage.book, ground.postgres.restart_immediate()).await?;
    }
    Ok(())
}
