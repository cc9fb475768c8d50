//! T6: bad steps among 200 honest calls, in the same worker processes. Three never return, three keep a thread busy and
//! three panic: they fail after their attempts. Then five end their process each time: they are parked after as many
//! starts as `POISON_LIMIT` says, and no honest job with them.

use std::time::Duration;

use sqlx::FromRow;

use crate::bad_steps::{self, ABORT, BURN, HANG, MAX_ATTEMPTS, MAX_RUN, PANIC};
use crate::book::Fault;
use crate::checker::Findings;
use crate::ground::Ground;
use crate::report::Report;
use crate::stage::{Stage, WORKER, WORKERS};
use crate::supervisor::Program;
use crate::traffic::Traffic;

const NAME: &str = "T6";
const CALLS: usize = 200;
const RATE: f64 = 2.5;
const ABORTING: usize = 5;
/// Of each other kind.
const OTHERS: usize = 3;
/// The default of `POISON_LIMIT`.
const POISON_LIMIT: i32 = 5;
const HONEST_P95: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(150);
const OTHERS_FAILED: &str =
    "SELECT count(*) FROM jobs WHERE step IN ('torture_hang', 'torture_burn', 'torture_panic') AND state = 'failed'";

/// A bad job that has ended.
#[derive(Debug, FromRow)]
struct Ended {
    step: String,
    state: String,
    starts: i32,
    poison: bool,
    outcomes: Vec<String>,
}

pub async fn run(ground: &Ground) -> anyhow::Result<Report> {
    let mut stage = Stage::prepare(ground, NAME, "").await?;
    let limit = format!("{}s", MAX_RUN.as_secs());
    stage.set(
        "STEP_MAX_RUN",
        ["download", "transcribe", "analyze", "notify"].map(|step| format!("{step}={limit}")).join(","),
    );
    stage.serve()?;
    for number in 0..WORKERS {
        let path = std::env::current_exe()?;
        let program = Program { path, arguments: vec!["--work".to_owned()], ..stage.program(&[]) };
        stage.processes.start(&format!("{WORKER}-{number}"), program)?;
    }
    stage.ready(WORKERS).await?;

    let plan = Traffic::plain(CALLS, RATE).plan("t6", &stage.recordings, ground.seed_of(NAME));
    let bad = async {
        for step in [HANG, BURN, PANIC] {
            bad_steps::enqueue(&stage.db, step, OTHERS).await?;
        }
        // One after the other: a step that dies with its neighbour's process is lost, and neither a timeout nor a panic.
        stage.until(OTHERS_FAILED, 3 * OTHERS as i64, LIMIT).await?;
        bad_steps::enqueue(&stage.db, ABORT, ABORTING).await
    };
    tokio::try_join!(stage.sender.send(plan), bad)?;
    let drained = stage.drained(LIMIT).await;

    // An aborting step takes the messages of its neighbours with it, as a kill from outside does.
    for (pid, at) in stage.processes.aborted() {
        stage.book.note_at(Fault::Process(pid), at);
    }
    let findings = Findings::of(&stage).await?;
    let mut report = Report::default();
    tell_of_bad_ones(&mut report, &ended(&stage).await?);
    report.some("processes aborted", stage.processes.ends().len());
    report.exactly("calls", findings.calls, CALLS);
    findings.tell(&mut report);
    report.within("honest p95", findings.percentile(95), HONEST_P95);
    report.within("all ended after", drained, LIMIT);
    stage.strike(ground, NAME).await?;
    Ok(report)
}

fn tell_of_bad_ones(report: &mut Report, ended: &[Ended]) {
    let parked = |job: &&Ended| job.step == ABORT && job.state == "failed" && job.poison && job.starts == POISON_LIMIT;
    report.exactly(
        &format!("aborting ones parked after {POISON_LIMIT} starts"),
        ended.iter().filter(parked).count(),
        ABORTING,
    );
    for (step, what, outcome) in
        [(HANG, "never returning", "timeout"), (BURN, "burning", "timeout"), (PANIC, "panicking", "panic")]
    {
        let expected = vec![outcome; MAX_ATTEMPTS as usize];
        let failed = |job: &&Ended| job.step == step && job.state == "failed" && job.outcomes == expected;
        report.exactly(&format!("{what} failed as {outcome}"), ended.iter().filter(failed).count(), OTHERS);
    }
    let told = ended.iter().map(|job| format!("{job:?}"));
    report.details.extend(told.filter(|_| report_is_broken(ended)));
}

/// Whether it is worth a person's while to see all of them.
fn report_is_broken(ended: &[Ended]) -> bool {
    ended.iter().any(|job| job.state != "failed")
}

async fn ended(stage: &Stage) -> anyhow::Result<Vec<Ended>> {
    let question = "SELECT step, state, starts, coalesce(reason LIKE 'poison%', false) AS poison,
                        ARRAY (SELECT a.outcome FROM job_attempts a WHERE a.job_id = j.id ORDER BY a.attempt) AS outcomes
                    FROM jobs j WHERE step LIKE 'torture\\_%' ORDER BY id";
    Ok(sqlx::query_as(question).fetch_all(&stage.db).await?)
}
