//! What hangs on one call: its transcript in several forms, its timeline, its recording, and running it again.

use std::collections::HashMap;

use goto_automation::model::{Actor, ApiKey};
use goto_automation::pipeline::operate;
use goto_automation::queue;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{FrontDoor, answer, read};

const ID: &str = "019b0000-0000-7000-8000-000000000001";
const OTHER: &str = "019b0000-0000-7000-8000-000000000009";

/// A call that has been all the way through, and its recording `0123456789`.
const CALL: &str = r#"
    INSERT INTO calls (id, source, external_id, state, direction, caller_number, started_at, recording, recording_url)
    VALUES ('019b0000-0000-7000-8000-000000000001', 'signed', 'call-0001', 'completed', 'inbound', '+15550100002',
        '2026-01-05T10:00:00Z', 'available', 'https://recordings.example.com/1.wav');
    INSERT INTO webhook_events (id, source, received_at, body, verdict, call_id)
    VALUES (gen_random_uuid(), 'signed', '2026-01-05T10:05:00Z', '', 'accepted', '019b0000-0000-7000-8000-000000000001');
    INSERT INTO call_summaries (call_id, run, transcript, transcribed_with, summary, statements, sentiment, urgency,
        topics, analyzed_with, prompt_version)
    VALUES ('019b0000-0000-7000-8000-000000000001', 1, '{"language":"en","timing":"estimated","segments":[
                {"speaker":"agent","start_ms":0,"end_ms":4100,"text":"Hello."},
                {"speaker":"customer","start_ms":4200,"end_ms":5000,"text":"Hi."}]}', 'ear',
            'They met.', '[{"text":"They met.","evidence":[1],"supported":true}]', 'neutral', 1, '{}', 'mind', '7');
    INSERT INTO recordings (id, call_id, path, sha256, bytes, media_type)
    VALUES (gen_random_uuid(), '019b0000-0000-7000-8000-000000000001', 'ab/abcd.wav', 'abcd', 10, 'audio/wav');
    INSERT INTO jobs (step, call_id, state, starts, reason, created_at, finished_at)
    OVERRIDING SYSTEM VALUE
    VALUES ('transcribe', '019b0000-0000-7000-8000-000000000001', 'completed', 2, NULL, '2026-01-05T10:05:00Z', now()),
           ('notify', '019b0000-0000-7000-8000-000000000001', 'available', 0, 'It is night.', now(), NULL);
    INSERT INTO job_attempts (job_id, attempt, call_id, step, worker, token, started_at, ended_at, outcome, error_class,
        message, request_id, model, cost_micro_units)
    SELECT id, 1, call_id, step, 'w1', 1, timestamptz '2026-01-05T10:06:00Z', timestamptz '2026-01-05T10:06:09Z', 'retry',
        'timeout', 'The server is slow.', 'req-1', NULL, 0 FROM jobs WHERE step = 'transcribe' UNION ALL
    SELECT id, 2, call_id, step, 'w2', 2, timestamptz '2026-01-05T10:07:00Z', timestamptz '2026-01-05T10:07:09Z', 'completed',
        NULL, NULL, 'req-2', 'ear', 4000 FROM jobs WHERE step = 'transcribe';
    INSERT INTO deliveries (id, call_id, channel, destination, round, state, updated_at)
    VALUES (gen_random_uuid(), '019b0000-0000-7000-8000-000000000001', 'slack', '#calls', 1, 'sent', '2026-01-05T10:09:00Z');
    INSERT INTO audit_log (at, actor, action, object, affected, result)
    SELECT timestamptz '2026-01-05T10:08:00Z', 'dana@desk', 'jobs.retry', 'job ' || id, 1, 'done' FROM jobs WHERE step = 'transcribe';
"#;

