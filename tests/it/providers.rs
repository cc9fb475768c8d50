//! Providers that refuse everybody or fail for everybody: who asks them meanwhile, what waits, and how it goes on.

use std::time::Duration;

use chrono::TimeDelta;
use goto_automation::dev::standins::{Effect, Upstream};
use goto_automation::model::CallId;
use goto_automation::queue::{self, JobFilter};
use nix::sys::signal::Signal;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::support::{Answer, Gate, GatedUpstream, Product, ScriptedUpstream};

/// Calls without a recording have a message for Slack and one for the mail server, and no more to do.
const MESSAGES: [(&str, &str); 2] = [("NOTIFY_NO_RECORDING", "true"), ("WORKER_CONCURRENCY", "notify=2")];
/// Long enough for what comes by itself.
const PATIENCE: Duration = Duration::from_secs(30);

async fn ring(product: &Product, calls: usize) -> Vec<CallId> {
    let mut ids = Vec::new();
    for _ in 0..calls {
        ids.push(product.ring_with(None).await);
    }
    ids
}

/// Waits until the database says yes.
async fn until(product: &Product, question: &'static str) {
    let reached = async {
        while product.count(question).await == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(PATIENCE, reached).await.is_ok(), "not yet: {question}");
}

fn effects(product: &Product, upstream: Upstream) -> Vec<Effect> {
    product.standins.effects().into_iter().filter(|effect| effect.upstream == upstream).collect()
}

/// The first one found out that the provider works; each of the others had to wait for its turn after that, at most 10
/// in a second for 10 seconds.
fn assert_paced(effects: &[Effect]) {
    let mut times: Vec<_> = effects.iter().map(|effect| effect.at).collect();
    times.sort();
    for (turn, at) in times.iter().enumerate().take(100) {
        let after = *at - times[0];
        assert!(after >= TimeDelta::milliseconds(turn as i64 * 100), "request {turn} came after {after}: {times:#?}");
    }
}

async fn assert_no_attempt_used(product: &Product) {
    let used = "SELECT count(*) FROM job_attempts WHERE outcome NOT IN ('completed', 'waiting', 'given_back')";
    assert_eq!(product.count(used).await, 0);
}

/// Slack by bot, with this token.
fn bot<'a>(product: &Product, url: &'a mut String, token: &'a str) -> [(&'static str, &'a str); 4] {
    *url = product.standins.slack_api_url.to_string();
    [
        ("SLACK_WEBHOOK_URL", ""),
        ("SLACK_BOT_TOKEN", token),
        ("SLACK_CHANNEL", "C0123456789"),
        ("SLACK_API_BASE_URL", url),
    ]
}

