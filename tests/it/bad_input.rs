//! Whatever somebody sends, to whichever operation: it is understood or refused with a reason, at once, and what is secret
//! in it is written nowhere.

use std::time::Duration;

use goto_automation::config::ServerConfig;
use goto_automation::model::{ApiKey, Scope};
use reqwest::{Method, RequestBuilder, Response};
use rstest::rstest;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::support::{Database, FrontDoor, Process, answer};

const ID: &str = "019b0000-0000-7000-8000-000000000001";

/// Values of parameters, as they stand in an address. Some are right for some parameters.
const ODD: &[&str] = &[
    "",
    "%20",
    "0",
    "-1",
    "1e3",
    "10000000000000000000",
    "99999999999999999999999999999999999999",
    "NaN",
    "true",
    "null",
    "%00",
    "a%00b",
    "%ED%A0%80",
    "%FF%FE",
    "%",
    "%zz",
    "%F0%9F%98%80",
    "%E2%80%AE",
    "%0D%0AX-Injected:%201",
    "2026-02-30",
    "2026-02-30T00:00:00Z",
    "2026-01-05T25:00:00Z",
    "0000-00-00",
    "-9999-01-01T00:00:00Z",
    "99999-01-01T00:00:00Z",
    "+262143-12-31T23:59:59Z",
    "'%20OR%201%3D1--",
    "'%3B%20DROP%20TABLE%20calls%3B--",
    "%22%20%26%20!%20%7C%20(",
    "((((%26%26%26))))",
    "%5C",
    "%25%5F",
    "$1",
    "%7B%7D",
    "..%2F..%2Fetc%2Fpasswd",
    "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "-",
    "%2B",
    "%2B%2B1555",
    "or",
    "%22unfinished",
    "00000000-0000-0000-0000-000000000000",
    "019b0000-0000-7000-8000-00000000000",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
];

/// Bodies with the content types they are sent with.
const BODIES: &[(&str, &[u8])] = &[
    ("application/json", b""),
    ("application/json", b"{"),
    ("application/json", b"null"),
    ("application/json", b"[]"),
    ("application/json", b"{\"text\":\"\\ud800\"}"),
    ("application/json", b"{\"text\":\"\\u0000\",\"name\":\"\\u0000\",\"from\":\"\\u0000\"}"),
    ("application/json", b"{\"text\":\"\xff\"}"),
    ("application/json", b"{\"text\":1,\"text\":2,\"name\":[],\"from\":{}}"),
    ("application/json", b"{\"due_at\":\"2026-02-30T00:00:00Z\",\"expires_at\":\"2026-02-30\",\"unknown\":1}"),
    (
        "application/json",
        b"{\"name\":\"x\",\"bounds\":{\"from\":\"2026-02-01T00:00:00Z\",\"to\":\"2026-01-01T00:00:00Z\"}}",
    ),
    ("application/json", b"{\"overlap_hours\":99999999999999999999,\"dry_run\":\"yes\"}"),
    ("text/plain", b"{}"),
    ("application/x-www-form-urlencoded", b"text=x"),
    ("application/json; charset=utf-16", b"{}"),
];

/// An operation as the document has it.
struct Operation {
    method: Method,
    path: String,
    parameters: Vec<String>,
    has_body: bool,
}

async fn open() -> (FrontDoor, ApiKey, Vec<Operation>) {
    let limits = ServerConfig { max_connections_per_address: 1024, api_rate: 1_000_000, ..ServerConfig::default() };
    let door = FrontDoor::open_with(limits.into()).await;
    let scopes: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    let key = door.key(&scopes).await;
    let (_, document) = answer(door.get("/openapi.json")).await;
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let of_query = parameters.filter(|parameter| parameter["in"] == "query");
            operations.push(Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                parameters: of_query.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect(),
                has_body: operation.get("requestBody").is_some(),
            });
        }
    }
    (door, key, operations)
}

/// It is an answer, or a problem that says why there is none; never a fault of ours.
async fn assert_answered(what: &str, request: RequestBuilder) {
    let begin = Instant::now();
    let response: Response = request.send().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let status = response.status().as_u16();
    assert!((200..500).contains(&status), "{what}: {status} {:?}", response.text().await);
    assert!(!response.headers().contains_key("x-injected"), "{what}");
    if status >= 400 {
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{what}");
        let problem: Value = response.json().await.unwrap();
        let says = |field: &str| problem[field].as_str().is_some_and(|text| !text.is_empty());
        assert!(says("code") && says("detail") && says("request_id"), "{what}: {problem}");
    }
    // A hang, not a slow machine.
    assert!(begin.elapsed() < Duration::from_secs(5), "{what}: {:?}", begin.elapsed());
}

#[tokio::test]
async fn every_parameter_of_every_operation_is_understood_or_refused() {
    let (door, key, operations) = open().await;
    let mut asked = 0;
    for Operation { method, path, parameters, .. } in &operations {
        for value in ODD {
            if path.contains("{id}") && !value.is_empty() {
                let path = path.replace("{id}", value);
                assert_answered(&path, door.request(method.clone(), &path).bearer_auth(key.expose())).await;
                asked += 1;
            }
            let path = path.replace("{id}", ID);
            for parameter in parameters {
                let address = format!("{path}?{parameter}={value}");
                assert_answered(&address, door.request(method.clone(), &address).bearer_auth(key.expose())).await;
                asked += 1;
            }
        }
    }
    assert!(asked > 1_000, "{asked}");
}

