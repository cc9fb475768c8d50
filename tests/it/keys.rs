//! API keys over HTTP: made, shown once, rotated, revoked; and POSTs that come again.

use std::time::Duration;

use goto_automation::model::ApiKey;
use goto_automation::store::{GuardedTransaction, keys};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor as _;
use sqlx::postgres::PgPoolOptions;
use tokio::time::timeout;

use crate::support::{Database, FrontDoor, Gate, GatedUpstream, answer};

/// Posts JSON as the holder of a key, with an `Idempotency-Key` if there is one.
async fn post(door: &FrontDoor, key: &ApiKey, path: &str, body: &Value, once: Option<&str>) -> (u16, Value) {
    let mut request = door.request(Method::POST, path).bearer_auth(key.expose()).json(body);
    if let Some(once) = once {
        request = request.header("Idempotency-Key", once);
    }
    answer(request).await
}

fn made(answer: &Value) -> ApiKey {
    ApiKey::parse(answer["key"].as_str().unwrap()).expect("the key itself")
}

#[tokio::test]
async fn a_key_is_made_used_and_revoked() {
    let door = FrontDoor::open().await;
    let admin = door.key(&["admin"]).await;
    let bounds = json!({"direction": "inbound", "number_prefix": "+1555"});
    let wanted = json!({"name": "report", "scopes": ["calls:read"], "bounds": bounds,
        "expires_at": "2099-01-01T00:00:00Z"});
    let (status, created) = post(&door, &admin, "/api/keys/", &wanted, None).await;
    assert_eq!(status, 201, "{created}");
    let key = made(&created);
    assert_eq!((&created["prefix"], &created["state"]), (&json!(key.prefix()), &json!("valid")));
    assert_eq!(created["bounds"], json!({"direction": "inbound", "number_prefix": "+1555", "from": null, "to": null}));
    assert_eq!(door.ask(&key, "/api/calls/").await.0, 200);
    assert_eq!(door.ask(&key, "/api/keys/").await.0, 403);

    let path = format!("/api/keys/{}", created["id"].as_str().unwrap());
    let (_, seen) = door.ask(&admin, &path).await;
    assert_eq!((&seen["name"], seen.get("key")), (&json!("report"), None));
    let (_, list) = door.ask(&admin, "/api/keys/?limit=1").await;
    assert_eq!(list["items"][0]["id"], created["id"]);
    let next = list["next_cursor"].as_str().unwrap();
    let (_, list) = door.ask(&admin, &format!("/api/keys/?limit=1&cursor={next}")).await;
    assert_eq!((&list["items"][0]["prefix"], &list["next_cursor"]), (&json!(admin.prefix()), &Value::Null));

    for _ in 0..2 {
        let (status, revoked) = post(&door, &admin, &format!("{path}/revoke"), &json!({}), None).await;
        assert_eq!((status, &revoked["state"]), (200, &json!("revoked")));
    }
    assert_eq!(door.ask(&key, "/api/calls/").await.0, 401);
    assert_eq!(door.count("SELECT count(*) FROM audit_log WHERE action = 'keys.create' AND result = 'done'").await, 1);
    assert_eq!(door.count("SELECT count(*) FROM audit_log WHERE action = 'keys.revoke' AND result = 'done'").await, 1);
    let written_down =
        "SELECT count(*) FROM audit_log WHERE actor LIKE 'test (%' AND request_id <> '' AND address <> ''";
    assert_eq!(door.count(written_down).await, 3);
    // Only hashes are kept, of this key as of all.
    let kept: String = sqlx::query_scalar("SELECT string_agg(row_to_json(k)::text, '') FROM api_keys k")
        .fetch_one(door.pool())
        .await
        .unwrap();
    assert!(kept.contains(key.prefix()) && !kept.contains(key.expose()));
}

