//! T0: a calm day. 1,500 webhooks at 25 per second, of which 10 % are repeats and 5 % an older body after a newer one.
//! Every call is completed, everything is done once, and it is quick.

use std::time::Duration;

use goto_automation::dev::standins::Upstream;

use crate::checker::Findings;
use crate::ground::Ground;
use crate::report::Report;
use crate::stage::Stage;
use crate::traffic::Traffic;

const NAME: &str = "T0";
const RATE: f64 = 25.0;
/// A minute, or a quarter of one.
const WEBHOOKS: (usize, usize) = (1_500, 375);
const DUPLICATES: usize = 10;
const OUT_OF_ORDER: usize = 5;
const ANSWER_P99: Duration = Duration::from_millis(100);
const END_TO_END_P95: Duration = Duration::from_secs(5);
const DRAIN_LIMIT: Duration = Duration::from_mins(1);

pub async fn run(ground: &Ground) -> anyhow::Result<Report> {
    let mut stage = Stage::prepare(ground, NAME, "").await?;
    stage.start().await?;
    let webhooks = ground.either(WEBHOOKS.0, WEBHOOKS.1);
    let traffic = Traffic { webhooks, rate: RATE, duplicates: DUPLICATES, out_of_order: OUT_OF_ORDER };
    stage.sender.send(traffic.plan("t0", &stage.recordings, ground.seed_of(NAME))).await?;
    let drained = stage.drained(DRAIN_LIMIT).await;

    let (sent, findings, effects) = (stage.sender.sent(), Findings::of(&stage).await?, stage.effects()?);
    let mut report = Report::default();
    report.figure(sent.told());
    report.exactly("calls", findings.calls, traffic.calls());
    findings.tell(&mut report);
    // One recording, one piece of it, one question, two messages for each call.
    for upstream in [Upstream::Recordings, Upstream::Speech, Upstream::LanguageModel, Upstream::Slack, Upstream::Smtp] {
        report.exactly(upstream.as_str(), effects.count(upstream), traffic.calls());
    }
    report.exactly("different questions", effects.different(Upstream::LanguageModel), traffic.calls());
    report.exactly("different recordings", effects.different(Upstream::Recordings), traffic.calls());
    report.within("answer p99", sent.percentile(99), ANSWER_P99);
    report.within("end to end p95", findings.percentile(95), END_TO_END_P95);
    report.within("all ended after", drained, DRAIN_LIMIT);
    stage.strike(ground, NAME).await?;
    Ok(report)
}