async fn open() -> FrontDoor {
    let door = FrontDoor::open().await;
    run(door.pool(), CALL).await;
    std::fs::create_dir(door.store().join("ab")).unwrap();
    std::fs::write(door.store().join("ab/abcd.wav"), "0123456789").unwrap();
    door
}

async fn run(db: &PgPool, statement: &'static str) {
    sqlx::raw_sql(statement).execute(db).await.unwrap();
}

async fn get(door: &FrontDoor, key: &ApiKey, path: &str, headers: &[(&str, &str)]) -> Response {
    let request = headers
        .iter()
        .fold(door.get(path).bearer_auth(key.expose()), |request, (name, value)| request.header(*name, *value));
    request.send().await.unwrap()
}

/// Lines of the audit log: action and object.
async fn written(door: &FrontDoor) -> Vec<(String, String)> {
    sqlx::query_as("SELECT action, object FROM audit_log WHERE actor <> 'dana@desk' ORDER BY id")
        .fetch_all(door.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_transcript_comes_in_the_form_that_is_wanted() {
    let door = open().await;
    let key = door.key(&["transcripts:read"]).await;
    let path = format!("/api/calls/{ID}/transcript");
    let (_, transcript) = door.ask(&key, &path).await;
    let cited: Vec<&Value> =
        transcript["segments"].as_array().unwrap().iter().map(|segment| &segment["cited"]).collect();
    assert_eq!(cited, [false, true]);
    for (format, kind, begins) in [
        ("txt", "text/plain; charset=utf-8", "[00:00:00] agent: Hello.\n"),
        ("srt", "application/x-subrip", "1\n00:00:00,000 --> 00:00:04,100\nagent: Hello.\n"),
        ("vtt", "text/vtt; charset=utf-8", "WEBVTT\n\n00:00:00.000 --> 00:00:04.100\n<v agent>Hello.\n"),
    ] {
        let accept = kind.split(';').next().unwrap();
        let by_name = get(&door, &key, &format!("{path}?format={format}"), &[]).await;
        let by_header = get(&door, &key, &path, &[("accept", accept)]).await;
        for response in [by_name, by_header] {
            assert_eq!((response.status().as_u16(), response.headers()["content-type"].to_str().unwrap()), (200, kind));
            assert_eq!(response.headers()["vary"].to_str().unwrap().split(',').next(), Some("Accept"));
            assert!(response.text().await.unwrap().starts_with(begins), "{format}");
        }
    }
    let (status, problem) = door.ask(&key, &format!("{path}?format=pdf")).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("bad_parameter")));
    assert_eq!(written(&door).await, vec![("transcripts.view".to_owned(), format!("call {ID}")); 7]);
}

#[tokio::test]
async fn a_call_names_its_models_and_versions() {
    let door = open().await;
    let (_, call) = door.ask(&door.key(&["calls:read"]).await, &format!("/api/calls/{ID}")).await;
    assert_eq!(call["models"], json!({"transcription": "ear", "analysis": "mind"}));
    assert_eq!((&call["versions"][0]["run"], &call["versions"][0]["prompt_version"]), (&json!(1), &json!("7")));
}

#[tokio::test]
async fn a_timeline_tells_everything_in_order() {
    let door = open().await;
    let (status, timeline) = door.ask(&door.key(&["calls:read"]).await, &format!("/api/calls/{ID}/timeline")).await;
    assert_eq!((status, &timeline["call_id"]), (200, &json!(ID)));
    let items = timeline["items"].as_array().unwrap();
    let told: Vec<_> = items
        .iter()
        .map(|line| ["kind", "name", "outcome", "who"].map(|field| line[field].as_str().unwrap_or("-")))
        .collect();
    let expected = [
        ["event", "signed", "accepted", "-"],
        ["attempt", "transcribe", "retry", "w1"],
        ["attempt", "transcribe", "completed", "w2"],
        ["act", "jobs.retry", "done", "dana@desk"],
        ["delivery", "slack", "sent", "#calls"],
        ["wait", "notify", "waiting", "-"],
    ];
    assert_eq!(told, expected);
    let [retry, done, wait] = [&items[1], &items[2], &items[5]];
    assert_eq!((&retry["error_class"], &retry["detail"]), (&json!("timeout"), &json!("The server is slow.")));
    assert_eq!((&retry["attempt"], &retry["ended_at"]), (&json!(1), &json!("2026-01-05T10:06:09Z")));
    assert_eq!((&done["model"], &done["cost_micro_units"]), (&json!("ear"), &json!(4000)));
    assert_eq!((&wait["detail"], &wait["run"], &wait["ended_at"]), (&json!("It is night."), &json!(1), &Value::Null));
}

