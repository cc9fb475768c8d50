//! PostgreSQL goes away while calls run, and comes back.

use std::time::Duration;

use goto_automation::dev::postgres::Postgres;
use goto_automation::model::CallId;
use tokio::time::sleep;

use crate::support::{Database, Gate, GatedUpstream, Product};

const CALLS: usize = 10;

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