#[tokio::test]
async fn two_keys_are_good_while_one_takes_the_place_of_the_other() {
    let door = FrontDoor::open().await;
    let admin = door.key(&["admin"]).await;
    let wanted = json!({"name": "report", "scopes": ["calls:read"]});
    let (_, created) = post(&door, &admin, "/api/keys/", &wanted, None).await;
    let (old, path) = (made(&created), format!("/api/keys/{}/rotate", created["id"].as_str().unwrap()));
    let (status, rotated) = post(&door, &admin, &path, &json!({"overlap_hours": 1}), None).await;
    assert_eq!((status, &rotated["scopes"]), (201, &json!(["calls:read"])), "{rotated}");
    for key in [&old, &made(&rotated)] {
        assert_eq!(door.ask(key, "/api/calls/").await.0, 200);
    }
    let (_, seen) = door.ask(&admin, path.trim_end_matches("/rotate")).await;
    assert_eq!(seen["replaced_by"], rotated["id"]);
    assert!(seen["expires_at"].is_string());
    let (status, problem) = post(&door, &admin, &path, &json!({}), None).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("key_not_rotatable")));
    let refused = "SELECT count(*) FROM audit_log WHERE action = 'keys.rotate' AND result = 'refused'";
    assert_eq!(door.count(refused).await, 1);

    // Without an overlap the old one ends at once.
    let path = format!("/api/keys/{}/rotate", rotated["id"].as_str().unwrap());
    post(&door, &admin, &path, &json!({"overlap_hours": 0}), None).await;
    assert_eq!(door.ask(&made(&rotated), "/api/calls/").await.0, 401);
}

#[tokio::test]
async fn a_wanted_key_that_cannot_be_is_refused_field_by_field() {
    let door = FrontDoor::open().await;
    let admin = door.key(&["admin"]).await;
    for (body, fields) in [
        (json!({}), &["name"][..]),
        (json!({"name": "", "scopes": ["calls:write"], "expires": "90d"}), &["name", "scopes[0]", "expires"]),
        (json!({"name": "x", "expires_at": "2026-02-30"}), &["expires_at"]),
        (json!({"name": "x", "expires_at": "2020-01-01T00:00:00Z"}), &["expires_at"]),
        (json!({"name": "x\u{0}"}), &["name"]),
        (json!({"name": "x", "scopes": ["admin"], "bounds": {"direction": "inbound"}}), &["bounds"]),
        (json!({"name": "x", "bounds": {"from": "2026-02-02", "to": "2026-02-01"}}), &["bounds.to"]),
        (json!(["x"]), &["body"]),
    ] {
        let (status, problem) = post(&door, &admin, "/api/keys/", &body, None).await;
        assert_eq!((status, problem["code"].as_str()), (422, Some("invalid_body")), "{body} {problem}");
        let told: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str()).collect();
        assert_eq!(told, fields.iter().map(|field| Some(*field)).collect::<Vec<_>>(), "{problem}");
    }
    let request = || door.request(Method::POST, "/api/keys/").bearer_auth(admin.expose());
    for (kind, body, status, code) in [
        ("application/json", "{", 400, "invalid_json"),
        ("application/json", r#"{"name": "\ud800"}"#, 400, "invalid_json"),
        ("text/plain", r#"{"name": "x"}"#, 415, "unsupported_media_type"),
    ] {
        let (got, problem) = answer(request().header("Content-Type", kind).body(body)).await;
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{problem}");
    }
    assert_eq!(door.count("SELECT count(*) FROM api_keys").await, 1);
}

#[tokio::test]
async fn the_same_request_gets_the_same_answer_and_acts_once() {
    let door = FrontDoor::open().await;
    let admin = door.key(&["admin"]).await;
    let wanted = json!({"name": "report"});
    let first = post(&door, &admin, "/api/keys/", &wanted, Some("first")).await;
    let second = post(&door, &admin, "/api/keys/", &wanted, Some("\"first\"")).await;
    assert_eq!((first.0, &first), (201, &second), "the key itself included");
    assert_eq!(door.count("SELECT count(*) FROM api_keys WHERE name = 'report'").await, 1);
    assert_eq!(door.count("SELECT count(*) FROM audit_log").await, 1);
    // What is kept of the answer has no key in it.
    let key = made(&first.1);
    let kept: String = sqlx::query_scalar("SELECT body FROM idempotent_answers").fetch_one(door.pool()).await.unwrap();
    assert!(kept.contains(key.prefix()) && !kept.contains(key.expose()), "{kept}");

    let (status, problem) = post(&door, &admin, "/api/keys/", &json!({"name": "other"}), Some("first")).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("idempotency_key_reused")));
    let (status, problem) = post(&door, &admin, "/api/keys/", &wanted, Some("a b")).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("bad_header")));
    // Others have keys of their own, and after a day it is another request.
    let other = door.key(&["admin"]).await;
    assert_ne!(post(&door, &other, "/api/keys/", &wanted, Some("first")).await.1["id"], first.1["id"]);
    sqlx::query("UPDATE idempotent_answers SET created_at = now() - interval '25 hours'")
        .execute(door.pool())
        .await
        .unwrap();
    assert_ne!(post(&door, &admin, "/api/keys/", &wanted, Some("first")).await.1["id"], first.1["id"]);
}