#[tokio::test]
async fn a_timeline_has_every_act_of_a_person() {
    let door = open().await;
    run(
        door.pool(),
        "INSERT INTO action_items (id, call_id, run, position, text, evidence, supported)
         VALUES ('019b0000-0000-7000-8000-00000000000b', '019b0000-0000-7000-8000-000000000001', 1, 0, 'Refund', '{}', true)",
    )
    .await;
    let key = door.key(&["calls:read", "actions:write", "jobs:operate"]).await;
    let complete = "/api/actions/019b0000-0000-7000-8000-00000000000b/complete";
    assert_eq!(answer(door.request(Method::POST, complete).bearer_auth(key.expose())).await.0, 200);
    // On many jobs at once: the log says how they were chosen, not which.
    let (db, filter) = (door.pool(), queue::JobFilter { step: Some("notify".into()), limit: 10, ..Default::default() });
    let ids: Vec<i64> = queue::list(db, &filter).await.unwrap().iter().map(|job| job.id).collect();
    let chosen = queue::choose_these(db, &ids).await.unwrap();
    let actor = Actor { name: "dana@desk".to_owned(), request_id: None, address: None };
    let act = queue::Act::Prioritize(5);
    operate::act(db, &queue::Waker::default(), &actor, &act, &chosen, "those of notify").await.unwrap();
    order(&door, &key, &json!({"from": "analyze"}), &HashMap::new()).await;

    let (_, timeline) = door.ask(&key, &format!("/api/calls/{ID}/timeline")).await;
    let items = timeline["items"].as_array().unwrap();
    let acts: Vec<&str> =
        items.iter().filter(|line| line["kind"] == "act").map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(acts, ["jobs.retry", "actions.complete", "jobs.prioritize", "calls.rerun"]);
}

/// What was said is said anew: until it is analyzed, nothing points at it.
#[tokio::test]
async fn evidence_of_an_earlier_transcript_points_nowhere() {
    let door = open().await;
    run(
        door.pool(),
        r#"INSERT INTO action_items (id, call_id, run, position, text, evidence, supported)
           VALUES (gen_random_uuid(), '019b0000-0000-7000-8000-000000000001', 1, 0, 'Refund', '{0}', true);
           INSERT INTO call_summaries (call_id, run, transcript, transcribed_with)
           VALUES ('019b0000-0000-7000-8000-000000000001', 2, '{"language":"en","timing":"estimated","segments":[
                {"speaker":"customer","start_ms":0,"end_ms":4100,"text":"Hi?"},
                {"speaker":"agent","start_ms":4200,"end_ms":5000,"text":"Hello, hello."}]}', 'ear')"#,
    )
    .await;
    let key = door.key(&["transcripts:read"]).await;
    let (_, transcript) = door.ask(&key, &format!("/api/calls/{ID}/transcript")).await;
    let segments = transcript["segments"].as_array().unwrap();
    assert_eq!(segments[1]["text"], "Hello, hello.");
    assert!(segments.iter().all(|segment| segment["cited"] == false), "{transcript}");
}

