//! Who may do what: every operation of the document under every kind of key. A new operation without a row fails.

use goto_automation::config::ServerConfig;
use goto_automation::model::{ApiKey, CallBounds, Direction, Scope};
use reqwest::RequestBuilder;
use serde_json::Value;
use sqlx::PgPool;

use crate::support::{FrontDoor, answer};

const CALL: &str = "019b0000-0000-7000-8000-000000000001";
const ACTION: &str = "019b0000-0000-7000-8000-00000000000b";
const KEY: &str = "019b0000-0000-7000-8000-0000000000aa";

/// A call with everything that operations ask for.
const WORLD: &str = r#"
    INSERT INTO calls (id, source, external_id, state, direction, caller_number, called_number, started_at, ended_at,
        duration_seconds, recording, recording_url)
    VALUES ('019b0000-0000-7000-8000-000000000001', 'signed', 'call-0001', 'completed', 'inbound', '+15550100002',
        '+15550100001', '2026-01-05T10:00:00Z', '2026-01-05T10:04:08Z', 248, 'pending', 'https://example.com/a.wav');
    INSERT INTO call_summaries (call_id, run, transcript, summary, statements, sentiment, urgency, topics)
    VALUES ('019b0000-0000-7000-8000-000000000001', 1, '{"language":"en","timing":"estimated","segments":[
                {"speaker":"agent","start_ms":0,"end_ms":4100,"text":"Hello."}]}',
            'A greeting.', '[]', 'neutral', 3, '{billing}');
    INSERT INTO action_items (id, call_id, run, position, text, owner, evidence, supported)
    VALUES ('019b0000-0000-7000-8000-00000000000b', '019b0000-0000-7000-8000-000000000001', 1, 0, 'Refund it', 'Dana',
            '{0}', true);
"#;

/// What an operation asks of its caller.
struct Row {
    operation: &'static str,
    scope: Scope,
    reach: Reach,
    body: Option<&'static str>,
    /// The code of its answer where the world lacks what it is about.
    lacks: Option<&'static str>,
    /// Brings the world back to where the operation works.
    before: &'static str,
}

/// What a key that is bound to other calls gets.
#[derive(Clone, Copy, PartialEq)]
enum Reach {
    /// 404: it is about one call.
    One,
    /// A list without the call.
    List,
    /// The same as others: no call is in it by itself.
    Sum,
    /// Nothing: only keys without bounds can come here.
    Administration,
}

const fn reads(operation: &'static str, scope: Scope, reach: Reach) -> Row {
    Row { operation, scope, reach, body: None, lacks: None, before: "" }
}

const fn edits(operation: &'static str, body: Option<&'static str>) -> Row {
    const FRESH: &str = "UPDATE action_items SET state = 'open', version = 1";
    Row { operation, scope: Scope::ActionsWrite, reach: Reach::One, body, lacks: None, before: FRESH }
}

const fn administers(operation: &'static str, body: Option<&'static str>) -> Row {
    const FRESH: &str =
        "UPDATE api_keys SET revoked_at = NULL, expires_at = NULL, replaced_by = NULL WHERE name = 'object'";
    Row { operation, scope: Scope::Admin, reach: Reach::Administration, body, lacks: None, before: FRESH }
}

