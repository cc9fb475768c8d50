//! T4: upstreams do what they are asked and reset the connection, in 5 % of the requests, and a worker is killed ten times
//! between a message and the word that it was sent. No more messages arrive twice than there are outcomes that nobody
//! knows, and each of these is marked. With `NOTIFY_ON_UNKNOWN=hold` none arrives twice.

use std::time::Duration;

use goto_automation::dev::gate::{Gate, GatedUpstream};
use goto_automation::dev::standins::Upstream;
use nix::sys::signal::Signal;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::book::Fault;
use crate::checker::Findings;
use crate::effects::Message;
use crate::ground::Ground;
use crate::report::Report;
use crate::stage::Stage;
use crate::traffic::Traffic;

const NAME: &str = "T4";
const CALLS: usize = 250;
const RATE: f64 = 5.0;
const KILLS: usize = 10;
const BETWEEN_KILLS: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(90);

pub async fn run(ground: &Ground) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for on_unknown in ["resend", "hold"] {
        play(ground, on_unknown, &mut report).await?;
    }
    Ok(report)
}

async fn play(ground: &Ground, on_unknown: &str, report: &mut Report) -> anyhow::Result<()> {
    let mut stage = Stage::prepare(ground, NAME, &plan(ground.seed_of(on_unknown))).await?;
    let slack = GatedUpstream::to(stage.standins.slack_webhook_url.socket_addrs(|| None)?[0]).await?;
    stage.set("SLACK_WEBHOOK_URL", slack.url(&stage.standins.slack_webhook_url));
    stage.set("NOTIFY_ON_UNKNOWN", on_unknown);
    stage.start().await?;
    let calls = Traffic::plain(CALLS, RATE).plan("t4", &stage.recordings, ground.seed_of(NAME));
    let ((), kills) = tokio::try_join!(stage.sender.send(calls), kill_in_the_middle(&stage, &slack))?;
    let drained = stage.drained(LIMIT).await;

    let (findings, effects) = (Findings::of(&stage).await?, stage.effects()?);
    let lost = [Upstream::Slack, Upstream::Smtp].iter().flat_map(|upstream| effects.of(*upstream));
    report.figure(format!("{on_unknown}: {} messages without an answer", lost.filter(|effect| effect.lost).count()));
    report.exactly("killed while sending", kills, KILLS);
    report.exactly("calls", findings.calls, CALLS);
    findings.tell(report);
    match on_unknown {
        "hold" => report.exactly("messages taken twice", findings.repeats, 0),
        _ => report.require("repeats", findings.repeats <= findings.unknown, "at most the unknown ones"),
    }
    report.some("unknown", findings.unknown);
    report.within("all ended after", drained, LIMIT);
    stage.strike(ground, NAME).await
}

fn plan(seed: u64) -> String {
    let rules = [("slack", "reset"), ("smtp", "dot_cut"), ("speech", "reset"), ("language_model", "reset")];
    let rule = |(upstream, fault): (&str, &str)| {
        format!("[[rule]]\nupstream = '{upstream}'\nfault = '{fault}'\nprobability = 0.05\n")
    };
    // Numbers in TOML have a sign.
    format!("seed = {}\n{}", seed >> 1, rules.map(rule).concat())
}

/// Kills workers whose message Slack has taken while its answer is held.
async fn kill_in_the_middle(stage: &Stage, slack: &GatedUpstream) -> anyhow::Result<usize> {
    let mut kills = 0;
    for _ in 0..KILLS {
        sleep(BETWEEN_KILLS).await;
        slack.set(Gate::HoldAnswers);
        let pid = timeout(LIMIT, in_the_middle(stage)).await??;
        let place = stage.processes.with_pid(pid);
        if place.and_then(|place| place.signal(Signal::SIGKILL)) == Some(pid) {
            stage.book.note(Fault::Process(pid));
            kills += 1;
        }
        slack.set(Gate::Open);
    }
    Ok(kills)
}

/// Waits for a worker whose message has been taken, and that waits for the answer.
async fn in_the_middle(stage: &Stage) -> anyhow::Result<i32> {
    loop {
        let sending: Vec<(Uuid, String)> = sqlx::query_as(
            "SELECT d.call_id, j.worker FROM deliveries d JOIN jobs j ON j.target = d.id
             WHERE d.channel = 'slack' AND d.state = 'sending' AND j.state = 'running'",
        )
        .fetch_all(&stage.db)
        .await?;
        let effects = stage.effects()?;
        let taken = effects.messages();
        let taken = sending.iter().filter(|(call, _)| taken.contains_key(&Message::Slack(*call)));
        // A worker's name is `host:pid:random`; one that was killed before is in nobody's place any more.
        let mut pids = taken.filter_map(|(_, worker)| worker.rsplit(':').nth(1)?.parse().ok());
        if let Some(pid) = pids.find(|pid| stage.processes.with_pid(*pid).is_some()) {
            return Ok(pid);
        }
        sleep(Duration::from_millis(20)).await;
    }
}