#[tokio::test]
async fn a_recording_is_heard_whole_or_in_parts() {
    let door = open().await;
    let key = door.key(&["recordings:read"]).await;
    let path = format!("/api/calls/{ID}/recording");
    for (headers, status, body, range) in [
        (&[][..], 200, "0123456789", None),
        (&[("range", "bytes=2-4")], 206, "234", Some("bytes 2-4/10")),
        (&[("range", "bytes=7-")], 206, "789", Some("bytes 7-9/10")),
        (&[("range", "bytes=-2")], 206, "89", Some("bytes 8-9/10")),
        (&[("range", "bytes=2-4"), ("if-range", "\"abcd\"")], 206, "234", Some("bytes 2-4/10")),
        (&[("range", "bytes=2-4"), ("if-range", "\"other\"")], 200, "0123456789", None),
    ] {
        let response = get(&door, &key, &path, headers).await;
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!((response.status().as_u16(), header("content-range").as_deref()), (status, range), "{headers:?}");
        assert_eq!(header("content-type").as_deref(), Some("audio/wav"));
        assert_eq!(header("accept-ranges").as_deref(), Some("bytes"));
        assert_eq!(header("content-length"), Some(body.len().to_string()));
        assert_eq!(response.text().await.unwrap(), body);
    }
    for range in ["bytes=2-4", "bytes=10-"] {
        let known = get(&door, &key, &path, &[("range", range), ("if-none-match", "\"abcd\"")]).await;
        assert_eq!(
            (known.status().as_u16(), &known.headers()["etag"].to_str().unwrap()),
            (304, &"\"abcd\""),
            "{range}"
        );
        assert!(!known.headers().contains_key("content-range") && known.bytes().await.unwrap().is_empty());
    }
    let response = get(&door, &key, &path, &[("range", "bytes=10-")]).await;
    assert_eq!(response.headers()["content-range"], "bytes */10");
    let (status, problem) = read(response).await;
    assert_eq!((status, problem["code"].as_str()), (416, Some("no_such_range")));
    assert_eq!(written(&door).await, vec![("recordings.view".to_owned(), format!("call {ID}")); 8]);
}

#[tokio::test]
async fn a_recording_that_is_not_there_says_why() {
    let door = open().await;
    let key = door.key(&["recordings:read"]).await;
    let path = format!("/api/calls/{ID}/recording");
    for (state, reason) in [("none", "not recorded"), ("pending", "later"), ("expired", "age"), ("erased", "erased")] {
        sqlx::query("UPDATE calls SET recording = $1").bind(state).execute(door.pool()).await.unwrap();
        let (status, problem) = door.ask(&key, &path).await;
        assert_eq!((status, problem["code"].as_str()), (404, Some("no_recording")));
        assert!(problem["detail"].as_str().unwrap().contains(reason), "{problem}");
        let (status, no_link) = door.ask(&key, &format!("{path}/link")).await;
        assert_eq!((status, &no_link["detail"]), (404, &problem["detail"]));
    }
    run(door.pool(), "UPDATE calls SET recording = 'pending', state = 'failed', state_reason = 'The link is over.'")
        .await;
    assert!(door.ask(&key, &path).await.1["detail"].as_str().unwrap().ends_with("downloaded: The link is over."));
    run(door.pool(), "UPDATE calls SET recording = 'available'").await;
    std::fs::remove_file(door.store().join("ab/abcd.wav")).unwrap();
    let (status, problem) = door.ask(&key, &path).await;
    assert_eq!((status, problem["code"].as_str()), (404, Some("no_recording")), "{problem}");
    assert_eq!(door.ask(&key, &format!("/api/calls/{OTHER}/recording")).await.0, 404);
}