/// That it is wrong is not enough: what to send in its place.
#[rstest]
#[case("/api/calls/?limit=10000000000000000000", "a smaller whole number")]
#[case("/api/calls/?limit=ten", "a whole number")]
#[case("/api/calls/?limit=0", "at least 1")]
#[case("/api/calls/?urgency_at_least=-99999999999", "a larger whole number")]
#[case("/api/kpi/daily?days=-1", "a whole number, without a sign")]
#[case("/api/kpi/daily?last_day=1969-12-31", "from 1970-01-01")]
#[case("/api/actions/?overdue=x", "`true` or `false`")]
#[case("/api/calls.csv?bom=1", "`true` or `false`")]
#[case("/api/calls/%ED%A0%80", "UTF-8")]
#[tokio::test]
async fn what_is_wrong_is_told_with_what_is_right(#[case] path: &str, #[case] expected: &str) {
    let door = FrontDoor::open().await;
    let (status, problem) = door.ask(&door.key(&["calls:read"]).await, path).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("bad_parameter")), "{problem}");
    assert!(problem["errors"][0]["expected"].as_str().unwrap().contains(expected), "{problem}");
}

#[tokio::test]
async fn every_body_is_understood_or_refused() {
    let (door, key, operations) = open().await;
    for Operation { method, path, .. } in operations.iter().filter(|operation| operation.has_body) {
        for (kind, body) in BODIES {
            let path = path.replace("{id}", ID);
            let request = door.request(method.clone(), &path).bearer_auth(key.expose()).header("content-type", *kind);
            let request = request.header("if-match", "\"1\"").body(*body);
            assert_answered(&format!("{method} {path} {kind} {}", String::from_utf8_lossy(body)), request).await;
        }
    }
}

#[tokio::test]
async fn odd_headers_are_understood_or_refused() {
    let (door, key, operations) = open().await;
    let odd: [&[u8]; 9] =
        [b"", b" ", b"\"", b"W/\"1\"", b"\"1\", \"2\"", b"\"99999999999999999999\"", b"\xff\xfe", b"*", b"'"];
    for name in
        ["if-match", "if-none-match", "idempotency-key", "last-event-id", "range", "accept", "x-request-id", "origin"]
    {
        for value in odd {
            for Operation { method, path, .. } in
                operations.iter().filter(|operation| !operation.path.ends_with("/events") || name == "last-event-id")
            {
                let path = path.replace("{id}", ID);
                let request = door.request(method.clone(), &path).bearer_auth(key.expose());
                let request = request.header(name, reqwest::header::HeaderValue::from_bytes(value).unwrap());
                assert_answered(&format!("{method} {path} {name}: {value:?}"), request).await;
            }
        }
    }
}

/// Keys, wherever they stand in a request, numbers, words and signatures: not even the most talkative log has them.
#[tokio::test]
async fn the_log_has_no_secrets() {
    let database = Database::fresh().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let settings = [
        ("DATABASE_URL", database.url().to_owned()),
        ("API_PORT", address.port().to_string()),
        ("GOTO_WEBHOOK_SECRET", "a secret of the tests with more than thirty-two bytes".to_owned()),
        ("LOG_LEVEL", "trace,hyper=debug,sqlx=debug".to_owned()),
    ];
    let log = NamedTempFile::new().unwrap();
    let _server =
        Process::start_logging(&["serve"], &settings.map(|(name, value)| (name.to_owned(), value)), log.path());
    let client = reqwest::Client::new();
    let url = |path: &str| format!("http://{address}{path}");
    while client.get(url("/health/ready")).send().await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
    let key = ApiKey::generate().expose().to_owned();
    let half = &key[..key.len() / 2];
    for request in [
        client.get(url("/api/calls/")).bearer_auth(&key),
        client.get(url("/api/calls/")).bearer_auth(half),
        client.get(url("/api/calls/")).header("x-api-key", &key),
        client.get(url(&format!("/api/calls/?api_key={key}&caller=%2B15550107777&q=saturnine"))),
        client.get(url(&format!("/api/calls/{ID}/recording?expires=1&signature=5acefeed5acefeed"))),
        client.get(url("/api/calls/+15550107777")),
        client.get(url(&format!("/recordings/{key}"))),
        client.get(url(&format!("/{half}/+15550107777"))),
        client.post(url(&format!("/api/keys/{key}/revoke"))).bearer_auth(&key),
        client.post(url("/api/keys/")).basic_auth("user", Some(&key)).body(format!("{{\"name\":\"{key}\"}}")),
    ] {
        let status = request.send().await.unwrap().status().as_u16();
        assert!((400..500).contains(&status), "{status}");
    }
    let log = std::fs::read_to_string(log.path()).unwrap();
    assert!(log.contains("/api/calls/"), "it is written at all: {log}");
    let random = &half[half.len() - 12..];
    for secret in [random, "15550107777", "saturnine", "5acefeed", "a secret of the tests"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}
