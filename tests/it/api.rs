//! The read-only API, its keys, health and the document.

use std::time::Duration;

use goto_automation::model::ApiKey;
use goto_automation::store;
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::{FrontDoor, SECRET, answer, fixture, read};

const CALLS: &str = "calls:read";
const TRANSCRIPTS: &str = "transcripts:read";

async fn run(db: &PgPool, statement: &'static str) {
    sqlx::raw_sql(statement).execute(db).await.unwrap();
}

/// A call that has been all the way through.
const FINISHED: &str = r#"
    INSERT INTO calls (id, source, external_id, state, direction, caller_name, caller_number, called_number, started_at,
        ended_at, duration_seconds, recording, run)
    VALUES ('019b0000-0000-7000-8000-000000000001', 'signed', 'call-0001', 'completed', 'inbound', 'Example Caller',
        '+15550100002', '+15550100001', '2026-01-05T10:00:00Z', '2026-01-05T10:04:08Z', 248, 'available', 2);
    INSERT INTO call_summaries (call_id, run, transcript, summary, statements, sentiment, urgency, topics)
    VALUES ('019b0000-0000-7000-8000-000000000001', 1, '{"language":"en","timing":"estimated","segments":[
                {"speaker":"agent","start_ms":0,"end_ms":4100,"text":"Hello."},
                {"speaker":"customer","start_ms":4200,"end_ms":5000,"text":"Hi."}]}',
            'Old.', '[]', 'mixed', 1, '{}'),
           ('019b0000-0000-7000-8000-000000000001', 2, NULL, 'A charge came twice.',
            '[{"text":"A charge came twice.","evidence":[1],"supported":true}]', 'neutral', 3, '{billing}');
    INSERT INTO action_items (id, call_id, run, position, text, owner, due_at, evidence, supported, current)
    VALUES ('019b0000-0000-7000-8000-00000000000a', '019b0000-0000-7000-8000-000000000001', 1, 0, 'Old', NULL, NULL,
            '{}', false, false),
           ('019b0000-0000-7000-8000-00000000000b', '019b0000-0000-7000-8000-000000000001', 2, 0, 'Refund it', 'Dana',
            '2026-01-06T12:00:00Z', '{0,1}', true, true);
    INSERT INTO deliveries (id, call_id, channel, destination, round, state, updated_at)
    VALUES ('019b0000-0000-7000-8000-00000000000c', '019b0000-0000-7000-8000-000000000001', 'slack', '#calls', 1, 'sent',
            '2026-01-05T10:05:00.25Z');
    INSERT INTO job_attempts (job_id, attempt, call_id, step, worker, token, started_at, ended_at, outcome, model,
        audio_seconds, input_tokens, cost_micro_units)
    VALUES (1, 1, '019b0000-0000-7000-8000-000000000001', 'transcribe', 'w', 1, '2026-01-05T10:04:10Z', now(), 'retry',
            'ear', 1, 0, 100),
           (1, 2, '019b0000-0000-7000-8000-000000000001', 'transcribe', 'w', 2, '2026-01-05T10:04:20Z', now(),
            'completed', 'ear', 40, 0, 4000),
           (2, 1, '019b0000-0000-7000-8000-000000000001', 'analyze', 'w', 3, '2026-01-05T10:04:30Z', now(), 'completed',
            'mind', 0, 70, 1100);
"#;

