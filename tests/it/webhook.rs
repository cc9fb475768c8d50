//! The signed webhook: what comes in, what is written, and what bad input gets.

use std::convert::Infallible;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt as _, stream};
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::support::{FrontDoor, SECRET, answer, fixture, read, sign};

/// What the sender is promised when the database is away.
const PROMISE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_call_is_recorded_with_its_body_and_its_first_job() {
    let door = FrontDoor::open().await;
    let (status, receipt) = door.send(&fixture("mock_call")).await;
    let id = receipt["call_id"].as_str().unwrap().to_owned();
    assert_eq!((status, receipt), (202, json!({"status": "accepted", "call_id": id, "external_id": "call-0001"})));

    let written: (Vec<u8>, String, String, String, i32, String) = sqlx::query_as(
        "SELECT e.body, e.verdict, c.recording, j.step, j.run, c.state
         FROM calls c JOIN webhook_events e ON e.call_id = c.id JOIN jobs j ON j.call_id = c.id WHERE c.id::text = $1",
    )
    .bind(&id)
    .fetch_one(door.pool())
    .await
    .unwrap();
    let [verdict, recording, step, state] = ["accepted", "pending", "download", "processing"].map(str::to_owned);
    assert_eq!(written, (fixture("mock_call"), verdict, recording, step, 1, state));
}

#[rstest]
#[case("mock_call", 202, "accepted", "download")]
#[case("no_recording", 202, "accepted", "notify")]
#[case("outbound", 202, "accepted", "download")]
#[case("string_caller", 202, "accepted", "download")]
#[case("unknown_direction", 202, "accepted", "download")]
#[case("time_without_zone", 202, "accepted", "download")]
#[case("extra_fields", 202, "accepted", "download")]
#[case("unknown_event", 202, "ignored", "")]
#[case("missing_call_id", 422, "data.call_id", "")]
#[case("wrong_types", 422, "data.call_id", "")]
#[case("not_an_object", 422, "body", "")]
#[case("nul_character", 422, "data.caller.name", "")]
#[case("too_deep", 422, "body", "")]
#[tokio::test]
async fn the_fixtures_get_what_their_table_says(
    #[case] name: &str,
    #[case] status: u16,
    #[case] verdict: &str,
    #[case] step: &str,
) {
    let door = FrontDoor::open().await;
    let (got, body) = door.send(&fixture(name)).await;
    assert_eq!(got, status, "{body}");
    let event: (Vec<u8>, String, Option<String>) =
        sqlx::query_as("SELECT body, verdict, detail FROM webhook_events").fetch_one(door.pool()).await.unwrap();
    assert_eq!(event.0, fixture(name), "the body is kept as it came");
    if status == 422 {
        assert_eq!((body["code"].as_str(), body["errors"][0]["field"].as_str()), (Some("invalid_body"), Some(verdict)));
        assert_eq!(event.1, "rejected");
        assert!(event.2.unwrap().starts_with(verdict));
    } else {
        assert_eq!((body["status"].as_str().unwrap(), event.1.as_str()), (verdict, verdict));
    }
    let steps: Vec<String> = sqlx::query_scalar("SELECT step FROM jobs").fetch_all(door.pool()).await.unwrap();
    assert_eq!(steps.join(","), step);
    if verdict == "ignored" {
        assert_eq!(body, json!({"status": "ignored", "call_id": null, "external_id": null}));
    }
}

