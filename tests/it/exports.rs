//! Exports that are long: they end with their key, are written down as far as they came, and are few at the same time.

use std::time::Duration;

use goto_automation::model::ApiKey;
use reqwest::{Response, StatusCode};
use sqlx::PgPool;
use tokio::time::timeout;

use crate::support::{FrontDoor, read};

const READ: &str = "calls:read";
const CALLS: &str = "/api/calls.csv";
const ACTIONS: &str = "/api/actions.csv";
const PATIENCE: Duration = Duration::from_secs(20);
/// Lines that are read at a time.
const PAGE: i64 = 1_000;
const PAGES: i64 = 10;

/// More than fits into the memory of a connection that nobody reads from: ten pages of 3 MB.
const MUCH: &str = "
    INSERT INTO calls (id, source, external_id, state, state_reason, direction, started_at, recording)
    SELECT gen_random_uuid(), 'signed', 'n' || i, 'failed', repeat('x', 3000), 'inbound',
        timestamptz '2026-02-01' - i * interval '1 minute', 'none'
    FROM generate_series(1, 10000) i;
    INSERT INTO action_items (id, call_id, run, position, text, evidence, supported, created_at)
    SELECT gen_random_uuid(), (SELECT id FROM calls LIMIT 1), 1, i, repeat('x', 3000), '{}', true,
        timestamptz '2026-01-01Z' + i * interval '1 s'
    FROM generate_series(1, 10000) i";

async fn open() -> (FrontDoor, ApiKey) {
    let door = FrontDoor::open().await;
    sqlx::raw_sql(MUCH).execute(door.pool()).await.unwrap();
    let key = door.key(&[READ]).await;
    (door, key)
}

/// An export of which only the beginning is read.
async fn begin(door: &FrontDoor, key: &ApiKey, path: &str) -> Response {
    let mut response = door.get(path).bearer_auth(key.expose()).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.chunk().await.unwrap().is_some());
    response
}

/// What the audit log says of the latest export.
async fn written_down(db: &PgPool) -> i64 {
    let latest = "SELECT affected FROM audit_log WHERE action LIKE '%.export' ORDER BY id DESC LIMIT 1";
    sqlx::query_scalar(latest).fetch_one(db).await.unwrap()
}

#[tokio::test]
async fn an_export_ends_with_its_key_and_is_written_down_as_far_as_it_came() {
    let (door, _) = open().await;
    for path in [CALLS, ACTIONS] {
        let key = door.key(&[READ]).await;
        let mut response = begin(&door, &key, path).await;
        sqlx::query("UPDATE api_keys SET revoked_at = now() WHERE prefix = $1")
            .bind(key.prefix())
            .execute(door.pool())
            .await
            .unwrap();
        let mut lines = 0;
        let end = loop {
            match response.chunk().await {
                Ok(Some(bytes)) => lines += String::from_utf8_lossy(&bytes).matches('\n').count() as i64,
                end => break end,
            }
        };
        assert!(end.is_err(), "{path}: its reader sees that it is not whole");
        let written = written_down(door.pool()).await;
        assert!((PAGE..PAGE * PAGES).contains(&written) && written >= lines, "{path}: {lines} of {written}");
    }
}

#[tokio::test]
async fn an_export_that_its_reader_leaves_is_written_down_too() {
    let (door, key) = open().await;
    drop(begin(&door, &key, CALLS).await);
    assert!(written_down(door.pool()).await >= PAGE);
}

#[tokio::test]
async fn a_key_has_two_exports_and_the_server_four() {
    let (door, key) = open().await;
    let mut mine = vec![begin(&door, &key, CALLS).await, begin(&door, &key, ACTIONS).await];
    let refused = door.get(CALLS).bearer_auth(key.expose()).send().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "5");
    let (status, problem) = read(refused).await;
    assert_eq!((status, problem["code"].as_str()), (429, Some("too_many_exports")));

    let others = [door.key(&[READ]).await, door.key(&[READ]).await, door.key(&[READ]).await];
    let _theirs = (begin(&door, &others[0], CALLS).await, begin(&door, &others[1], CALLS).await);
    assert_eq!(door.ask(&others[2], ACTIONS).await.0, 429);
    mine.pop();
    // The server sees it when its client has gone.
    let again = async {
        while door.get(CALLS).bearer_auth(others[2].expose()).send().await.unwrap().status() != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, again).await.expect("a seat is free again");
}
