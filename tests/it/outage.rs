//! PostgreSQL goes away while calls run, and comes back.

use std::time::Duration;

use goto_automation::dev::postgres::Postgres;
use goto_automation::model::CallId;
use sqlx::pool::PoolConnection;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::support::{Database, Gate, GatedUpstream, Product};

const CALLS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(40);

/// Ten calls in the middle of their transcription, on a server of their own.
async fn calls_under_way() -> (Postgres, Product, GatedUpstream, Vec<CallId>) {
    let postgres = Postgres::for_tests().await.unwrap();
    let product = Product::on(&postgres.url(), &[]).await;
    let (product, gate, calls) = in_the_middle(product).await;
    (postgres, product, gate, calls)
}

async fn in_the_middle(mut product: Product) -> (Product, GatedUpstream, Vec<CallId>) {
    let speech = product.standins.openai_url.socket_addrs(|| None).unwrap()[0];
    let gate = GatedUpstream::to(speech).await.unwrap();
    let url = gate.url(&product.standins.openai_url).to_string();
    product.set(&[("TRANSCRIPTION_BASE_URL", &url)]);
    gate.set(Gate::HoldAnswers);
    product.work();
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        calls.push(product.ring("appointment").await);
    }
    gate.until_knocked(0).await;
    (product, gate, calls)
}

async fn all_end_well(product: &Product, calls: &[CallId]) {
    for id in calls {
        product.until(*id, "completed").await;
    }
    assert_eq!((product.standins.outbox.slack().len(), product.standins.outbox.mail().len()), (CALLS, CALLS));
    let repeated = product.count("SELECT count(*) FROM deliveries WHERE repeated OR state <> 'sent'").await;
    assert_eq!(repeated, 0, "no message went out twice or is unknown");
    let failed = product.count("SELECT count(*) FROM job_attempts WHERE outcome IN ('failed', 'retry', 'panic')").await;
    assert_eq!(failed, 0, "nobody's attempts were used");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_database_loses_nothing() {
    let (postgres, product, gate, calls) = calls_under_way().await;
    postgres.restart_immediate().await.unwrap();
    gate.set(Gate::Open);
    all_end_well(&product, &calls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_for_twenty_seconds_is_waited_for() {
    let (postgres, product, gate, calls) = calls_under_way().await;
    postgres.stop_server().await;
    gate.set(Gate::Open);
    sleep(Duration::from_secs(20)).await;
    postgres.start_server().await.unwrap();
    all_end_well(&product, &calls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_die_without_a_word_are_given_up() {
    let database = Database::fresh().await;
    let (network, url) = GatedUpstream::to_database(database.url()).await.unwrap();
    let mut product = Product::on(database.url(), &[]).await;
    product.set(&[("DATABASE_URL", &url)]);
    let (product, gate, calls) = in_the_middle(product).await;
    network.bury_connections();
    gate.set(Gate::Open);
    all_end_well(&product, &calls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_begin_nobody_heard_of_has_not_left() {
    let database = Database::fresh().await;
    let (network, url) = GatedUpstream::to_database(database.url()).await.unwrap();
    let mut product = Product::on(database.url(), &[("NOTIFY_NO_RECORDING", "true")]).await;
    product.set(&[("DATABASE_URL", &url)]);
    let id = product.ring_with(None).await;
    let (slack, mut held) = message_in_our_hands(&product, id).await;
    product.work();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until(&product, waits).await;
    network.set(Gate::HoldAnswers);
    sqlx::query("COMMIT").execute(&mut *held).await.unwrap();
    until(&product, "SELECT count(*) FROM deliveries WHERE channel = 'slack' AND state = 'sending'").await;
    assert!(product.standins.outbox.slack().is_empty());
    network.cut_connections();
    network.set(Gate::Open);

    product.until(id, "no_recording").await;
    product.drain().await;
    let sent = product.deliveries(id).await.into_iter().find(|delivery| delivery.id == slack).unwrap();
    assert_eq!((sent.state.as_str(), sent.repeated), ("sent", false));
    assert_eq!(product.standins.outbox.slack().len(), 1);
}

/// Slack's row of the ledger before its time, and a transaction that keeps everybody else from it.
async fn message_in_our_hands(product: &Product, id: CallId) -> (Uuid, PoolConnection<sqlx::Postgres>) {
    let row = "INSERT INTO deliveries (id, call_id, channel, destination, round)
               VALUES (gen_random_uuid(), $1, 'slack', 'incoming-webhook', 1) RETURNING id";
    let slack = sqlx::query_scalar(row).bind(id.0).fetch_one(product.pool()).await.unwrap();
    let mut held = product.pool().acquire().await.unwrap();
    sqlx::query("BEGIN").execute(&mut *held).await.unwrap();
    sqlx::query("SELECT 1 FROM deliveries WHERE id = $1 FOR UPDATE").bind(slack).execute(&mut *held).await.unwrap();
    (slack, held)
}

/// Waits until that is the case.
async fn until(product: &Product, question: &'static str) {
    let reached = async {
        while product.count(question).await == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("in vain: {question}"));
}

#[tokio::test]
async fn the_server_frees_what_a_frozen_client_has_locked() {
    let product = Product::at_rest(&[]).await;
    let limits: Vec<String> = sqlx::query_scalar(
        "SELECT setting FROM pg_settings WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout')",
    )
    .fetch_all(&product.database().pool)
    .await
    .unwrap();
    assert_eq!(limits, ["20000", "20000"]);
}
