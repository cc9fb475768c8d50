//! The stream of events: what changes is told once, in order, and nothing is missed.

use std::time::Duration;

use goto_automation::model::{ApiKey, CallBounds, Direction};
use goto_automation::store::changes;
use reqwest::header::HeaderValue;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{FrontDoor, answer, fixture};

const READ: &str = "calls:read";
const PATIENCE: Duration = Duration::from_secs(20);

/// A client's end of the stream.
struct Stream {
    response: Response,
    unread: String,
    last_id: String,
}

impl Stream {
    async fn open(door: &FrontDoor, key: &ApiKey, last_id: Option<&str>) -> Self {
        let mut request = door.get("/api/events").bearer_auth(key.expose());
        if let Some(id) = last_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, unread: String::new(), last_id: String::new() }
    }

    /// The next event: its kind and its data. `None` = the stream has ended.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((block, _)) = self.unread.split_once("\n\n") {
                let length = block.len() + 2;
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let (id, kind, data) = (field("id: "), field("event: "), field("data: "));
                self.unread.drain(..length);
                self.last_id = id.unwrap_or(self.last_id.clone());
                if let Some(data) = data {
                    let data: Value = serde_json::from_str(&data).unwrap();
                    assert_eq!(kind.as_deref(), data["kind"].as_str());
                    return Some(data);
                }
                continue;
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("something is sent");
            self.unread.push_str(std::str::from_utf8(&chunk.unwrap()?).unwrap());
        }
    }

    async fn until(&mut self, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if is(&event) {
                return event;
            }
        }
    }
}

async fn ring(door: &FrontDoor, name: &str) -> Value {
    let (status, receipt) = door.send(&fixture(name)).await;
    assert_eq!(status, 202, "{receipt}");
    receipt["call_id"].clone()
}

#[tokio::test]
async fn what_changes_is_told_and_a_broken_stream_goes_on() {
    let door = FrontDoor::open().await;
    let key = door.key(&[READ]).await;
    let mut stream = Stream::open(&door, &key, None).await;
    assert_eq!(stream.next().await.unwrap()["kind"], "ready");
    let call = ring(&door, "mock_call").await;
    let event = stream.next().await.unwrap();
    assert_eq!((&event["kind"], &event["call_id"], &event["state"]), (&json!("call"), &call, &json!("processing")));
    let last_id = stream.last_id.clone();
    drop(stream);

    // While nobody listens: the call's job fails, and another call comes in.
    let ended = "UPDATE jobs SET state = 'failed', finished_at = now(), reason = 'secret words'";
    sqlx::raw_sql(ended).execute(door.pool()).await.unwrap();
    let other = ring(&door, "no_recording").await;
    let mut stream = Stream::open(&door, &key, Some(&last_id)).await;
    assert_eq!(stream.next().await.unwrap()["kind"], "ready");
    let mut told = Vec::new();
    while told.last() != Some(&(json!("call"), other.clone(), json!("processing"))) {
        let event = stream.next().await.unwrap();
        assert!(!event.to_string().contains("secret"), "{event}");
        if event["kind"] == "job" {
            assert_eq!((&event["step"], event["job_id"].is_i64()), (&json!("download"), true));
        }
        told.push((event["kind"].clone(), event["call_id"].clone(), event["state"].clone()));
    }
    told.sort_by_key(|(kind, call, _)| (call.to_string(), kind.to_string()));
    let failed = |kind: &str| (json!(kind), call.clone(), json!("failed"));
    assert_eq!(told, [failed("call"), failed("job"), (json!("call"), other, json!("processing"))]);
}

#[tokio::test]
async fn an_edited_action_item_is_told() {
    let door = FrontDoor::open().await;
    let key = door.key(&[READ, "actions:write"]).await;
    let call = ring(&door, "mock_call").await;
    let item = "INSERT INTO action_items (id, call_id, run, position, text, evidence, supported)
         SELECT '019b0000-0000-7000-8000-00000000000a', id, 1, 0, 'Refund it', '{}', true FROM calls";
    sqlx::raw_sql(item).execute(door.pool()).await.unwrap();
    let mut stream = Stream::open(&door, &key, None).await;
    let path = "/api/actions/019b0000-0000-7000-8000-00000000000a/complete";
    assert_eq!(answer(door.request(Method::POST, path).bearer_auth(key.expose())).await.0, 200);
    let event = stream.until(|event| event["kind"] == "action").await;
    assert_eq!(
        (&event["action_id"], &event["state"]),
        (&json!("019b0000-0000-7000-8000-00000000000a"), &json!("done"))
    );
    assert_eq!(event["call_id"], call);
}