#[tokio::test]
async fn a_finished_call_has_everything() {
    let door = FrontDoor::open().await;
    run(door.pool(), FINISHED).await;
    let key = door.key(&[CALLS, TRANSCRIPTS]).await;
    let id = "019b0000-0000-7000-8000-000000000001";
    let mut expected = json!({
        "id": id, "external_id": "call-0001", "state": "completed", "state_reason": null, "waiting_until": null,
        "direction": "inbound", "caller": {"name": "Example Caller", "number": "+15550100002"},
        "called": {"name": null, "number": "+15550100001"}, "started_at": "2026-01-05T10:00:00Z",
        "ended_at": "2026-01-05T10:04:08Z", "duration_seconds": 248, "recording": "available",
        "summary": "A charge came twice.", "sentiment": "neutral", "urgency": 3, "topics": ["billing"],
        "cost": {"micro_units": 5200, "currency": "USD", "waste_micro_units": 100, "steps": [
                {"step": "transcribe", "micro_units": 4100, "waste_micro_units": 100},
                {"step": "analyze", "micro_units": 1100, "waste_micro_units": 0}],
            "unpriced_models": [], "unmeasured_models": []},
    });
    let (status, list) = door.ask(&key, "/api/calls/").await;
    let mut listed = expected.clone();
    listed["matches"] = json!([]);
    assert_eq!((status, list), (200, json!({"items": [listed], "next_cursor": null, "ranked": null})));

    expected["statements"] = json!([{"text": "A charge came twice.", "evidence": [1], "supported": true}]);
    expected["action_items"] = json!([{"id": "019b0000-0000-7000-8000-00000000000b", "text": "Refund it",
        "owner": "Dana", "due_at": "2026-01-06T12:00:00Z", "state": "open", "evidence": [0, 1], "supported": true}]);
    expected["deliveries"] =
        json!([{"channel": "slack", "to": "#calls", "state": "sent", "at": "2026-01-05T10:05:00.250Z"}]);
    expected["models"] = json!({"transcription": null, "analysis": null});
    expected["versions"] = Value::Null;
    let (status, mut call) = door.ask(&key, &format!("/api/calls/{id}/")).await;
    let versions = call["versions"].take();
    assert_eq!((status, call), (200, expected));
    assert_eq!((&versions[0]["run"], &versions[1]["run"]), (&json!(2), &json!(1)));

    let transcript = json!({"call_id": id, "language": "en", "timing": "estimated", "segments": [
        {"index": 0, "speaker": "agent", "start_ms": 0, "end_ms": 4100, "text": "Hello.", "cited": true},
        {"index": 1, "speaker": "customer", "start_ms": 4200, "end_ms": 5000, "text": "Hi.", "cited": true}]});
    assert_eq!(door.ask(&key, &format!("/api/calls/{id}/transcript")).await, (200, transcript));
}

#[tokio::test]
async fn a_fresh_call_says_what_is_not_known_yet() {
    let door = FrontDoor::open().await;
    let key = door.key(&[CALLS, TRANSCRIPTS]).await;
    let (_, receipt) = door.send(&fixture("mock_call")).await;
    let id = receipt["call_id"].as_str().unwrap();
    let (_, call) = door.ask(&key, &format!("/api/calls/{id}")).await;
    assert_eq!((&call["state"], &call["recording"]), (&json!("processing"), &json!("pending")));
    assert_eq!((&call["summary"], &call["action_items"]), (&Value::Null, &json!([])));
    assert_eq!(call["cost"]["micro_units"], 0, "so far");
    let (status, problem) = door.ask(&key, &format!("/api/calls/{id}/transcript")).await;
    assert_eq!((status, problem["code"].as_str()), (404, Some("no_transcript")));

    let (_, receipt) = door.send(&fixture("no_recording")).await;
    let path = format!("/api/calls/{}/transcript", receipt["call_id"].as_str().unwrap());
    assert!(door.ask(&key, &path).await.1["detail"].as_str().unwrap().contains("no recording"));
}