#[tokio::test]
async fn a_link_is_its_own_right() {
    let door = open().await;
    let key = door.key(&["recordings:read"]).await;
    let response = get(&door, &key, &format!("/api/calls/{ID}/recording/link"), &[]).await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    let (status, link) = read(response).await;
    assert_eq!(status, 200, "{link}");
    let path = link["path"].as_str().unwrap();
    let response = door.get(path).header("range", "bytes=0-1").send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (206, "01"));
    let actor: String = sqlx::query_scalar("SELECT actor FROM audit_log WHERE action = 'recordings.view'")
        .fetch_one(door.pool())
        .await
        .unwrap();
    assert_eq!(actor, format!("link of {}", key.prefix()));
    for wrong in [
        path.replace(ID, OTHER),
        path.replace("expires=1", "expires=2"),
        path[..path.len() - 1].to_owned(),
        path.split('?').next().unwrap().to_owned(),
    ] {
        let (status, problem) = answer(door.get(&wrong)).await;
        assert_eq!((status, problem["code"].as_str()), (404, Some("link_over")), "{wrong}");
    }
    let (status, _) = door.ask(&door.key(&["calls:read"]).await, &format!("/api/calls/{ID}/recording/link")).await;
    assert_eq!(status, 403);
    run(door.pool(), "UPDATE api_keys SET revoked_at = now()").await;
    let (status, problem) = answer(door.get(path)).await;
    assert_eq!((status, problem["code"].as_str()), (404, Some("link_over")), "it ends with its key");
}

async fn order(door: &FrontDoor, key: &ApiKey, body: &Value, headers: &HashMap<&str, &str>) -> (u16, Value) {
    let path = format!("/api/calls/{ID}/rerun");
    let request =
        door.request(Method::POST, &path).bearer_auth(key.expose()).header("content-type", "application/json");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    answer(request.body(body.to_string())).await
}

#[tokio::test]
async fn a_rerun_is_said_first_and_done_once() {
    let door = open().await;
    let key = door.key(&["jobs:operate"]).await;
    let none = HashMap::new();
    let plan = json!({"from": "analyze", "send_again": true, "dry_run": true});
    let (status, said) = order(&door, &key, &plan, &none).await;
    let sends = json!([{"channel": "slack", "to": "#calls", "possible_repeat": false}]);
    assert_eq!(
        (status, said),
        (
            200,
            json!({"call_id": ID, "run": null, "dry_run": true, "steps": ["analyze", "notify"],
        "sends": sends, "held": []})
        )
    );
    let (_, said) = order(&door, &key, &json!({"from": "analyze", "dry_run": true}), &none).await;
    assert_eq!(said["sends"], json!([]), "who has the message gets no second one");
    assert_eq!(door.count("SELECT count(*) FROM jobs WHERE run > 1").await, 0, "nothing was done");

    let once = HashMap::from([("idempotency-key", "rerun-1")]);
    let (status, done) = order(&door, &key, &json!({"from": "analyze"}), &once).await;
    assert_eq!((status, &done["run"], &done["dry_run"]), (202, &json!(2), &json!(false)));
    assert_eq!(order(&door, &key, &json!({"from": "analyze"}), &once).await, (202, done));
    assert_eq!(door.count("SELECT count(*) FROM jobs WHERE run > 1").await, 1);
    assert_eq!(door.count("SELECT count(*) FROM jobs WHERE run = 1 AND state = 'cancelled'").await, 1);
    assert_eq!(door.count("SELECT count(*) FROM call_summaries").await, 1, "earlier results are kept");
    assert_eq!(written(&door).await, [("calls.rerun".to_owned(), format!("call {ID}"))]);
    assert_eq!(order(&door, &key, &json!({"from": "transcribe"}), &once).await.0, 422);
}