#[tokio::test]
async fn every_bad_signature_gets_the_same_answer_and_no_database_work() {
    let door = FrontDoor::open().await;
    let body = fixture("mock_call");
    let good = sign(&body, SECRET);
    let mut answers = Vec::new();
    for values in [
        vec![],
        vec![String::new()],
        vec!["no hex at all".to_owned()],
        vec![sign(&body, "another secret of more than thirty-two bytes")],
        vec![sign(b"another body", SECRET)],
        vec![good.clone(), good.clone()],
        vec![format!("{good},{good}")],
        vec![format!("sha1={good}")],
        vec!["f".repeat(300)],
    ] {
        let mut request = door.post(body.clone());
        for value in &values {
            request = request.header("X-GoTo-Signature", value);
        }
        let (status, mut problem) = answer(request).await;
        assert_eq!((status, problem["code"].as_str()), (401, Some("invalid_signature")), "{values:?}");
        problem["request_id"] = Value::Null;
        answers.push(problem);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    assert_eq!(door.count("SELECT count(*) FROM webhook_events").await, 0);
}

#[tokio::test]
async fn a_bad_signature_needs_no_database() {
    let door =
        FrontDoor::on(PgPoolOptions::new().connect_lazy("postgres://127.0.0.1:1/none").unwrap(), &[SECRET]).await;
    assert_eq!(answer(door.post("{}")).await.0, 401);
}

#[tokio::test]
async fn either_secret_counts_while_rotating_and_without_one_the_door_is_shut() {
    let first = FrontDoor::open().await;
    let (old, new) = ("o".repeat(32), "n".repeat(32));
    let door = FrontDoor::on(first.pool().clone(), &[&old, &new]).await;
    let body = fixture("mock_call");
    for (secret, status) in [(old.as_str(), 202), (new.as_str(), 202), (SECRET, 401)] {
        let request = door.post(body.clone()).header("X-GoTo-Signature", sign(&body, secret));
        assert_eq!(answer(request).await.0, status);
    }
    let shut = FrontDoor::on(first.pool().clone(), &[]).await;
    let (status, problem) = answer(shut.post(body.clone()).header("X-GoTo-Signature", sign(&body, ""))).await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("webhook_off")));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_without_reading_it_all() {
    let door = FrontDoor::open().await;
    let refused = door.post(vec![b' '; (1 << 20) + 1]).send().await.unwrap();
    assert_eq!(refused.headers()["connection"], "close", "or the next webhook is sent on it, and lost");
    let (status, problem) = read(refused).await;
    assert_eq!((status, problem["code"].as_str()), (413, Some("body_too_large")));

    let sent = Arc::new(AtomicUsize::new(0));
    let (counter, chunk) = (sent.clone(), Bytes::from(vec![b' '; 64 << 10]));
    let endless = stream::repeat_with(move || {
        counter.fetch_add(chunk.len(), Ordering::Relaxed);
        Ok::<_, Infallible>(chunk.clone())
    });
    let (status, _) = answer(door.post(reqwest::Body::wrap_stream(endless.take(4_000)))).await;
    assert_eq!(status, 413);
    assert!(sent.load(Ordering::Relaxed) < 64 << 20, "of 250 MB");

    // In chunks, but within the limit.
    let body = fixture("mock_call");
    let chunks: Vec<_> = body.chunks(10).map(|chunk| Ok::<_, Infallible>(Bytes::copy_from_slice(chunk))).collect();
    let chunked = door.post(reqwest::Body::wrap_stream(stream::iter(chunks)));
    assert_eq!(answer(chunked.header("X-GoTo-Signature", sign(&body, SECRET))).await.0, 202);
}

#[rstest]
#[case("application/json", 202)]
#[case("application/json; charset=utf-8", 202)]
#[case("application/cloudevents+json", 202)]
#[case("text/plain", 415)]
#[case("application/x-www-form-urlencoded", 415)]
#[tokio::test]
async fn content_types(#[case] content_type: &str, #[case] status: u16) {
    let door = FrontDoor::open().await;
    let body = fixture("mock_call");
    let signed = door.post(body.clone()).header("X-GoTo-Signature", sign(&body, SECRET));
    assert_eq!(answer(signed.header("Content-Type", content_type)).await.0, status);
    let unsigned = door.post(body).header("Content-Type", content_type);
    assert_eq!(answer(unsigned).await.0, 401, "the signature is checked first");
    assert_eq!(door.count("SELECT count(*) FROM webhook_events").await, i64::from(status == 202));
}

