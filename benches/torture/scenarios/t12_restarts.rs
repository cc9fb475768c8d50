//! T12: twenty graceful restarts of the server and of all workers at 50 webhooks per second. The listening socket stays
//! open and is handed from one server to the next. No connection is refused, no webhook is answered with an error, and no
//! attempt is used.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::checker::Findings;
use crate::ground::Ground;
use crate::report::{self, Report};
use crate::sender::Answer;
use crate::stage::{SERVER, Stage, WORKERS};
use crate::supervisor::Program;
use crate::traffic::Traffic;

const NAME: &str = "T12";
const RATE: f64 = 50.0;
const RESTARTS: u32 = 20;
const EVERY: Duration = Duration::from_secs(3);
const DRAIN_LIMIT: Duration = Duration::from_mins(2);
const USED: &str = "SELECT count(*) FROM jobs WHERE attempts > 1";
const GIVEN_BACK: &str = "SELECT count(*) FROM job_attempts WHERE outcome = 'given_back'";
const OTHER: &str = "SELECT count(*) FROM job_attempts WHERE outcome NOT IN ('given_back', 'completed')";

pub async fn run(ground: &Ground) -> anyhow::Result<Report> {
    let mut stage = Stage::prepare(ground, NAME, "").await?;
    let socket = Arc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, stage.port))?);
    let server = Program { socket: Some(socket), ..stage.program(&["serve"]) };
    stage.processes.start(SERVER, server)?;
    for number in 0..WORKERS {
        stage.work(number)?;
    }
    stage.ready(WORKERS).await?;
    let webhooks = (RATE * EVERY.as_secs_f64() * f64::from(RESTARTS)) as usize;
    let plan = Traffic::plain(webhooks, RATE).plan("t12", &stage.recordings, ground.seed_of(NAME));
    tokio::try_join!(stage.sender.send(plan), restart(&stage))?;
    let drained = stage.drained(DRAIN_LIMIT).await;

    let (sent, findings, mut report) = Findings::report(&stage, webhooks).await?;
    let refused: Vec<String> = sent
        .tries
        .iter()
        .filter(|tried| !matches!(tried.answer, Answer::Acknowledged { .. }))
        .map(|tried| format!("{:?}", tried.answer))
        .collect();
    report.none("errors", &refused);
    report.figure(format!("answer p99 {}", sent.percentile(99).map_or_else(String::new, report::shown)));
    let restarts = stage.processes.ends();
    report.exactly("restarts", restarts.len(), RESTARTS as usize * (1 + WORKERS));
    let unclean: Vec<String> = restarts.into_iter().filter(|end| !end.ends_with("exit status: 0")).collect();
    report.none("stopped otherwise", &unclean);
    report.exactly("attempts used", stage.count(USED).await? as usize + stage.count(OTHER).await? as usize, 0);
    report.figure(format!("given back {}", stage.count(GIVEN_BACK).await?));
    report.exactly("unknown", findings.unknown, 0);
    report.within("all ended after", drained, DRAIN_LIMIT);
    stage.strike(ground, NAME).await?;
    Ok(report)
}

/// Asks the server and the workers to stop, one after the other within each turn.
async fn restart(stage: &Stage) -> anyhow::Result<()> {
    let began = Instant::now();
    let members = stage.processes.of("");
    for turn in 0..RESTARTS {
        for (number, place) in members.iter().enumerate() {
            sleep_until(began + EVERY * turn + EVERY.mul_f64(number as f64 / members.len() as f64)).await;
            // On a busy machine the one before may just be starting.
            while !place.restart() {
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
    Ok(())
}