/// THE matrix.
const ROWS: &[Row] = &[
    reads("listCalls", Scope::CallsRead, Reach::List),
    reads("getCall", Scope::CallsRead, Reach::One),
    reads("exportCalls", Scope::CallsRead, Reach::List),
    reads("getTranscript", Scope::TranscriptsRead, Reach::One),
    reads("getTimeline", Scope::CallsRead, Reach::One),
    Row { lacks: Some("no_recording"), ..reads("getRecording", Scope::RecordingsRead, Reach::One) },
    Row { lacks: Some("no_recording"), ..reads("getRecordingLink", Scope::RecordingsRead, Reach::One) },
    Row {
        body: Some(r#"{"from": "download", "dry_run": true}"#),
        ..reads("rerunCall", Scope::JobsOperate, Reach::One)
    },
    reads("listActions", Scope::CallsRead, Reach::List),
    reads("exportActions", Scope::CallsRead, Reach::List),
    reads("getAction", Scope::CallsRead, Reach::One),
    edits("editAction", Some(r#"{"owner": "Maria"}"#)),
    edits("completeAction", None),
    edits("reopenAction", None),
    reads("getDashboard", Scope::CallsRead, Reach::Sum),
    reads("listDailyNumbers", Scope::CallsRead, Reach::Sum),
    reads("listWeeklyNumbers", Scope::CallsRead, Reach::Sum),
    reads("followEvents", Scope::CallsRead, Reach::Sum),
    administers("listKeys", None),
    administers("createKey", Some(r#"{"name": "new"}"#)),
    administers("getKey", None),
    administers("revokeKey", None),
    administers("rotateKey", Some("{}")),
];

/// An operation as the document has it.
struct Operation {
    method: reqwest::Method,
    path: String,
    row: &'static Row,
}

impl Operation {
    fn request(&self, door: &FrontDoor) -> RequestBuilder {
        let request = door.request(self.method.clone(), &self.path).header("If-Match", "\"1\"");
        match self.row.body {
            Some(body) => request.header("Content-Type", "application/json").body(body),
            None => request,
        }
    }

    /// Whether the answer is what a key gets that may come here.
    fn is_open(&self, status: u16, text: &str) -> bool {
        let lacks = self.row.lacks.is_some_and(|code| status == 404 && text.contains(&format!("\"{code}\"")));
        lacks || (200..300).contains(&status)
    }

    /// Status and, where it ends, text of the answer.
    async fn ask(&self, door: &FrontDoor, key: &ApiKey) -> (u16, String) {
        run(door.pool(), self.row.before).await;
        let answer = self.request(door).bearer_auth(key.expose()).send().await.unwrap();
        let is_endless = answer.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream");
        let status = answer.status().as_u16();
        (status, if is_endless { String::new() } else { answer.text().await.unwrap() })
    }
}

async fn run(db: &PgPool, statement: &'static str) {
    sqlx::raw_sql(statement).execute(db).await.unwrap();
}

async fn open() -> FrontDoor {
    let limits = ServerConfig {
        max_connections_per_address: 1024,
        failed_keys_per_minute: 1_000_000,
        api_rate: 1_000_000,
        ..ServerConfig::default()
    };
    let door = FrontDoor::open_with(limits.into()).await;
    run(door.pool(), WORLD).await;
    let object = door.key(&["calls:read"]).await;
    sqlx::query("UPDATE api_keys SET id = $1::uuid, name = 'object' WHERE prefix = $2")
        .bind(KEY)
        .bind(object.prefix())
        .execute(door.pool())
        .await
        .unwrap();
    door
}

async fn operations(door: &FrontDoor) -> Vec<Operation> {
    let (_, document) = answer(door.get("/openapi.json")).await;
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let object = if path.starts_with("/api/keys") {
            KEY
        } else if path.starts_with("/api/actions") {
            ACTION
        } else {
            CALL
        };
        for (method, operation) in methods.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            let row = ROWS.iter().find(|row| row.operation == name);
            let row = row.unwrap_or_else(|| panic!("{method} {path} ({name}) has no row in the matrix of rights"));
            let method = method.to_uppercase().parse().unwrap();
            operations.push(Operation { method, path: path.replace("{id}", object), row });
        }
    }
    assert_eq!(operations.len(), ROWS.len(), "a row of the matrix has no operation");
    operations
}

#[tokio::test]
async fn without_a_good_key_nothing_opens() {
    let door = open().await;
    let [revoked, expired] = [door.key(&["admin"]).await, door.key(&["admin"]).await];
    for (column, key) in [("revoked_at", &revoked), ("expires_at", &expired)] {
        let statement = format!("UPDATE api_keys SET {column} = now() WHERE prefix = $1");
        sqlx::query(sqlx::AssertSqlSafe(statement)).bind(key.prefix()).execute(door.pool()).await.unwrap();
    }
    let unknown = ApiKey::generate();
    for operation in operations(&door).await {
        let of = operation.row.operation;
        let without = operation.request(&door).send().await.unwrap();
        assert_eq!(without.status().as_u16(), 401, "{of} without a key");
        for (kind, key) in [("an unknown", &unknown), ("a revoked", &revoked), ("an expired", &expired)] {
            assert_eq!(operation.ask(&door, key).await.0, 401, "{of} with {kind} key");
        }
    }
}

#[tokio::test]
async fn each_scope_opens_what_it_names() {
    let door = open().await;
    let mut keys = Vec::new();
    for scope in Scope::ALL {
        keys.push((*scope, door.key(&[scope.as_str()]).await));
    }
    for operation in operations(&door).await {
        for (scope, key) in &keys {
            let (status, text) = operation.ask(&door, key).await;
            let of = format!("{} with {scope}: {status} {text}", operation.row.operation);
            if scope.covers(operation.row.scope) {
                assert!(operation.is_open(status, &text), "{of}");
            } else {
                let problem: Value = serde_json::from_str(&text).unwrap();
                assert_eq!((status, problem["code"].as_str()), (403, Some("forbidden")), "{of}");
                assert!(text.contains(operation.row.scope.as_str()), "{of}");
            }
        }
    }
}

#[tokio::test]
async fn a_bound_key_knows_only_its_calls() {
    let door = open().await;
    let time = |text: &str| Some(text.parse().unwrap());
    let number = |text: &str| Some(text.to_owned());
    let inside = [
        CallBounds { direction: Some(Direction::Inbound), ..CallBounds::default() },
        CallBounds { number_prefix: number("+1555010000"), ..CallBounds::default() },
        CallBounds { from: time("2026-01-05T10:00:00Z"), to: time("2026-01-05T10:00:01Z"), ..CallBounds::default() },
    ];
    let outside = [
        CallBounds { direction: Some(Direction::Outbound), ..CallBounds::default() },
        CallBounds { number_prefix: number("+49"), ..CallBounds::default() },
        CallBounds { number_prefix: number("1555"), ..CallBounds::default() },
        CallBounds { from: time("2026-01-05T10:00:01Z"), ..CallBounds::default() },
        CallBounds { to: time("2026-01-05T10:00:00Z"), ..CallBounds::default() },
        CallBounds { direction: Some(Direction::Inbound), number_prefix: number("+49"), ..CallBounds::default() },
    ];
    for operation in operations(&door).await {
        let Row { operation: of, scope, reach, .. } = operation.row;
        if *reach == Reach::Administration {
            continue;
        }
        for (bounds, is_inside) in inside.iter().map(|one| (one, true)).chain(outside.iter().map(|one| (one, false))) {
            let key = door.bound_key(&[scope.as_str()], bounds).await;
            let (status, text) = operation.ask(&door, &key).await;
            let of = format!("{of} within {bounds:?}: {status} {text}");
            let is_hidden = status == 404 && text.contains("_not_found\"");
            assert_eq!(is_hidden, *reach == Reach::One && !is_inside, "{of}");
            assert!(is_hidden || operation.is_open(status, &text), "{of}");
            let names_it = text.contains(CALL) || text.contains("call-0001");
            assert!(names_it == is_inside || *reach != Reach::List, "{of}");
            assert!(!names_it || is_inside, "{of}");
        }
    }
}
