//! T9: a step of 25 seconds under a lease of 10, and in its middle no way to the database for 6 seconds. It runs once and
//! is committed once.

use std::time::Duration;

use goto_automation::dev::gate::{Gate, GatedUpstream};
use goto_automation::dev::standins::Upstream;
use tokio::time::sleep;

use crate::checker::Findings;
use crate::ground::Ground;
use crate::report::Report;
use crate::stage::{self, Stage};
use crate::traffic::Traffic;

const NAME: &str = "T9";
const CALLS: usize = 8;
const UNTIL_CUT: Duration = Duration::from_secs(10);
const CUT: Duration = Duration::from_secs(6);
const AFTER: Duration = Duration::from_secs(9);
const LIMIT: Duration = Duration::from_mins(1);
const ANALYZING: &str = "SELECT count(*) FROM jobs WHERE state = 'running' AND step = 'analyze'";
const ATTEMPTS: &str = "SELECT count(*) FROM job_attempts WHERE step = 'analyze'";
const COMMITTED: &str = "SELECT count(*) FROM job_attempts WHERE step = 'analyze' AND outcome = 'completed'";

pub async fn run(ground: &Ground) -> anyhow::Result<Report> {
    let mut stage = Stage::prepare(ground, NAME, "").await?;
    let model = GatedUpstream::to(stage.standins.openai_url.socket_addrs(|| None)?[0]).await?;
    stage.set("ANALYSIS_BASE_URL", model.url(&stage.standins.openai_url));
    stage.start().await?;
    model.set(Gate::HoldAnswers);
    let plan = Traffic::plain(CALLS, 20.0).plan("t9", &stage.recordings, ground.seed_of(NAME));
    stage.sender.send(plan).await?;
    stage.until(ANALYZING, CALLS as i64, LIMIT).await?;
    sleep(UNTIL_CUT).await;
    let cut = async {
        stage.network.set(Gate::Shut);
        stage.network.cut_connections();
        sleep(CUT).await;
        stage.network.set(Gate::Open);
        Ok(())
    };
    stage::outage(&stage.book, cut).await?;
    sleep(AFTER).await;
    model.set(Gate::Open);
    let drained = stage.drained(LIMIT).await;

    let (findings, effects) = (Findings::of(&stage).await?, stage.effects()?);
    let mut report = Report::default();
    report.exactly("calls", findings.calls, CALLS);
    findings.tell(&mut report);
    report.exactly("runs of the long step", stage.count(ATTEMPTS).await? as usize, CALLS);
    report.exactly("committed", stage.count(COMMITTED).await? as usize, CALLS);
    report.exactly("questions asked", effects.count(Upstream::LanguageModel), CALLS);
    report.none("processes ended", &stage.processes.ends());
    report.within("all ended after", drained, LIMIT);
    stage.strike(ground, NAME).await?;
    Ok(report)
}
