//! Operators and senders who act on one call at the same moment, and what the ledger says when a job ends by itself.

use goto_automation::model::{CallId, DeliveryId, Fence, JobId};
use goto_automation::pipeline::intake::{self, Intake};
use goto_automation::pipeline::rerun;
use goto_automation::queue::{self, Retried};
use goto_automation::store;
use goto_automation::store::deliveries::DeliveryRow;
use serde_json::json;
use sqlx::PgPool;
use tokio::time::sleep;

use crate::support::{Answer, Product, ScriptedUpstream};

/// Waits until so many connections to this database wait for a lock.
async fn until_waiting(db: &PgPool, connections: i64) {
    let question =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(question).fetch_one(db).await.unwrap() < connections {
        sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Begins `first`, then `second`, both while the call is locked by somebody else, and lets them go.
async fn at_once<A, B>(
    db: &PgPool,
    id: CallId,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (A, B) {
    let mut lock = db.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM calls WHERE id = $1 FOR UPDATE").bind(id.0).execute(&mut *lock).await.unwrap();
    let second = async {
        until_waiting(db, 1).await;
        second.await
    };
    let release = async {
        until_waiting(db, 2).await;
        lock.commit().await.unwrap();
    };
    let (first, second, ()) = tokio::join!(first, second, release);
    (first, second)
}

async fn open_runs(db: &PgPool, id: CallId) -> Vec<i32> {
    sqlx::query_scalar("SELECT run FROM jobs WHERE call_id = $1 AND state IN ('available', 'running')")
        .bind(id.0)
        .fetch_all(db)
        .await
        .unwrap()
}

#[tokio::test]
async fn two_reruns_at_once_leave_one_pipeline() {
    let product = Product::at_rest(&[]).await;
    let id = product.ring("appointment").await;
    let again = || rerun::rerun(product.pool(), &product.waker, id, "download", false);
    let (first, second) = at_once(product.pool(), id, Box::pin(again()), Box::pin(again())).await;
    assert_eq!((first.unwrap(), second.unwrap()), (2, 3));
    assert_eq!(open_runs(product.pool(), id).await, [3]);
}

#[tokio::test]
async fn a_retry_during_a_rerun_does_not_revive_the_earlier_run() {
    let product = Product::at_rest(&[]).await;
    let id = product.ring("appointment").await;
    let job: i64 = sqlx::query_scalar("UPDATE jobs SET state = 'failed', reason = 'No.' RETURNING id")
        .fetch_one(product.pool())
        .await
        .unwrap();
    let rerun = rerun::rerun(product.pool(), &product.waker, id, "download", false);
    let retry = queue::retry(product.pool(), &product.waker, job);
    let (run, retried) = at_once(product.pool(), id, Box::pin(rerun), Box::pin(retry)).await;
    assert_eq!(run.unwrap(), 2);
    assert!(matches!(retried.unwrap(), Retried::Refused(_)));
    assert_eq!(open_runs(product.pool(), id).await, [2]);
}

#[tokio::test]
async fn two_bodies_that_bring_the_same_recording_begin_one_run() {
    let product = Product::at_rest(&[]).await;
    let body = |url: Option<&str>| {
        let data = json!({"call_id": "late-recording", "direction": "inbound", "recording_url": url});
        json!({"event_type": "call.ended", "data": data}).to_string()
    };
    let intake = Intake::new(product.pool().clone(), product.waker.clone());
    let receive = async |url: Option<&str>| intake.receive(intake::SIGNED, body(url).into()).await;
    receive(None).await.unwrap();
    let id: uuid::Uuid = sqlx::query_scalar("SELECT id FROM calls").fetch_one(product.pool()).await.unwrap();
    let url = Some("https://recordings.example.com/1.wav");
    let (first, second) = at_once(product.pool(), CallId(id), Box::pin(receive(url)), Box::pin(receive(url))).await;
    first.unwrap();
    second.unwrap();
    assert_eq!(open_runs(product.pool(), CallId(id)).await, [2]);
}

/// A job that runs with this token, on a delivery that waits.
async fn sending(product: &Product, id: CallId, run: i32, delivery: DeliveryId) -> Fence {
    let job = sqlx::query_scalar(
        "INSERT INTO jobs (step, call_id, target, run, critical, state, lease_token, lease_until)
         VALUES ('notify', $1, $2, $3, false, 'running', 17, now() + interval '1 hour') RETURNING id",
    )
    .bind(id.0)
    .bind(delivery.0)
    .bind(run);
    Fence { job_id: JobId(job.fetch_one(product.pool()).await.unwrap()), token: 17 }
}

async fn delivery(product: &Product, id: CallId, destination: &str, state: &str) -> DeliveryRow {
    let made = sqlx::query_scalar(
        "INSERT INTO deliveries (id, call_id, channel, destination, round, state)
         VALUES (gen_random_uuid(), $1, 'email', $2, 1, $3) RETURNING id",
    )
    .bind(id.0)
    .bind(destination)
    .bind(state);
    let made = made.fetch_one(product.pool()).await.unwrap();
    store::deliveries::get(product.pool(), DeliveryId(made)).await.unwrap().unwrap()
}

#[tokio::test]
async fn of_two_jobs_with_one_message_one_sends_it() {
    let product = Product::at_rest(&[]).await;
    let id = product.ring_with(None).await;
    let message = delivery(&product, id, "team@example.com", "pending").await;
    let first = sending(&product, id, 1, DeliveryId(message.id)).await;
    let second = sending(&product, id, 2, DeliveryId(message.id)).await;
    let begin = |fence| store::deliveries::begin_sending(product.pool(), fence, &message, false);
    begin(first).await.unwrap();
    assert!(begin(second).await.is_err());
    // Its connection may have broken before it heard of it.
    begin(first).await.unwrap();
}

#[tokio::test]
async fn the_ledger_follows_a_job_that_ends_without_its_handler() {
    let product = Product::at_rest(&[]).await;
    let id = product.ring_with(None).await;
    for (ended, before, after) in [
        ("failed", "pending", "failed"),
        ("failed", "sending", "unknown"),
        ("failed", "sent", "sent"),
        ("cancelled", "pending", "failed"),
        ("cancelled", "sending", "unknown"),
        ("completed", "sent", "sent"),
    ] {
        let message = delivery(&product, id, &format!("{ended}-{before}@example.com"), before).await;
        let fence = sending(&product, id, 1, DeliveryId(message.id)).await;
        sqlx::query("UPDATE jobs SET state = $2, reason = 'Because.' WHERE id = $1")
            .bind(fence.job_id.0)
            .bind(ended)
            .execute(product.pool())
            .await
            .unwrap();
        let now = store::deliveries::get(product.pool(), DeliveryId(message.id)).await.unwrap().unwrap();
        let reason = (before != after).then(|| "Because.".to_owned());
        assert_eq!((now.state.as_str(), now.detail), (after, reason), "{before}, its job {ended}");
    }
}

#[tokio::test]
async fn a_message_that_waited_in_vain_is_failed_in_the_ledger_too() {
    let mut product = Product::at_rest(&[]).await;
    let slack = ScriptedUpstream::before(&product.standins.slack_webhook_url).await;
    product.set(&[("SLACK_WEBHOOK_URL", slack.url.as_str())]);
    slack.answer_next(vec![Answer::new(429, "").header("retry-after", "1"); 2]);
    product.work();
    let id = product.ring("appointment").await;
    while product.count("SELECT count(*) FROM jobs WHERE waiting_since IS NOT NULL").await == 0 {
        sleep(std::time::Duration::from_millis(10)).await;
    }
    sqlx::query("UPDATE jobs SET waiting_since = now() - interval '8 days' WHERE waiting_since IS NOT NULL")
        .execute(product.pool())
        .await
        .unwrap();
    let call = product.until(id, "completed").await;
    assert!(call.state_reason.unwrap().starts_with("Given up after waiting since "));
    let deliveries = product.deliveries(id).await;
    let states: Vec<_> = deliveries.iter().map(|row| (row.channel.as_str(), row.state.as_str())).collect();
    assert_eq!(states, [("slack", "failed"), ("email", "sent")]);
}

#[tokio::test]
async fn a_sent_message_stays_sent_when_its_channel_is_taken_away() {
    let mut product = Product::start().await;
    let id = product.ring("appointment").await;
    product.until(id, "completed").await;
    // As a worker leaves it that dies between the word that the message was sent and the end of its job.
    product.set(&[("SLACK_WEBHOOK_URL", "")]);
    product.work();
    let again = "UPDATE jobs SET state = 'available', finished_at = NULL WHERE target IN (SELECT id FROM deliveries)";
    sqlx::query(again).execute(product.pool()).await.unwrap();
    product.drain().await;
    let deliveries = product.deliveries(id).await;
    assert!(deliveries.iter().all(|delivery| delivery.state == "sent"), "{deliveries:#?}");
    assert_eq!(product.call(id).await.state_reason, None);
}
