//! T3: all workers but one are frozen (SIGSTOP) for 25 seconds in the middle of a step, with a lease of 10 seconds, and
//! wake up again: once while they listen to a recording, once while they wait for the language model. What they then want
//! to write is refused, and nobody is told twice.

use std::time::Duration;

use goto_automation::dev::gate::{Gate, GatedUpstream};
use goto_automation::model::clock;
use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::book::Fault;
use crate::checker::Findings;
use crate::ground::Ground;
use crate::report::Report;
use crate::stage::{Stage, WORKER, WORKERS};
use crate::traffic::Traffic;

const NAME: &str = "T3";
/// In each round; more than all workers have slots, so that each of them is in the middle of the step.
const CALLS: usize = 24;
const FROZEN: Duration = Duration::from_secs(25);
const LIMIT: Duration = Duration::from_mins(1);
/// The question whose answer is how many workers are in the middle of the step, and the one about late writes.
const TRANSCRIBING: &str = "SELECT count(DISTINCT worker) FROM jobs WHERE state = 'running' AND step = 'transcribe'";
const ANALYZING: &str = "SELECT count(DISTINCT worker) FROM jobs WHERE state = 'running' AND step = 'analyze'";
const REFUSED: &str = "SELECT count(*) FROM job_attempts WHERE late_outcome IS NOT NULL";

pub async fn run(ground: &Ground) -> anyhow::Result<Report> {
    let mut stage = Stage::prepare(ground, NAME, "").await?;
    let upstream = stage.standins.openai_url.socket_addrs(|| None)?[0];
    let (speech, model) = (GatedUpstream::to(upstream).await?, GatedUpstream::to(upstream).await?);
    stage.set("TRANSCRIPTION_BASE_URL", speech.url(&stage.standins.openai_url));
    stage.set("ANALYSIS_BASE_URL", model.url(&stage.standins.openai_url));
    stage.set("WORKER_CONCURRENCY", "transcribe=4,analyze=4");
    stage.start().await?;

    let mut report = Report::default();
    let rounds = [("transcribe", &speech, TRANSCRIBING), ("analyze", &model, ANALYZING)];
    for (step, gate, busy) in rounds.into_iter().take(ground.either(2, 1)) {
        let refused_before = stage.count(REFUSED).await?;
        freeze(ground, &stage, step, gate, busy).await?;
        stage.until(REFUSED, refused_before + 1, LIMIT).await?;
        let drained = stage.drained(LIMIT).await;
        report.some(&format!("refused in {step}"), (stage.count(REFUSED).await? - refused_before) as usize);
        report.within("all ended after", drained, LIMIT);
    }
    let findings = Findings::of(&stage).await?;
    report.exactly("calls", findings.calls, CALLS * ground.either(2, 1));
    findings.tell(&mut report);
    report.exactly("messages taken twice", findings.repeats, 0);
    report.figure(format!("paid again {}", findings.paid_again));
    stage.strike(ground, NAME).await?;
    Ok(report)
}

/// One round.
async fn freeze(
    ground: &Ground,
    stage: &Stage,
    step: &str,
    gate: &GatedUpstream,
    busy: &'static str,
) -> anyhow::Result<()> {
    // The step has done its work at the upstream, and its answer is on the way.
    gate.set(Gate::HoldAnswers);
    let plan = Traffic::plain(CALLS, 20.0).plan(&format!("t3-{step}"), &stage.recordings, ground.seed_of(step));
    stage.sender.send(plan).await?;
    stage.until(busy, WORKERS as i64, LIMIT).await?;
    let from = clock::now();
    let frozen: Vec<_> = stage.processes.of(WORKER).into_iter().skip(1).collect();
    let pids: Vec<i32> = frozen.iter().filter_map(|worker| worker.signal(Signal::SIGSTOP)).collect();
    anyhow::ensure!(pids.len() == WORKERS - 1, "a worker was not there to be frozen");
    gate.set(Gate::Open);
    sleep(FROZEN).await;
    for worker in frozen {
        worker.signal(Signal::SIGCONT);
    }
    for pid in pids {
        stage.book.note_since(Fault::Process(pid), from);
    }
    Ok(())
}
