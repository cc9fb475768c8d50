//! T11: the clock of one worker is a day ahead, that of another a day behind. Nothing is tried again before its time and no
//! lease is lost: the database's clock decides.

use std::path::Path;
use std::time::Duration;

use goto_automation::dev::gate::{Gate, GatedUpstream};
use tokio::time::sleep;

use crate::checker::Findings;
use crate::ground::Ground;
use crate::report::Report;
use crate::stage::{LEASE, Stage, WORKER};
use crate::traffic::Traffic;

const NAME: &str = "T11";
/// Where Debian and Ubuntu keep libfaketime for programs with threads.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];
/// Of the workers, in order.
const CLOCKS: [&str; 4] = ["+0", "+1d", "-1d", "+0"];
const CALLS: usize = 150;
const RATE: f64 = 5.0;
/// What a stand-in asks for.
const RETRY_AFTER_SECONDS: i64 = 3;
/// Longer than a lease, so that it has to be renewed.
const LONG: Duration = LEASE.saturating_mul(2);
const LIMIT: Duration = Duration::from_mins(2);
const LOST: &str = "SELECT count(*) FROM job_attempts WHERE outcome = 'lost' OR late_outcome IS NOT NULL";
const FAKED: &str = "SELECT count(DISTINCT worker) FROM job_attempts";

pub async fn run(ground: &Ground) -> anyhow::Result<Report> {
    let Some(library) = LIBRARIES.iter().find(|library| Path::new(library).exists()) else {
        return Ok(Report::skipped("needs libfaketime (apt-get install faketime)"));
    };
    let mut stage = Stage::prepare(ground, NAME, &plan(ground.seed_of(NAME))).await?;
    let model = GatedUpstream::to(stage.standins.openai_url.socket_addrs(|| None)?[0]).await?;
    stage.set("ANALYSIS_BASE_URL", model.url(&stage.standins.openai_url));
    stage.serve()?;
    for (number, clock) in CLOCKS.into_iter().enumerate() {
        let mut program = stage.program(&["worker"]);
        // The other clock, which only counts, is left alone: no machine has that one wrong.
        for (name, value) in [("LD_PRELOAD", *library), ("FAKETIME", clock), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")] {
            program.settings.push((name.to_owned(), value.to_owned()));
        }
        stage.processes.start(&format!("{WORKER}-{number}"), program)?;
    }
    stage.ready(CLOCKS.len()).await?;
    let calls = Traffic::plain(CALLS, RATE).plan("t11", &stage.recordings, ground.seed_of(NAME));
    let long_steps = async {
        sleep(Duration::from_secs(5)).await;
        model.set(Gate::HoldAnswers);
        sleep(LONG).await;
        model.set(Gate::Open);
        Ok(())
    };
    tokio::try_join!(stage.sender.send(calls), long_steps)?;
    let drained = stage.drained(LIMIT).await;

    let findings = Findings::of(&stage).await?;
    let mut report = Report::default();
    report.exactly("calls", findings.calls, CALLS);
    findings.tell(&mut report);
    let (repeats, early) = retries(&stage).await?;
    report.some("tried again", repeats);
    report.none("too early", &early);
    report.exactly("leases lost", stage.count(LOST).await? as usize, 0);
    report.exactly("workers", stage.count(FAKED).await? as usize, CLOCKS.len());
    report.within("all ended after", drained, LIMIT);
    stage.strike(ground, NAME).await?;
    Ok(report)
}

fn plan(seed: u64) -> String {
    format!(
        "seed = {}
         [[rule]]\nupstream = 'speech'\nfault = 'rate_limited'\nprobability = 0.2\nwait_seconds = {RETRY_AFTER_SECONDS}
         [[rule]]\nupstream = 'speech'\nfault = 'server_error'\nprobability = 0.2\n",
        seed >> 1
    )
}

/// How many attempts followed on another one, and those that came before their time: the upstream's to the second, our
/// own backoff (the first of the step under the profile's factor, 20 % less at most).
async fn retries(stage: &Stage) -> anyhow::Result<(usize, Vec<String>)> {
    let gaps: Vec<(i64, String, f64)> = sqlx::query_as(
        "SELECT b.job_id, a.outcome, extract(epoch FROM b.started_at - a.ended_at)::float8
         FROM job_attempts a JOIN job_attempts b ON b.job_id = a.job_id AND b.attempt = a.attempt + 1
         WHERE a.step = 'transcribe' AND a.outcome IN ('waiting', 'retry')",
    )
    .fetch_all(&stage.db)
    .await?;
    let least = |outcome: &str| if outcome == "waiting" { RETRY_AFTER_SECONDS as f64 } else { 0.03 * 0.8 * 15.0 };
    let early = gaps.iter().filter(|(_, outcome, gap)| *gap < least(outcome));
    let told = early.map(|(job, outcome, gap)| format!("job {job} came {gap} s after {outcome}")).collect();
    Ok((gaps.len(), told))
}