#[tokio::test]
async fn a_hundred_at_once_are_one_call() {
    let door = FrontDoor::open().await;
    let body = fixture("mock_call");
    let receipts = join_all((0..100).map(|_| door.send(&body))).await;
    let accepted = receipts.iter().filter(|(_, receipt)| receipt["status"] == "accepted").count();
    let duplicates = receipts.iter().filter(|(_, receipt)| receipt["status"] == "duplicate").count();
    assert_eq!((accepted, duplicates), (1, 99));
    let (_, first) = &receipts[0];
    assert!(receipts.iter().all(|(status, receipt)| *status == 202 && receipt["call_id"] == first["call_id"]));
    assert_eq!(door.count("SELECT count(*) FROM calls").await, 1);
    assert_eq!(door.count("SELECT count(*) FROM jobs").await, 1);
    assert_eq!(door.count("SELECT count(*) FROM webhook_events WHERE verdict = 'duplicate'").await, 99);
}

#[tokio::test]
async fn a_later_body_may_bring_the_recording() {
    let door = FrontDoor::open().await;
    let (_, first) = door.send(&fixture("no_recording")).await;
    let mut body: Value = serde_json::from_slice(&fixture("no_recording")).unwrap();
    body["data"]["recording_url"] = json!("https://media.example.com/recordings/double-charge.wav");
    let body = body.to_string();
    let receipts = join_all((0..10).map(|_| door.send(body.as_bytes()))).await;
    for (status, receipt) in &receipts {
        assert_eq!((*status, &receipt["status"]), (202, &json!("duplicate")));
        assert_eq!(receipt["call_id"], first["call_id"]);
    }
    let call: (String, i32, String, bool) =
        sqlx::query_as("SELECT recording, run, state, recording_url LIKE 'https://media.example.com/%' FROM calls")
            .fetch_one(door.pool())
            .await
            .unwrap();
    assert_eq!(call, ("pending".to_owned(), 2, "processing".to_owned(), true));
    let jobs: Vec<(String, i32, String)> =
        sqlx::query_as("SELECT step, run, state FROM jobs ORDER BY id").fetch_all(door.pool()).await.unwrap();
    let job = |step: &str, run, state: &str| (step.to_owned(), run, state.to_owned());
    assert_eq!(jobs, [job("notify", 1, "cancelled"), job("download", 2, "available")]);
}

#[tokio::test]
async fn a_call_with_a_recording_takes_no_other() {
    let door = FrontDoor::open().await;
    door.send(&fixture("mock_call")).await;
    let mut body: Value = serde_json::from_slice(&fixture("mock_call")).unwrap();
    body["data"]["recording_url"] = json!("https://media.example.com/other.wav");
    assert_eq!(door.send(body.to_string().as_bytes()).await.1["status"], "duplicate");
    assert_eq!(door.count("SELECT count(*) FROM calls WHERE run = 1 AND recording_url NOT LIKE '%other%'").await, 1);
    assert_eq!(door.count("SELECT count(*) FROM jobs").await, 1);
}

async fn is_told_to_come_again(door: &FrontDoor) {
    let body = fixture("mock_call");
    let request = door.post(body.clone()).header("X-GoTo-Signature", sign(&body, SECRET));
    let response = timeout(PROMISE, request.send()).await.expect("an answer in time").unwrap();
    assert_eq!(response.headers()["retry-after"], "5");
    let (status, problem) = read(response).await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("database_unavailable")));
}

#[tokio::test]
async fn without_a_database_the_sender_is_told_to_come_again() {
    let refusing = PgPoolOptions::new().connect_lazy("postgres://127.0.0.1:1/none").unwrap();
    is_told_to_come_again(&FrontDoor::on(refusing, &[SECRET]).await).await;

    // One that takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("postgres://{}/none", listener.local_addr().unwrap());
    is_told_to_come_again(&FrontDoor::on(PgPoolOptions::new().connect_lazy(&silent).unwrap(), &[SECRET]).await).await;
}