#[tokio::test]
async fn a_use_is_noted_once_a_minute() {
    let door = FrontDoor::open().await;
    let key = door.key(&["calls:read"]).await;
    let mut connection = door.pool().acquire().await.unwrap();
    let mut active = async || keys::active(&mut connection, key.prefix()).await.unwrap().unwrap();
    let fresh = active().await;
    assert!(!fresh.is_noted);
    keys::touch(door.pool(), fresh.id).await.unwrap();
    assert!(active().await.is_noted, "so nobody asks the database to write it again");
    sqlx::query("UPDATE api_keys SET last_used_at = now() - interval '61 s'").execute(door.pool()).await.unwrap();
    assert!(!active().await.is_noted);
}

/// A network that swallows the answer takes one connection, and not its place in the pool.
#[tokio::test]
async fn a_transaction_that_hears_nothing_more_is_undone_or_closed() {
    let database = Database::fresh().await;
    let (network, url) = GatedUpstream::to_database(database.url()).await.unwrap();
    let one = PgPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
    let insert = "INSERT INTO audit_log (actor, action, object, affected, result) VALUES ('x', 'x', 'x', 0, 'done')";

    let mut left = GuardedTransaction::begin(&one).await.unwrap();
    left.execute(insert).await.unwrap();
    drop(left);
    let mut kept = GuardedTransaction::begin(&one).await.unwrap();
    kept.execute(insert).await.unwrap();
    kept.commit().await.unwrap();

    let mut cut_off = GuardedTransaction::begin(&one).await.unwrap();
    network.set(Gate::HoldAnswers);
    timeout(Duration::from_millis(50), cut_off.execute(insert)).await.expect_err("it waits for the answer");
    drop(cut_off);
    network.bury_connections();
    network.set(Gate::Open);
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_log").fetch_one(&one).await.unwrap();
    assert_eq!(count, 1);
}

#[tokio::test]
async fn a_request_that_is_under_way_is_not_begun_again() {
    let door = FrontDoor::open().await;
    let admin = door.key(&["admin"]).await;
    let id: uuid::Uuid = sqlx::query_scalar("SELECT id FROM api_keys").fetch_one(door.pool()).await.unwrap();
    // Another process is answering it.
    let mut elsewhere = door.pool().begin().await.unwrap();
    assert!(goto_automation::store::idempotent_answers::lock(&mut elsewhere, id, "busy").await.unwrap());
    let wanted = json!({"name": "report"});
    let (status, problem) = post(&door, &admin, "/api/keys/", &wanted, Some("busy")).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("request_in_progress")));
    assert_eq!(post(&door, &admin, "/api/keys/", &wanted, Some("other")).await.0, 201);
    elsewhere.rollback().await.unwrap();
    assert_eq!(post(&door, &admin, "/api/keys/", &wanted, Some("busy")).await.0, 201);
}

#[tokio::test]
async fn many_at_once_act_once() {
    let door = FrontDoor::open().await;
    let admin = door.key(&["admin"]).await;
    let wanted = json!({"name": "report"});
    let all = (0..8).map(|_| post(&door, &admin, "/api/keys/", &wanted, Some("race")));
    let answers = futures::future::join_all(all).await;
    assert!(answers.iter().all(|(status, _)| [201, 409].contains(status)), "{answers:?}");
    let mut made: Vec<&Value> = answers.iter().filter(|(status, _)| *status == 201).map(|(_, key)| key).collect();
    made.dedup();
    assert_eq!((made.len(), door.count("SELECT count(*) FROM api_keys WHERE name = 'report'").await), (1, 1));
}
