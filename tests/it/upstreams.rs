//! What becomes of a call when an upstream refuses, is late, or answers nonsense.

use std::path::Path;

use goto_automation::queue::{self, JobFilter, JobRow};
use rstest::rstest;

use crate::support::{Answer, Product, ScriptedUpstream};

/// A product whose transcriber, language model, recording host or Slack answers as told.
async fn scripted(step: &str) -> (Product, ScriptedUpstream) {
    let mut product = Product::at_rest(&[]).await;
    let standins = &product.standins;
    let (name, behind) = match step {
        "download" => ("RECORDING_ALLOWED_HOSTS", &standins.recordings_url),
        "transcribe" => ("TRANSCRIPTION_BASE_URL", &standins.openai_url),
        "analyze" => ("ANALYSIS_BASE_URL", &standins.openai_url),
        _ => ("SLACK_WEBHOOK_URL", &standins.slack_webhook_url),
    };
    let upstream = ScriptedUpstream::before(behind).await;
    let value = if step == "download" { upstream.url.authority().to_owned() } else { upstream.url.to_string() };
    product.set(&[(name, &value)]);
    product.work();
    (product, upstream)
}

async fn job_of(product: &Product, step: &str) -> JobRow {
    let filter = JobFilter { step: Some(step.to_owned()), limit: 1, ..JobFilter::default() };
    queue::list(product.pool(), &filter).await.unwrap().remove(0)
}

#[rstest]
#[case(404)]
#[case(202)]
#[tokio::test]
async fn a_recording_that_is_not_there_yet_is_waited_for(#[case] status: u16) {
    let (product, host) = scripted("download").await;
    host.answer_next([Answer::new(status, ""), Answer::new(status, "")]);
    let url = host.url.join("double-charge.wav").unwrap();
    let id = product.ring_with(Some(url.as_str())).await;
    product.until(id, "completed").await;
    let download = job_of(&product, "download").await;
    assert_eq!((download.starts, download.attempts), (3, 1), "waiting uses no attempt");
    let outcomes: Vec<_> = product.attempts(id).await.iter().take(3).map(|a| a.outcome.clone()).collect();
    assert_eq!(outcomes, ["waiting", "waiting", "completed"]);
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

#[rstest]
#[case::a_page(Answer::new(200, "<html><body>Sign in</body></html>".repeat(50)).header("content-type", "audio/mpeg"), "not_audio")]
#[case::nothing(Answer::new(200, ""), "not_audio")]
#[case::an_expired_link(Answer::new(410, ""), "link_refused")]
#[tokio::test]
async fn what_is_no_recording_is_refused_and_nothing_of_it_is_kept(#[case] answer: Answer, #[case] class: &str) {
    let (product, host) = scripted("download").await;
    host.answer_next([answer]);
    let url = host.url.join("double-charge.wav").unwrap();
    let id = product.ring_with(Some(url.as_str())).await;
    product.until(id, "failed").await;
    assert_eq!(product.attempts(id).await[0].error_class.as_deref(), Some(class));
    assert_eq!(product.count("SELECT count(*) FROM recordings").await, 0);
    assert_eq!(files_below(&product.config.recordings.store.to_file_path().unwrap()), 0);
}

fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
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
#[case("transcribe", Answer::openai(401, "invalid_request_error", "invalid_api_key"), "key_refused")]
#[case("transcribe", Answer::openai(429, "insufficient_quota", "insufficient_quota"), "quota")]
#[case("analyze", Answer::openai(401, "invalid_request_error", "invalid_api_key"), "key_refused")]
#[case("analyze", Answer::openai(429, "insufficient_quota", "insufficient_quota"), "quota")]
#[tokio::test]
async fn a_refused_key_or_an_empty_purse_waits_for_a_person(
    #[case] step: &str,
    #[case] answer: Answer,
    #[case] class: &str,
) {
    let (product, upstream) = scripted(step).await;
    upstream.answer_next(std::iter::repeat_n(answer, 2));
    let id = product.ring("double-charge").await;
    product.until(id, "completed").await;
    let job = job_of(&product, step).await;
    assert!(job.starts > 1 && job.attempts == 1, "{job:#?}");
    let attempts = product.attempts(id).await;
    let waited = attempts.iter().find(|attempt| attempt.step == step).unwrap();
    assert_eq!((waited.outcome.as_str(), waited.error_class.as_deref()), ("waiting", Some(class)));
}

#[rstest]
#[case("transcribe", Answer::openai(500, "server_error", "server_error"))]
#[case("transcribe", Answer::new(200, "<html>gateway</html>"))]
#[case("analyze", Answer::openai(503, "server_error", "server_is_overloaded"))]
#[case("analyze", Answer::new(200, "{\"choices\": "))]
#[tokio::test]
async fn a_passing_fault_is_tried_again(#[case] step: &str, #[case] answer: Answer) {
    let (product, upstream) = scripted(step).await;
    upstream.answer_next([answer]);
    let id = product.ring("double-charge").await;
    product.until(id, "completed").await;
    let outcomes: Vec<_> = product
        .attempts(id)
        .await
        .into_iter()
        .filter(|attempt| attempt.step == step)
        .map(|attempt| attempt.outcome)
        .collect();
    assert_eq!(outcomes, ["retry", "completed"]);
    assert_eq!(product.standins.outbox.slack().len(), 1);
}

#[tokio::test]
async fn an_answer_that_came_before_a_failure_is_not_paid_for_twice() {
    let (product, upstream) = scripted("transcribe").await;
    upstream.answer_next([Answer::openai(500, "server_error", "server_error")]);
    let id = product.ring("double-charge").await;
    product.until(id, "completed").await;
    let pieces = product.count("SELECT count(*) FROM step_answers WHERE step = 'transcribe'").await;
    // The refused one never reached the stand-in.
    assert_eq!(product.standins.requests("speech"), pieces.unsigned_abs());
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

#[tokio::test]
async fn slack_that_is_busy_is_asked_again_and_one_that_hangs_up_is_marked() {
    let (product, slack) = scripted("notify").await;
    slack.answer_next([Answer::new(503, ""), Answer::new(502, "")]);
    let id = product.ring("double-charge").await;
    product.until(id, "completed").await;
    let deliveries = product.deliveries(id).await;
    let slack = deliveries.iter().find(|delivery| delivery.channel == "slack").unwrap();
    assert_eq!((slack.state.as_str(), slack.repeated), ("sent", true), "502: nobody knows, so the next one says so");
    let said = product.standins.outbox.slack()[0].body.to_string().to_lowercase();
    assert!(said.contains("possible repeat"), "{said}");
}
