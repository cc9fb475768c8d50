//! T14: twenty calls have failed, and two operators retry all of them at once, and once more, while workers finish. Each
//! runs once more, and nobody is told twice.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::checker::Findings;
use crate::ground::Ground;
use crate::report::Report;
use crate::stage::Stage;
use crate::supervisor::Program;
use crate::traffic::Traffic;

const NAME: &str = "T14";
const FAILED: usize = 20;
const OTHERS: usize = 150;
const RATE: f64 = 15.0;
const OPERATORS: usize = 2;
const ROUNDS: usize = 2;
const COMMAND: [&str; 5] = ["jobs", "retry", "--state", "failed", "--yes"];
const LIMIT: Duration = Duration::from_mins(1);
const NEED_A_PERSON: &str = "SELECT count(*) FROM jobs WHERE state = 'failed'";

pub async fn run(ground: &Ground) -> anyhow::Result<Report> {
    // 410: the recordings' links have expired, and somebody then renews them.
    let plan = format!("[[rule]]\nupstream = 'recordings'\nfault = 'gone'\nfirst = {FAILED}\n");
    let mut stage = Stage::prepare(ground, NAME, &plan).await?;
    stage.start().await?;
    let failing = Traffic::plain(FAILED, 20.0).plan("t14-failed", &stage.recordings, ground.seed_of(NAME));
    stage.sender.send(failing).await?;
    stage.until(NEED_A_PERSON, FAILED as i64, LIMIT).await?;
    let others = Traffic::plain(OTHERS, RATE).plan("t14", &stage.recordings, ground.seed_of(NAME));
    let ((), retries) = tokio::try_join!(stage.sender.send(others), retry_all(&stage))?;
    let drained = stage.drained(LIMIT).await;

    let findings = Findings::of(&stage).await?;
    let mut report = Report::default();
    report.exactly("calls", findings.calls, FAILED + OTHERS);
    report.figure(format!("{retries} commands"));
    report.exactly("run once more", run_once_more(&stage).await?, FAILED);
    report.exactly("still need a person", stage.count(NEED_A_PERSON).await? as usize, 0);
    findings.tell(&mut report);
    report.exactly("messages taken twice", findings.repeats, 0);
    report.within("all ended after", drained, LIMIT);
    stage.strike(ground, NAME).await?;
    Ok(report)
}

/// Both operators retry all that has failed at the same time, and then once more.
async fn retry_all(stage: &Stage) -> anyhow::Result<usize> {
    for _ in 0..ROUNDS {
        let both = (0..OPERATORS).map(|_| run_command(stage.program(&COMMAND)));
        futures::future::try_join_all(both).await?;
    }
    Ok(OPERATORS * ROUNDS)
}

async fn run_command(program: Program) -> anyhow::Result<()> {
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).env_clear().envs(program.settings).current_dir(std::env::temp_dir());
    let output = command.stdin(Stdio::null()).output().await?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Jobs that failed, were retried, and were completed at once.
async fn run_once_more(stage: &Stage) -> anyhow::Result<usize> {
    let outcomes: Vec<Vec<String>> = sqlx::query_scalar(
        "SELECT array_agg(outcome ORDER BY attempt) FROM job_attempts a WHERE step = 'download' GROUP BY job_id
         HAVING bool_or(outcome = 'failed')",
    )
    .fetch_all(&stage.db)
    .await?;
    Ok(outcomes.into_iter().filter(|outcomes| outcomes == &["failed", "completed"]).count())
}