#[tokio::test]
async fn a_plan_says_what_would_be_sent_and_what_would_not() {
    let door = open().await;
    let (key, none) = (door.key(&["jobs:operate"]).await, HashMap::new());
    let plan = json!({"from": "notify", "dry_run": true});
    run(door.pool(), "UPDATE deliveries SET state = 'unknown'").await;
    let (_, said) = order(&door, &key, &plan, &none).await;
    let again = json!([{"channel": "slack", "to": "#calls", "possible_repeat": true}]);
    assert_eq!((&said["sends"], &said["held"]), (&again, &json!([])), "sent once more, and says so");
    run(door.pool(), "UPDATE deliveries SET repeated = true").await;
    let (_, said) = order(&door, &key, &plan, &none).await;
    assert_eq!((&said["sends"], &said["held"]), (&json!([]), &again), "and not a third time");
    run(door.pool(), "UPDATE calls SET recording = 'none'").await;
    let (_, said) = order(&door, &key, &json!({"from": "notify", "send_again": true, "dry_run": true}), &none).await;
    assert_eq!(
        (&said["sends"], &said["held"]),
        (&json!([]), &json!([])),
        "nobody is told of calls without a recording"
    );
}

/// More than the database has connections.
#[tokio::test]
async fn many_reruns_at_once_do_not_wait_for_one_another() {
    let door = open().await;
    let key = door.key(&["jobs:operate"]).await;
    let calls: Vec<String> = (0..24).map(|_| uuid::Uuid::now_v7().to_string()).collect();
    for id in &calls {
        sqlx::query(
            "WITH call AS (INSERT INTO calls (id, source, external_id, state, direction, recording)
                           VALUES ($1::uuid, 'signed', $1, 'completed', 'inbound', 'available'))
             INSERT INTO call_summaries (call_id, run, transcript, transcribed_with)
             VALUES ($1::uuid, 1, '{\"language\":\"en\",\"timing\":\"estimated\",\"segments\":[]}', 'ear')",
        )
        .bind(id)
        .execute(door.pool())
        .await
        .unwrap();
    }
    let body = json!({"from": "analyze"}).to_string();
    let orders = calls.iter().map(|id| {
        let path = format!("/api/calls/{id}/rerun");
        let request = door.request(Method::POST, &path).bearer_auth(key.expose());
        answer(request.header("content-type", "application/json").body(body.clone()))
    });
    for (status, answer) in futures::future::join_all(orders).await {
        assert_eq!(status, 202, "{answer}");
    }
}

#[tokio::test]
async fn a_rerun_that_cannot_be_says_why() {
    let door = open().await;
    let (key, none) = (door.key(&["jobs:operate"]).await, HashMap::new());
    let (status, problem) = order(&door, &key, &json!({"from": "dream"}), &none).await;
    assert_eq!((status, problem["errors"][0]["field"].as_str()), (422, Some("from")), "{problem}");
    assert!(problem.to_string().contains("`download`, `transcribe`, `analyze`, `notify`"), "{problem}");
    run(door.pool(), "DELETE FROM recordings").await;
    let (status, problem) = order(&door, &key, &json!({"from": "transcribe"}), &none).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("cannot_rerun")), "{problem}");
    let refused =
        door.count("SELECT count(*) FROM audit_log WHERE action = 'calls.rerun' AND result = 'refused'").await;
    assert_eq!(refused, 1, "an attempt is an act");
    let absent = format!("/api/calls/{OTHER}/rerun");
    for (body, rows) in [(json!({"from": "analyze", "dry_run": true}), 1), (json!({"from": "analyze"}), 2)] {
        let (status, problem) = answer(door.request(Method::POST, &absent).bearer_auth(key.expose()).json(&body)).await;
        assert_eq!((status, problem["code"].as_str()), (404, Some("call_not_found")));
        let refused = "SELECT count(*) FROM audit_log WHERE action = 'calls.rerun' AND result = 'refused'";
        assert_eq!(door.count(refused).await, rows);
    }
    let (status, problem) = order(&door, &door.key(&["calls:read"]).await, &json!({"from": "analyze"}), &none).await;
    assert_eq!((status, problem["code"].as_str()), (403, Some("forbidden")));
    assert_eq!(door.count("SELECT count(*) FROM jobs WHERE run > 1").await, 0);
}