/// Numbers are given out before transactions end: who looked at numbers alone would have passed the slow one by.
#[tokio::test]
async fn a_transaction_that_ends_late_is_not_passed_by() {
    let door = FrontDoor::open().await;
    let insert = "INSERT INTO calls (id, source, external_id, direction, recording)
         VALUES (gen_random_uuid(), 'signed', $1, 'inbound', 'none')";
    let mut connection = door.pool().acquire().await.unwrap();
    let start = changes::present(&mut connection).await.unwrap();
    let unbounded = CallBounds::default();
    let look = || changes::after(door.pool(), start, 0, &unbounded, 100);
    let mut slow = door.pool().begin().await.unwrap();
    sqlx::query(insert).bind("slow").execute(&mut *slow).await.unwrap();
    sqlx::query(insert).bind("quick").execute(door.pool()).await.unwrap();
    assert!(look().await.unwrap().is_empty(), "the quick one waits for the slow one");
    slow.commit().await.unwrap();
    let all = async {
        // Other tests have transactions on the same server, which have to end, too.
        while look().await.unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, all).await.expect("both are told");
}

#[tokio::test]
async fn a_bound_key_hears_of_its_calls_alone() {
    let door = FrontDoor::open().await;
    let bounds = CallBounds { direction: Some(Direction::Outbound), ..CallBounds::default() };
    let key = door.bound_key(&[READ], &bounds).await;
    let mut stream = Stream::open(&door, &key, None).await;
    stream.until(|event| event["kind"] == "ready").await;
    ring(&door, "mock_call").await;
    let outbound = ring(&door, "outbound").await;
    assert_eq!(stream.next().await.unwrap()["call_id"], outbound);
}

#[tokio::test]
async fn what_is_not_known_any_more_begins_anew() {
    let door = FrontDoor::open().await;
    let key = door.key(&[READ]).await;
    let mut stream = Stream::open(&door, &key, None).await;
    stream.next().await;
    let (seconds, rest) = stream.last_id.split_once('-').unwrap();
    let old = format!("{}-{rest}", seconds.parse::<i64>().unwrap() - 24 * 3600);
    let foreign = format!("{seconds}-{}-1-1", i64::MAX);
    for id in [old, foreign] {
        let mut stream = Stream::open(&door, &key, Some(&id)).await;
        assert_eq!(stream.next().await.unwrap()["kind"], "reset", "{id}");
    }
    for id in [&b"17"[..], b"\xc3\xa9", b"\xff"] {
        let id = HeaderValue::from_bytes(id).unwrap();
        let request = door.get("/api/events").bearer_auth(key.expose()).header("Last-Event-ID", id);
        let (status, problem) = answer(request).await;
        assert_eq!((status, problem["errors"][0]["field"].as_str()), (400, Some("Last-Event-ID")), "{problem}");
    }
}

/// However lately an id was sent: what came after its place may be gone as soon as the place is a day old.
#[tokio::test]
async fn an_id_of_the_backlog_is_as_old_as_what_it_tells() {
    let door = FrontDoor::open().await;
    let key = door.key(&[READ]).await;
    let mut stream = Stream::open(&door, &key, None).await;
    stream.next().await;
    let before = stream.last_id.clone();
    ring(&door, "mock_call").await;
    let aged = "UPDATE changes SET at = now() - interval '25 hours'";
    sqlx::raw_sql(aged).execute(door.pool()).await.unwrap();
    let mut stream = Stream::open(&door, &key, Some(&before)).await;
    assert_eq!(stream.next().await.unwrap()["kind"], "ready");
    assert_eq!(stream.next().await.unwrap()["kind"], "call");
    let mut stream = Stream::open(&door, &key, Some(&stream.last_id)).await;
    assert_eq!(stream.next().await.unwrap()["kind"], "reset");
}

#[tokio::test]
async fn a_key_has_five_streams() {
    let door = FrontDoor::open().await;
    let key = door.key(&[READ]).await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        let mut stream = Stream::open(&door, &key, None).await;
        stream.next().await;
        streams.push(stream);
    }
    let (status, problem) = door.ask(&key, "/api/events").await;
    assert_eq!((status, problem["code"].as_str()), (429, Some("too_many_streams")));
    Stream::open(&door, &door.key(&[READ]).await, None).await;
    streams.pop();
    // The server sees it when its client has gone.
    let again = async {
        while door.get("/api/events").bearer_auth(key.expose()).send().await.unwrap().status().as_u16() != 200 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, again).await.expect("a place is free again");
}

#[tokio::test]
async fn a_revoked_key_hears_nothing_more() {
    let door = FrontDoor::open().await;
    let key = door.key(&[READ]).await;
    let mut stream = Stream::open(&door, &key, None).await;
    stream.next().await;
    sqlx::query("UPDATE api_keys SET revoked_at = now() WHERE prefix = $1")
        .bind(key.prefix())
        .execute(door.pool())
        .await
        .unwrap();
    assert!(stream.next().await.is_none(), "the stream has ended");
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams() {
    let door = FrontDoor::open().await;
    let key = door.key(&[READ]).await;
    let mut stream = Stream::open(&door, &key, None).await;
    stream.next().await;
    door.stop();
    assert!(stream.next().await.is_none());
    timeout(PATIENCE, door.stopped()).await.expect("it does not wait for those who listen");
}