#[tokio::test]
async fn what_takes_too_long_is_not_half_written() {
    let door = FrontDoor::open().await;
    let mut blocker = door.pool().begin().await.unwrap();
    // Before the event's and the job's rows, after the call's.
    sqlx::query("LOCK TABLE webhook_events, jobs").execute(&mut *blocker).await.unwrap();
    is_told_to_come_again(&door).await;
    blocker.rollback().await.unwrap();
    assert_eq!(door.send(&fixture("mock_call")).await.1["status"], "accepted", "nothing of the first try was kept");
    assert_eq!(door.count("SELECT count(*) FROM webhook_events").await, 1);
}

#[tokio::test]
async fn long_names_and_numbers_cost_no_call() {
    let door = FrontDoor::open().await;
    let words = (0..120_000).map(|word| format!("{word:x}")).collect::<Vec<_>>().join(" ");
    let mut body: Value = serde_json::from_slice(&fixture("mock_call")).unwrap();
    body["data"]["caller"] = json!({"name": words, "number": "5".repeat(3_000)});
    body["data"]["called"] = json!("7".repeat(3_000));
    let (status, receipt) = door.send(body.to_string().as_bytes()).await;
    assert_eq!((status, &receipt["status"]), (202, &json!("accepted")), "{receipt}");
    assert_eq!(door.count("SELECT count(*) FROM calls WHERE length(called_number) = 64").await, 1);
}

#[tokio::test]
async fn other_methods_are_named_and_a_slash_does_not_matter() {
    let door = FrontDoor::open().await;
    let response = door.get("/webhooks/goto/call-ended").send().await.unwrap();
    assert_eq!(response.headers()["allow"], "POST");
    assert_eq!(read(response).await.0, 405);
    assert_eq!(answer(door.get("/webhooks/health/")).await, (200, json!({"status": "ok"})));
    let body = fixture("mock_call");
    let url = format!("http://{}/webhooks/goto/call-ended/", door.address());
    let request = reqwest::Client::new().post(url).body(body.clone());
    assert_eq!(answer(request.header("X-GoTo-Signature", sign(&body, SECRET))).await.0, 202);
}

/// The design's own manual test, with the `openssl` program as a second implementation.
#[tokio::test]
async fn what_openssl_prints_is_taken_as_it_is() {
    let door = FrontDoor::open().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body.json");
    let body = fixture("mock_call");
    std::fs::write(&file, &body).unwrap();
    let openssl = |arguments: &str| {
        let command = format!("openssl {arguments}").replace("SECRET", SECRET);
        let output = Command::new("sh").arg("-c").arg(&command).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    for arguments in [
        "dgst -sha256 -hmac 'SECRET' body.json",
        "dgst -sha256 -hmac 'SECRET' < body.json",
        "dgst -sha256 -hmac 'SECRET' -r body.json",
        "dgst -sha256 -hmac 'SECRET' -r < body.json",
        "dgst -sha256 -mac HMAC -macopt 'key:SECRET' body.json",
        "mac -digest SHA256 -macopt 'key:SECRET' -in body.json HMAC",
    ] {
        let printed = openssl(arguments);
        let (status, problem) = answer(door.post(body.clone()).header("X-GoTo-Signature", &printed)).await;
        assert_eq!(status, 202, "{arguments} printed {printed}: {problem}");
    }
    for arguments in
        ["dgst -sha512 -hmac 'SECRET' body.json", "dgst -sha256 body.json", "dgst -sha256 -hmac x body.json"]
    {
        let printed = openssl(arguments);
        assert_eq!(answer(door.post(body.clone()).header("X-GoTo-Signature", &printed)).await.0, 401, "{arguments}");
    }
}
