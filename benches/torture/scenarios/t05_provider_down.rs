//! T5: a provider asks all callers to come more slowly, then answers 500 to everybody for 20 seconds, then works. 300 calls
//! wait for it. The rate limit uses no attempt, the calls come back one after the other, and all end well. Once with the
//! transcriber, and once with Slack, whose messages share their workers with those by mail.

use std::time::Duration;

use chrono::TimeDelta;
use goto_automation::dev::standins::Upstream;

use crate::checker::Findings;
use crate::effects::Effects;
use crate::ground::Ground;
use crate::report::Report;
use crate::stage::{Stage, WORKERS};
use crate::traffic::Traffic;

const NAME: &str = "T5";
const CALLS: usize = 300;
const RATE: f64 = 100.0;
/// From the start of the stand-ins: they ask to come more slowly until the first, and answer 500 until the second. The
/// first leaves the processes time to start.
const LIMITED_UNTIL: u64 = 15;
const DOWN_UNTIL: u64 = LIMITED_UNTIL + 20;
/// Some of them are just being asked whether they may go on.
const WAITING_AT_LEAST: i64 = CALLS as i64 - 10;
/// Requests in any one second of this time after the provider works again.
const MOST_PER_SECOND: usize = 10;
const PACED: TimeDelta = TimeDelta::seconds(10);
/// The last probe may have failed just before, and the next one comes after 9 seconds under the profile's factor.
const LIMIT: Duration = Duration::from_secs(90);

const WAITING: &str =
    "SELECT count(*) FROM jobs WHERE waits_for IN (SELECT name FROM providers WHERE paused_at IS NOT NULL)";
const LIMITED: &str = "SELECT count(*) FROM job_attempts WHERE error_class = 'rate_limited'";
const USED_BY_LIMITS: &str =
    "SELECT count(*) FROM job_attempts WHERE error_class = 'rate_limited' AND outcome <> 'waiting'";
const USED: &str = "SELECT count(*) FROM job_attempts WHERE outcome = 'retry'";

pub async fn run(ground: &Ground) -> anyhow::Result<Report> {
    let mut report = Report::default();
    // A 500 of Slack's that surely posted nothing.
    for (upstream, fault) in [(Upstream::Speech, "server_error"), (Upstream::Slack, "rollup_error")] {
        play(ground, upstream, fault, &mut report).await?;
    }
    Ok(report)
}

async fn play(ground: &Ground, upstream: Upstream, fault: &str, report: &mut Report) -> anyhow::Result<()> {
    let mut stage = Stage::prepare(ground, NAME, &plan(upstream, fault)).await?;
    stage.serve()?;
    stage.ready(0).await?;
    let calls = Traffic::plain(CALLS, RATE).plan("t5", &stage.recordings, ground.seed_of(NAME));
    stage.sender.send(calls).await?;
    for number in 0..WORKERS {
        stage.work(number)?;
    }
    stage.until(WAITING, WAITING_AT_LEAST, LIMIT).await?;
    let waiting = stage.count(WAITING).await?;
    let drained = stage.drained(LIMIT).await;

    let (findings, effects) = (Findings::of(&stage).await?, stage.effects()?);
    report.exactly(&format!("{upstream}: calls"), findings.calls, CALLS);
    report.figure(format!("at once waiting {waiting}"));
    findings.tell(report);
    report.some("told to come later", stage.count(LIMITED).await? as usize);
    report.exactly("attempts used by that", stage.count(USED_BY_LIMITS).await? as usize, 0);
    report.figure(format!("by the outage {}", stage.count(USED).await?));
    let most = most_per_second(&effects, upstream);
    let rule = format!("1 to {MOST_PER_SECOND}");
    report.require(format!("requests per second afterwards {most}"), (1..=MOST_PER_SECOND).contains(&most), &rule);
    report.none("processes ended", &stage.processes.ends());
    report.within("all ended after", drained, LIMIT);
    stage.strike(ground, NAME).await
}

fn plan(upstream: Upstream, fault: &str) -> String {
    let rule = |fault, until| {
        format!("[[rule]]\nupstream = '{upstream}'\nfault = '{fault}'\nfor_seconds = {until}\nwait_seconds = 2\n")
    };
    rule("rate_limited", LIMITED_UNTIL) + &rule(fault, DOWN_UNTIL)
}

/// The most requests that came within one second, of those that the provider answered in the first time after it was back.
fn most_per_second(effects: &Effects, upstream: Upstream) -> usize {
    let mut times: Vec<_> = effects.of(upstream).map(|effect| effect.arrived_at).collect();
    times.sort();
    let Some(back) = times.first().copied() else { return 0 };
    times.retain(|time| *time - back < PACED);
    let within = |from| times.iter().filter(|time| **time >= from && **time - from < TimeDelta::seconds(1)).count();
    times.iter().map(|from| within(*from)).max().unwrap_or(0)
}
