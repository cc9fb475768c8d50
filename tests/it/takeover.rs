//! Workers that are killed, frozen or stopped in the middle of a step, and what another one makes of it.

use std::net::SocketAddr;

use goto_automation::model::CallId;
use nix::sys::signal::Signal;
use rstest::rstest;
use url::Url;

use crate::support::{Gate, GatedUpstream, Product};

/// A product whose upstream of one step stands behind a gate.
async fn gated(step: &str) -> (Product, GatedUpstream) {
    let mut product = Product::at_rest(&[]).await;
    let gate = GatedUpstream::to(address(&product.standins.openai_url)).await.unwrap();
    let url = |url: &Url| gate.url(url).to_string();
    let (name, value) = match step {
        "download" => ("RECORDING_ALLOWED_HOSTS", gate.address.to_string()),
        "transcribe" => ("TRANSCRIPTION_BASE_URL", url(&product.standins.openai_url)),
        "analyze" => ("ANALYSIS_BASE_URL", url(&product.standins.openai_url)),
        _ => ("SLACK_WEBHOOK_URL", url(&product.standins.slack_webhook_url)),
    };
    product.set(&[(name, &value)]);
    (product, gate)
}

fn address(url: &Url) -> SocketAddr {
    url.socket_addrs(|| None).unwrap()[0]
}

/// Rings with a recording that is reached through the gate where the step is the download.
async fn ring(product: &Product, gate: &GatedUpstream, step: &str) -> CallId {
    let url = product.standins.recordings_url.join("double-charge.wav").unwrap();
    let url = if step == "download" { gate.url(&url) } else { url };
    product.ring_with(Some(url.as_str())).await
}

async fn outcomes(product: &Product, id: CallId, step: &str) -> Vec<String> {
    let attempts = product.attempts(id).await;
    // The planning of the messages is a job of its own; here the one of Slack's delivery counts.
    let ours = attempts.iter().filter(|attempt| attempt.step == step);
    let last =
        ours.clone().map(|attempt| attempt.job_id).max_by_key(|job| ours.clone().filter(|a| a.job_id == *job).count());
    ours.filter(|attempt| Some(attempt.job_id) == last).map(|attempt| attempt.outcome.clone()).collect()
}

#[rstest]
#[case("download")]
#[case("transcribe")]
#[case("analyze")]
#[case("notify")]
#[tokio::test]
async fn a_step_whose_worker_is_killed_is_taken_over(#[case] step: &str) {
    let (product, gate) = gated(step).await;
    gate.set(Gate::HoldRequests);
    let first = product.worker();
    let id = ring(&product, &gate, step).await;
    gate.until_knocked(0).await;
    if step == "notify" {
        until_mailed(&product).await;
    }
    first.signal(Signal::SIGKILL);
    gate.drop_held().await;
    let _second = product.worker();
    product.until(id, "completed").await;

    assert_eq!(outcomes(&product, id, step).await, ["lost", "completed"]);
    assert_eq!((product.standins.outbox.slack().len(), product.standins.outbox.mail().len()), (1, 1));
    let deliveries = product.deliveries(id).await;
    assert!(deliveries.iter().all(|delivery| delivery.state == "sent"), "{deliveries:#?}");
    // Nobody knew whether Slack had got the message: it says so, and the ledger too.
    let repeated: Vec<_> = deliveries.iter().map(|delivery| (delivery.channel.as_str(), delivery.repeated)).collect();
    assert_eq!(repeated, [("slack", step == "notify"), ("email", false)]);
    let message = product.standins.outbox.slack()[0].body.to_string().to_lowercase();
    assert_eq!(message.contains("possible repeat"), step == "notify", "{message}");
}

/// The mail is out and known to be: only Slack's message is in doubt.
async fn until_mailed(product: &Product) {
    while product.count("SELECT count(*) FROM deliveries WHERE channel = 'email' AND state = 'sent'").await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_sent_once_more_and_says_so() {
    let (product, gate) = gated("notify").await;
    gate.set(Gate::HoldAnswers);
    let first = product.worker();
    let id = product.ring("double-charge").await;
    while product.standins.outbox.slack().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    first.signal(Signal::SIGKILL);
    let sending = product.deliveries(id).await;
    assert!(sending.iter().any(|delivery| delivery.channel == "slack" && delivery.state == "sending"), "{sending:#?}");
    gate.drop_held().await;
    let _second = product.worker();
    product.until(id, "completed").await;
    let said: Vec<bool> = product
        .standins
        .outbox
        .slack()
        .iter()
        .map(|message| message.body.to_string().contains("Possible repeat"))
        .collect();
    assert_eq!(said, [false, true]);
}

#[tokio::test]
async fn an_unknown_message_is_held_for_a_person_when_so_set() {
    let (mut product, gate) = gated("notify").await;
    product.set(&[("NOTIFY_ON_UNKNOWN", "hold")]);
    gate.set(Gate::HoldAnswers);
    let first = product.worker();
    let id = product.ring("double-charge").await;
    while product.standins.outbox.slack().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    first.signal(Signal::SIGKILL);
    gate.drop_held().await;
    let _second = product.worker();
    product.until(id, "completed").await;
    assert_eq!(product.standins.outbox.slack().len(), 1);
    let deliveries = product.deliveries(id).await;
    let slack = deliveries.iter().find(|delivery| delivery.channel == "slack").unwrap();
    assert_eq!((slack.state.as_str(), slack.repeated), ("unknown", false));
}

#[tokio::test]
async fn a_frozen_worker_that_wakes_up_late_changes_nothing() {
    let (product, gate) = gated("analyze").await;
    gate.set(Gate::HoldAnswers);
    let frozen = product.worker();
    let id = product.ring("double-charge").await;
    gate.until_knocked(0).await;
    frozen.signal(Signal::SIGSTOP);
    let other = product.worker();
    let knocks = gate.knocks();
    gate.until_knocked(knocks).await;
    gate.set(Gate::Open);
    product.until(id, "completed").await;
    frozen.signal(Signal::SIGCONT);
    while product.count("SELECT count(*) FROM job_attempts WHERE late_outcome IS NOT NULL").await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(outcomes(&product, id, "analyze").await, ["lost", "completed"]);
    assert_eq!(product.count("SELECT count(*) FROM call_summaries").await, 1);
    assert_eq!((product.standins.outbox.slack().len(), product.standins.outbox.mail().len()), (1, 1));
    drop(other);
}

#[tokio::test]
async fn a_stopped_worker_gives_its_call_back_without_an_attempt_used() {
    let (product, gate) = gated("transcribe").await;
    gate.set(Gate::HoldRequests);
    let mut first = product.worker();
    let id = product.ring("double-charge").await;
    gate.until_knocked(0).await;
    first.signal(Signal::SIGTERM);
    assert!(first.ended().await.success());
    let used =
        product.count("SELECT attempts::bigint FROM jobs WHERE step = 'transcribe' AND state = 'available'").await;
    assert_eq!(used, 0);
    gate.set(Gate::Open);
    let _second = product.worker();
    product.until(id, "completed").await;
    assert_eq!(outcomes(&product, id, "transcribe").await, ["given_back", "completed"]);
}