#[tokio::test]
async fn every_bad_key_gets_the_same_answer() {
    let door = FrontDoor::open().await;
    let revoked = door.key(&[CALLS]).await;
    run(door.pool(), "UPDATE api_keys SET revoked_at = now()").await;
    let expired = door.key(&[CALLS]).await;
    sqlx::query("UPDATE api_keys SET expires_at = now() WHERE prefix = $1")
        .bind(expired.prefix())
        .execute(door.pool())
        .await
        .unwrap();
    let unknown = ApiKey::generate();
    let request = || door.get("/api/calls/");
    let mut answers = Vec::new();
    for request in [
        request(),
        request().header("Authorization", "Bearer"),
        request().header("Authorization", "Bearer nonsense"),
        request().header("Authorization", format!("Basic {}", revoked.expose())),
        request().bearer_auth(&revoked.expose()[..60]),
        request().bearer_auth(unknown.expose()),
        request().bearer_auth(revoked.expose()),
        request().bearer_auth(expired.expose()),
        door.get(&format!("/api/calls/?api_key={}", door.key(&[CALLS]).await.expose())),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        let (status, mut problem) = read(response).await;
        assert_eq!((status, problem["code"].as_str()), (401, Some("unauthorized")));
        problem["request_id"] = Value::Null;
        answers.push(problem);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
}

#[tokio::test]
async fn a_key_opens_what_its_scopes_name() {
    let door = FrontDoor::open().await;
    let key = door.key(&[CALLS]).await;
    let id = Uuid::now_v7();
    assert_eq!(door.ask(&key, "/api/calls").await.0, 200);
    let (status, problem) = door.ask(&key, &format!("/api/calls/{id}/transcript")).await;
    assert_eq!((status, problem["code"].as_str()), (403, Some("forbidden")));
    assert!(problem["detail"].as_str().unwrap().contains(TRANSCRIPTS));
    let (status, problem) = door.ask(&key, &format!("/api/calls/?key={}", key.expose())).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("key_in_query")));
    assert!(!problem.to_string().contains(key.expose()));
    let (status, problem) = door.ask(&key, &format!("/api/calls/{}/transcript", key.expose())).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("key_in_query")), "in the path it is no better");

    // In the background, so not at once.
    let noted = async {
        while door.count("SELECT count(*) FROM api_keys WHERE last_used_at IS NOT NULL").await == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), noted).await.expect("the use of the key is noted");
}

#[tokio::test]
async fn pages_follow_one_another_without_gaps() {
    let door = FrontDoor::open().await;
    let key = door.key(&[CALLS]).await;
    // Two calls share each start, so that the id decides between them.
    run(
        door.pool(),
        "INSERT INTO calls (id, source, external_id, direction, recording, started_at)
         SELECT gen_random_uuid(), 'signed', 'c' || i, 'inbound', 'none', timestamptz '2026-01-05' + i / 2 * interval '1 hour'
         FROM generate_series(0, 9) i",
    )
    .await;
    let (_, all) = door.ask(&key, "/api/calls/?limit=200").await;
    assert_eq!((all["items"].as_array().unwrap().len(), &all["next_cursor"]), (10, &Value::Null));
    let (mut seen, mut path) = (Vec::new(), "/api/calls/?limit=3".to_owned());
    loop {
        let (status, page) = door.ask(&key, &path).await;
        assert_eq!(status, 200, "{page}");
        seen.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/calls/?limit=3&cursor={cursor}");
    }
    assert_eq!(json!(seen), all["items"]);

    let (_, page) = door.ask(&key, "/api/calls/?limit=2&state=processing").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    for path in ["?state=failed&cursor=", "?cursor=", "?state=processing&cursor=x"] {
        let (status, problem) = door.ask(&key, &format!("/api/calls/{path}{cursor}")).await;
        assert_eq!((status, problem["code"].as_str()), (400, Some("bad_cursor")), "{path}");
    }
}

#[rstest]
#[case("external_id=call-0001", 1)]
#[case("external_id=call-0002", 0)]
#[case("state=completed", 1)]
#[case("state=failed", 0)]
#[case("from=2026-01-05T10:00:00Z&to=2026-01-05T10:00:01Z", 1)]
#[case("from=2026-01-05T11:00:00%2B01:00", 1)]
#[case("from=2026-01-06", 0)]
#[case("to=2026-01-05T10:00:00Z", 0)]
#[tokio::test]
async fn filters_choose(#[case] query: &str, #[case] count: usize) {
    let door = FrontDoor::open().await;
    run(door.pool(), FINISHED).await;
    let (status, page) = door.ask(&door.key(&[CALLS]).await, &format!("/api/calls/?{query}")).await;
    assert_eq!((status, page["items"].as_array().map(Vec::len)), (200, Some(count)), "{page}");
}

