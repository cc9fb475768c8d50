//! Webhooks that come at the same time share a commit, and nothing else: each sender hears of its own call.

use std::collections::HashSet;

use futures::future::join_all;
use serde_json::Value;
use sqlx::Connection as _;

use crate::support::{FrontDoor, body};

/// A call of its own without a recording.
fn call(external_id: &str) -> Vec<u8> {
    body(external_id, None).to_string().into_bytes()
}

async fn ring_all(door: &FrontDoor, names: impl IntoIterator<Item = String>) -> Vec<(String, u16, Value)> {
    join_all(names.into_iter().map(|name| async move {
        let (status, receipt) = door.send(&call(&name)).await;
        (name, status, receipt)
    }))
    .await
}

fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("call-{number:03}"))
}

#[tokio::test]
async fn those_that_come_together_share_a_commit() {
    let door = FrontDoor::open().await;
    let answers = ring_all(&door, names(100)).await;
    assert!(answers.iter().all(|(_, status, receipt)| (*status, &receipt["status"]) == (202, &"accepted".into())));
    let ids: HashSet<&str> = answers.iter().filter_map(|(_, _, receipt)| receipt["call_id"].as_str()).collect();
    assert_eq!(ids.len(), 100);
    assert_eq!(door.count("SELECT count(*) FROM calls JOIN jobs ON jobs.call_id = calls.id").await, 100);
    assert_eq!(door.count("SELECT count(*) FROM webhook_events WHERE verdict = 'accepted'").await, 100);
    let commits = door.count("SELECT count(DISTINCT xmin::text) FROM calls").await;
    assert!(commits < 100, "{commits} commits for 100 calls");
}

#[tokio::test]
async fn a_call_that_the_database_refuses_fails_alone() {
    let door = FrontDoor::open().await;
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'no' USING ERRCODE = 'data_exception'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON calls FOR EACH ROW WHEN (NEW.external_id = 'call-013')
            EXECUTE FUNCTION refuse()";
    sqlx::raw_sql(refuse).execute(door.pool()).await.unwrap();
    for (name, status, _) in ring_all(&door, names(40)).await {
        assert_eq!(status, if name == "call-013" { 500 } else { 202 }, "{name}");
    }
    assert_eq!(door.count("SELECT count(*) FROM jobs").await, 39);
}

#[tokio::test]
async fn a_call_that_somebody_holds_holds_up_no_other() {
    let door = FrontDoor::open().await;
    let mut somebody = door.pool().acquire().await.unwrap();
    let mut holding = somebody.begin().await.unwrap();
    let insert = "INSERT INTO calls (id, source, external_id, direction, recording)
        VALUES (gen_random_uuid(), 'signed', 'call-007', 'inbound', 'none')";
    sqlx::query(insert).execute(&mut *holding).await.unwrap();
    for (name, status, _) in ring_all(&door, names(20)).await {
        assert_eq!(status, if name == "call-007" { 503 } else { 202 }, "{name}");
    }
    holding.rollback().await.unwrap();
    assert_eq!(door.send(&call("call-007")).await.0, 202);
    assert_eq!(door.count("SELECT count(*) FROM jobs").await, 20);
}

#[tokio::test]
async fn cut_connections_lose_nothing_that_was_acknowledged() {
    let door = FrontDoor::open().await;
    let cut = async {
        for _ in 0..30 {
            let all = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND query LIKE '%INTO calls%' AND pid <> pg_backend_pid()";
            // It may cut off itself where the pool is small.
            let _ = sqlx::query(all).execute(door.pool()).await;
        }
    };
    let (answers, ()) = tokio::join!(ring_all(&door, names(400)), cut);
    for (name, status, receipt) in answers {
        let (status, receipt) = if status == 202 { (status, receipt) } else { door.send(&call(&name)).await };
        assert_eq!(status, 202, "{name} comes in when it is sent again");
        let found: i64 = sqlx::query_scalar("SELECT count(*) FROM calls WHERE id::text = $1 AND external_id = $2")
            .bind(receipt["call_id"].as_str())
            .bind(&name)
            .fetch_one(door.pool())
            .await
            .unwrap();
        assert_eq!(found, 1, "{name}");
    }
    let whole = "SELECT count(*) FROM calls c JOIN jobs j ON j.call_id = c.id
        WHERE EXISTS (SELECT FROM webhook_events e WHERE e.call_id = c.id AND e.verdict = 'accepted')";
    assert_eq!(door.count(whole).await, 400);
}