#[tokio::test]
async fn a_refused_key_is_asked_about_by_one_call_at_a_time_until_a_new_one_is_set() {
    let (calls, mut url) = (20, String::new());
    let mut product = Product::at_rest(&[&MESSAGES[..], &[("RETRY_SCALE", "0.001")]].concat()).await;
    product.set(&bot(&product, &mut url, "xoxb-wrong"));
    let ids = ring(&product, calls).await;
    product.work();
    until(&product, "SELECT count(*) FROM providers WHERE name = 'slack' AND probes >= 3").await;
    let asked = product.standins.requests("slack");
    let probes = product.count("SELECT probes::bigint FROM providers WHERE name = 'slack'").await as u64;
    assert!(
        asked <= 2 + probes + 1,
        "{asked} requests: two messages at once, then {probes} probes, one may be under way"
    );

    assert_eq!(product.health().await["components"]["email"], serde_json::json!({"status": "ok"}));
    let health = product.health().await;
    assert_eq!((&health["status"], &health["components"]["slack"]["status"]), (&"degraded".into(), &"degraded".into()));
    assert!(health["components"]["slack"]["detail"].as_str().unwrap().contains("slack_credentials"), "{health}");
    for id in &ids {
        let call = product.until(*id, "waiting").await;
        assert!(call.state_reason.unwrap().contains("SLACK_BOT_TOKEN"));
    }

    let token = product.standins.slack_bot_token();
    product.set(&bot(&product, &mut url, token.expose_secret()));
    product.work();
    product.drain().await;
    let posted = effects(&product, Upstream::Slack);
    assert_eq!(posted.len(), calls);
    assert_paced(&posted);
    assert_no_attempt_used(&product).await;
    assert_eq!(product.health().await["components"]["slack"], serde_json::json!({"status": "ok"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_a_pause_and_the_pace_after_it() {
    // Long enough for five processes on a busy machine.
    let own = [("RETRY_SCALE", "1"), ("TRANSCRIPTION_API_KEY", "wrong"), ("LEASE_DURATION", "30s")];
    let mut product = Product::at_rest(&own).await;
    let [one, other] = [product.worker(), product.worker()];
    let mut ids = vec![product.ring("appointment").await, product.ring("appointment").await];
    for id in &ids {
        product.until(*id, "waiting").await;
    }
    let asked = product.standins.requests("speech");
    let late = product.worker();
    ids.extend([product.ring("appointment").await, product.ring("appointment").await]);
    for id in &ids {
        let call = product.until(*id, "waiting").await;
        assert!(call.state_reason.unwrap().contains("TRANSCRIPTION_API_KEY"));
    }
    let more = product.standins.requests("speech") - asked;
    assert!(more <= 1, "a new process may have a new key, so it asks, once: {more}");

    // Killed, one that probes would keep its job until its lease runs out.
    for mut worker in [one, other, late] {
        worker.signal(Signal::SIGTERM);
        worker.ended().await;
    }
    let key = product.standins.key.expose_secret().to_owned();
    product.set(&[("TRANSCRIPTION_API_KEY", &key)]);
    let _again = [product.worker(), product.worker()];
    product.drain().await;
    for id in ids {
        product.until(id, "completed").await;
    }
    let heard = effects(&product, Upstream::Speech);
    assert!(heard.len() > 12, "several requests per call: {}", heard.len());
    assert_paced(&heard);
}

#[tokio::test]
async fn a_dead_prober_is_followed_by_another() {
    let refused = "[[rule]]\nupstream = 'speech'\nfault = 'insufficient_quota'\nfirst = 1\n";
    let mut product = Product::at_rest_under(refused, &[("RETRY_SCALE", "0.03")]).await;
    let address = product.standins.openai_url.socket_addrs(|| None).unwrap()[0];
    let gate = GatedUpstream::to(address).await.unwrap();
    product.set(&[("TRANSCRIPTION_BASE_URL", gate.url(&product.standins.openai_url).as_str())]);
    let first = product.worker();
    let id = product.ring("appointment").await;
    until(&product, "SELECT count(*) FROM providers WHERE paused_at IS NOT NULL").await;
    gate.set(Gate::HoldRequests);
    until(&product, "SELECT count(*) FROM providers WHERE prober IS NOT NULL").await;
    first.signal(Signal::SIGKILL);
    gate.drop_held().await;
    let _second = product.worker();
    product.until(id, "completed").await;
    assert_eq!(product.count("SELECT count(*) FROM providers WHERE paused_at IS NOT NULL").await, 0);
}

#[tokio::test]
async fn one_call_that_a_provider_cannot_bear_pauses_nobody() {
    let bad = "[[rule]]\nupstream = 'recordings'\nfault = 'server_error'\npath = '?bad'\n";
    let product = Product::start_under(bad, &[("RETRY_SCALE", "0.0001")]).await;
    let url = product.standins.recordings_url.join("appointment.wav?bad").unwrap();
    let id = product.ring_with(Some(url.as_str())).await;
    product.until(id, "failed").await;
    let outcomes: Vec<_> = product.attempts(id).await.into_iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [["retry"; 7].as_slice(), &["failed"]].concat());
    assert_eq!(product.count("SELECT count(*) FROM providers WHERE paused_at IS NOT NULL").await, 0);
    let good = product.ring("appointment").await;
    product.until(good, "completed").await;
    assert_eq!(product.count("SELECT cardinality(failed_calls)::bigint FROM providers").await, 0);
}

#[tokio::test]
async fn a_provider_that_fails_now_and_then_is_not_paused() {
    let (calls, seldom) = (150, "seed = 7\n[[rule]]\nupstream = 'slack'\nfault = 'unavailable'\nprobability = 0.3\n");
    let mut product = Product::at_rest_under(seldom, &[&MESSAGES[..], &[("RETRY_SCALE", "0.0001")]].concat()).await;
    ring(&product, calls).await;
    product.work();
    product.drain().await;
    assert_eq!(effects(&product, Upstream::Slack).len(), calls);
    assert!(product.standins.requests("slack") > calls as u64 * 5 / 4, "some did fail");
    let paused = "SELECT count(*) FROM providers WHERE paused_at IS NOT NULL OR recovered_at IS NOT NULL";
    assert_eq!(product.count(paused).await, 0);
}

#[tokio::test]
async fn an_outage_uses_up_nobodys_attempts() {
    let (calls, refused) = (40, 20);
    let outage = format!("[[rule]]\nupstream = 'slack'\nfault = 'unavailable'\nfirst = {refused}\n");
    let mut product = Product::at_rest_under(&outage, &MESSAGES).await;
    ring(&product, calls).await;
    product.work();
    product.drain().await;
    let posted = effects(&product, Upstream::Slack);
    assert_eq!(posted.len(), calls);
    assert_paced(&posted);
    assert_eq!(product.standins.requests("slack"), calls as u64 + refused, "all others waited");
    let used = product.count("SELECT count(*) FROM job_attempts WHERE outcome = 'retry'").await;
    assert!((9..13).contains(&used), "it takes ten failures to see it: {used}");
    let most = "SELECT max(n) FROM (SELECT count(*) n FROM job_attempts WHERE outcome = 'retry' GROUP BY job_id) t";
    assert!(product.count(most).await <= 2);
    assert_eq!(product.count("SELECT count(*) FROM jobs WHERE state = 'failed'").await, 0);
}

#[tokio::test]
async fn a_rate_limit_is_everybodys() {
    let limit = "[[rule]]\nupstream = 'slack'\nfault = 'rate_limited'\nfirst = 1\nwait_seconds = 2\n";
    let settings = [("NOTIFY_NO_RECORDING", "true"), ("WORKER_CONCURRENCY", "notify=1")];
    let mut product = Product::at_rest_under(limit, &settings).await;
    ring(&product, 5).await;
    product.work();
    product.drain().await;
    let posted = effects(&product, Upstream::Slack);
    assert_eq!((posted.len(), product.standins.requests("slack")), (5, 6));
    let limited_at: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("SELECT min(started_at) FROM job_attempts WHERE error_class = 'rate_limited'")
            .fetch_one(product.pool())
            .await
            .unwrap();
    assert!(posted.iter().all(|effect| effect.at - limited_at >= TimeDelta::seconds(2)), "{limited_at}: {posted:#?}");
    assert_no_attempt_used(&product).await;
}

/// A product with one message at a time, whose Slack says no in these words.
async fn refused(retry_scale: &str, words: &[&str]) -> (Product, ScriptedUpstream) {
    let settings = [("NOTIFY_NO_RECORDING", "true"), ("WORKER_CONCURRENCY", "notify=1"), ("RETRY_SCALE", retry_scale)];
    let mut product = Product::at_rest(&settings).await;
    let slack = ScriptedUpstream::before(&product.standins.slack_api_url).await;
    slack.answer_next(words.iter().map(|word| Answer::new(200, format!(r#"{{"ok":false,"error":"{word}"}}"#))));
    let token = product.standins.slack_bot_token();
    product.set(&bot(&product, &mut String::new(), token.expose_secret()));
    product.set(&[("SLACK_API_BASE_URL", slack.url.as_str())]);
    product.work();
    (product, slack)
}

#[tokio::test]
async fn a_person_who_runs_a_waiting_job_again_is_not_kept_waiting() {
    let (product, _slack) = refused("1", &["invalid_auth"]).await;
    for id in ring(&product, 3).await {
        product.until(id, "waiting").await;
    }
    let waiting = JobFilter { state: Some("waiting".to_owned()), limit: 10, ..JobFilter::default() };
    let waiting = queue::list(product.pool(), &waiting).await.unwrap();
    assert_eq!(waiting.len(), 3);
    queue::retry(product.pool(), &product.waker, waiting[1].id).await.unwrap();
    product.drain().await;
    assert_eq!(product.standins.outbox.slack().len(), 3, "the others go on with it");
}

#[tokio::test]
async fn a_probe_that_tells_nothing_of_the_provider_is_followed_by_the_next() {
    let (product, _slack) = refused("0.001", &["invalid_auth", "channel_not_found"]).await;
    ring(&product, 3).await;
    product.drain().await;
    assert_eq!(product.count("SELECT count(*) FROM deliveries WHERE channel = 'slack' AND state = 'failed'").await, 1);
    assert_eq!(product.standins.outbox.slack().len(), 2);
    assert_eq!(product.health().await["components"]["slack"]["status"], Value::from("ok"));
}

#[tokio::test]
async fn who_was_not_let_go_at_a_recovery_is_let_go_minutes_later() {
    let (product, _slack) = refused("1", &["invalid_auth"]).await;
    for id in ring(&product, 3).await {
        product.until(id, "waiting").await;
    }
    // A worker found out two minutes ago, and the database went away before it could tell the others.
    sqlx::query(
        "UPDATE providers SET paused_at = NULL, probe_at = NULL, error_class = NULL, reason = NULL,
             recovered_at = now() - interval '2 minutes', next_slot = now() - interval '2 minutes'",
    )
    .execute(product.pool())
    .await
    .unwrap();
    product.drain().await;
    assert_eq!(product.standins.outbox.slack().len(), 3);
    assert_no_attempt_used(&product).await;
}
