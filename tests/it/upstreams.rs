//! What becomes of a call when an upstream refuses, where `faults` does not tell it: addresses that are never asked, the
//! exact time of a wait, one destination beside another.

use goto_automation::queue::{self, JobFilter, JobRow};
use rstest::rstest;

use crate::support::{Answer, Product, ScriptedUpstream};

/// A product whose transcriber, language model or Slack answers as told.
async fn scripted(step: &str) -> (Product, ScriptedUpstream) {
    let mut product = Product::at_rest(&[]).await;
    let standins = &product.standins;
    let (name, behind) = match step {
        "transcribe" => ("TRANSCRIPTION_BASE_URL", &standins.openai_url),
        "analyze" => ("ANALYSIS_BASE_URL", &standins.openai_url),
        _ => ("SLACK_WEBHOOK_URL", &standins.slack_webhook_url),
    };
    let upstream = ScriptedUpstream::before(behind).await;
    product.set(&[(name, upstream.url.as_str())]);
    product.work();
    (product, upstream)
}

async fn job_of(product: &Product, step: &str) -> JobRow {
    let filter = JobFilter { step: Some(step.to_owned()), limit: 1, ..JobFilter::default() };
    queue::list(product.pool(), &filter).await.unwrap().remove(0)
}

#[rstest]
#[case::another_host("https://example.com/call.wav", "refused_host")]
#[case::metadata("http://169.254.169.254/latest/meta-data", "")]
#[case::a_file("file:///etc/passwd", "")]
#[case::no_url("call seventeen", "not_a_url")]
#[tokio::test]
async fn an_address_that_is_not_to_be_trusted_fails_with_a_sentence(#[case] url: &str, #[case] class: &str) {
    let product = Product::start().await;
    let id = product.ring_with(Some(url)).await;
    let call = product.until(id, "failed").await;
    let reason = call.state_reason.unwrap();
    assert!(reason.len() > 30 && reason.ends_with('.'), "a sentence: {reason:?}");
    let attempts = product.attempts(id).await;
    assert_eq!(attempts.len(), 1, "asked once");
    assert!(class.is_empty() || attempts[0].error_class.as_deref() == Some(class), "{attempts:#?}");
    assert_eq!(product.standins.requests("recordings"), 0);
}

/// What counts is the address that is connected to, not the name that was permitted.
#[tokio::test]
async fn a_permitted_name_that_leads_into_the_own_network_is_not_followed() {
    let mut product = Product::at_rest(&[("RECORDING_ALLOW_PRIVATE", "false")]).await;
    let port = product.standins.recordings_url.port().unwrap();
    product.set(&[("RECORDING_ALLOWED_HOSTS", &format!("localhost:{port}"))]);
    product.work();
    let id = product.ring_with(Some(&format!("https://localhost:{port}/recordings/double-charge.wav"))).await;
    product.until(id, "failed").await;
    let attempts = product.attempts(id).await;
    let seen: Vec<_> = attempts.iter().map(|attempt| attempt.error_class.as_deref()).collect();
    assert_eq!(seen, [Some("private_address")], "{attempts:#?}");
    assert_eq!(product.standins.requests("recordings"), 0);
}

#[rstest]
#[case("transcribe")]
#[case("analyze")]
#[tokio::test]
async fn a_rate_limit_is_obeyed_to_the_second_and_uses_no_attempt(#[case] step: &str) {
    let (product, upstream) = scripted(step).await;
    let busy = Answer::openai(429, "requests", "rate_limit_exceeded").header("retry-after", "30");
    upstream.answer_next(std::iter::repeat_n(busy, 20));
    let id = product.ring("double-charge").await;
    let call = product.until(id, "waiting").await;
    let job = job_of(&product, step).await;
    let attempts = product.attempts(id).await;
    let last = attempts.last().unwrap();
    assert_eq!((job.run_at - last.ended_at).num_microseconds(), Some(30_000_000));
    assert_eq!((job.attempts, last.outcome.as_str(), last.request_id.as_deref()), (0, "waiting", Some("req-17")));
    assert_eq!((call.waiting_until, call.state_reason), (Some(job.run_at), job.reason));
}

#[rstest]
#[case("transcribe", "{\"text\": \"Hello\\u0000there\", \"odd\\u0000\": 1}")]
#[case(
    "analyze",
    r#"{"model": "m\u0000", "choices": [{"finish_reason": "stop", "message": {"content":
    "{\"statements\": [{\"text\": \"a\\u0000b\", \"evidence\": [0]}], \"sentiment\": \"mixed\", \"urgency\": 2}"}}]}"#
)]
#[tokio::test]
async fn an_answer_with_characters_that_the_database_refuses_is_paid_for_once(
    #[case] step: &str,
    #[case] answer: &str,
) {
    let (product, upstream) = scripted(step).await;
    upstream.answer_next([Answer::new(200, answer).header("content-type", "application/json")]);
    let id = product.ring("double-charge").await;
    product.until(id, "completed").await;
    let attempts = product.attempts(id).await;
    assert!(attempts.iter().all(|attempt| attempt.outcome == "completed"), "{attempts:#?}");
}

#[tokio::test]
async fn one_destination_that_refuses_holds_back_no_other() {
    let (product, slack) = scripted("notify").await;
    slack.answer_next([Answer::new(404, "channel_not_found")]);
    let id = product.ring("double-charge").await;
    let call = product.until(id, "completed").await;
    assert!(call.state_reason.unwrap().contains("Slack"));
    assert_eq!(product.standins.outbox.mail().len(), 1);
    let states: Vec<_> = product.deliveries(id).await.into_iter().map(|d| (d.channel, d.state)).collect();
    assert_eq!(states, [("slack".to_owned(), "failed".to_owned()), ("email".to_owned(), "sent".to_owned())]);

    let filter = JobFilter { state: Some("failed".to_owned()), limit: 10, ..JobFilter::default() };
    let failed = queue::list(product.pool(), &filter).await.unwrap();
    assert_eq!(failed.len(), 1, "the refused message is a failed job");
    queue::retry(product.pool(), &product.waker, failed[0].id).await.unwrap();
    product.drain().await;
    assert_eq!(product.call(id).await.state_reason, None);
    assert_eq!(product.standins.outbox.slack().len(), 1);
    assert_eq!(product.standins.outbox.mail().len(), 1);
}