#[rstest]
#[case("/api/calls/?status=failed", 400, "unknown_parameter", "`state`")]
#[case("/api/calls/?state=Failed", 400, "bad_parameter", "`state` is wrong: expected one of `processing`")]
#[case("/api/calls/?limit=0", 400, "bad_parameter", "at least 1")]
#[case("/api/calls/?limit=201", 400, "bad_parameter", "at most 200")]
#[case("/api/calls/?limit=many", 400, "bad_parameter", "a whole number")]
#[case("/api/calls/?limit=1&limit=2", 400, "bad_parameter", "twice")]
#[case("/api/calls/?from=yesterday", 400, "bad_parameter", "a time such as 2026-01-05T10:00:00Z.")]
#[case("/api/calls/?from=2026-02-01&to=2026-01-01", 400, "bad_parameter", "`to` is wrong: expected a time that is not")]
#[case("/api/calls/?external_id=%00", 400, "bad_parameter", "NUL")]
#[case("/api/calls/not-an-id", 400, "bad_parameter", "`id` is wrong: expected an id such as")]
#[case("/api/calls/019b0000-0000-7000-8000-000000000009", 404, "call_not_found", "no call")]
#[case("/api/calls/019b0000-0000-7000-8000-000000000009?x=1", 400, "unknown_parameter", "no parameters")]
#[case("/api/nothing", 404, "not_found", "nothing at this address")]
#[case("/nothing", 404, "not_found", "nothing at this address")]
#[tokio::test]
async fn bad_questions_get_a_hint(#[case] path: &str, #[case] status: u16, #[case] code: &str, #[case] hint: &str) {
    let door = FrontDoor::open().await;
    let (got, problem) = door.ask(&door.key(&[CALLS]).await, path).await;
    assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{problem}");
    assert!(problem.to_string().contains(hint), "{problem}");
}

#[tokio::test]
async fn health_tells_of_every_part() {
    let door = FrontDoor::open().await;
    let (status, health) = answer(door.get("/health/")).await;
    assert_eq!((status, health["status"].as_str()), (200, Some("ok")));
    let parts: Vec<_> = health["components"].as_object().unwrap().iter().collect();
    let state = |name: &str| parts.iter().find(|(part, _)| *part == name).unwrap().1["status"].clone();
    assert_eq!(parts.len(), 8);
    for (name, expected) in [("database", "ok"), ("queue", "ok"), ("storage", "ok"), ("goto", "off"), ("slack", "off")]
    {
        assert_eq!(state(name), expected, "{name}");
    }
    run(
        door.pool(),
        "INSERT INTO jobs (step, call_id, run_at) VALUES ('x', gen_random_uuid(), now() - interval '2 minutes')",
    )
    .await;
    let (status, health) = answer(door.get("/health")).await;
    assert_eq!((status, health["status"].as_str()), (200, Some("degraded")));
    assert_eq!(health["components"]["queue"]["status"], "degraded");
    assert_eq!(answer(door.get("/health/live")).await, (200, json!({"status": "ok"})));
}

#[tokio::test]
async fn ready_means_that_the_database_is_there_and_up_to_date() {
    let door = FrontDoor::open().await;
    store::migrations::apply(door.pool()).await.unwrap();
    assert_eq!(answer(door.get("/health/ready")).await, (200, json!({"status": "ok"})));
    run(door.pool(), "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)").await;
    let (status, problem) = answer(door.get("/health/ready")).await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("not_ready")));
    assert!(problem["detail"].as_str().unwrap().contains("migrate"));
}

#[tokio::test]
async fn without_a_database_everybody_hears_so_and_the_process_lives() {
    let gone = PgPoolOptions::new().connect_lazy("postgres://127.0.0.1:1/none").unwrap();
    let door = FrontDoor::on(gone, &[SECRET]).await;
    let (health, ready, live) =
        tokio::join!(answer(door.get("/health")), answer(door.get("/health/ready")), answer(door.get("/health/live")));
    assert_eq!((health.0, health.1["status"].as_str()), (503, Some("down")));
    assert_eq!(health.1["components"]["database"]["status"], "down");
    assert_eq!((ready.0, live.0), (503, 200));
    let (status, problem) = door.ask(&ApiKey::generate(), "/api/calls/").await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("database_unavailable")));
}

#[tokio::test]
async fn the_document_is_open_to_everybody() {
    let door = FrontDoor::open().await;
    let (status, document) = answer(door.get("/openapi.json")).await;
    assert_eq!(status, 200);
    assert!(document["paths"]["/api/calls/{id}/transcript"]["get"].is_object());
}
