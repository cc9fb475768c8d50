//! What holds for every operation: tags, limits, methods, other sites, compression, and requests that are too large.

use std::io::Read as _;
use std::time::Duration;

use goto_automation::config::ServerConfig;
use goto_automation::http::Limits;
use reqwest::{Method, Response};
use rstest::rstest;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{FrontDoor, answer, read};

const CALLS: &str = "calls:read";

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let door = FrontDoor::open().await;
    let key = door.key(&[CALLS]).await;
    let ask = |tag: &str| door.get("/api/calls/").bearer_auth(key.expose()).header("If-None-Match", tag).send();
    let first = ask("\"other\"").await.unwrap();
    let tag = header(&first, "etag").unwrap().to_owned();
    assert_eq!((first.status().as_u16(), header(&first, "cache-control")), (200, Some("private, no-cache")));
    let again = ask(&tag).await.unwrap();
    assert_eq!((again.status().as_u16(), header(&again, "etag")), (304, Some(tag.as_str())));
    assert!(again.bytes().await.unwrap().is_empty());
    // A right that has ended is no reason to say that nothing has changed.
    sqlx::query("UPDATE api_keys SET revoked_at = now()").execute(door.pool()).await.unwrap();
    assert_eq!(ask(&tag).await.unwrap().status().as_u16(), 401);
}

#[tokio::test]
async fn answers_tell_what_the_key_may_still_ask() {
    let limits = ServerConfig { api_rate: 2, max_connections_per_address: 1024, ..ServerConfig::default() };
    let door = FrontDoor::open_with(limits.into()).await;
    let key = door.key(&[CALLS]).await;
    let mut left = Vec::new();
    let last = loop {
        let response = door.get("/api/calls/").bearer_auth(key.expose()).send().await.unwrap();
        assert_eq!(header(&response, "ratelimit-policy"), Some("\"key\";q=4;w=2"));
        left.push(header(&response, "ratelimit").unwrap().split(';').nth(1).unwrap().to_owned());
        if response.status().as_u16() != 200 {
            break response;
        }
    };
    assert_eq!((left[0].as_str(), left.last().map(String::as_str)), ("r=3", Some("r=0")));
    assert_eq!(header(&last, "retry-after"), Some("1"));
    assert_eq!(read(last).await.1["code"], "too_many_requests");
}

#[rstest]
#[case("/api/calls/", "GET, HEAD")]
#[case("/api/keys/", "GET, HEAD, POST")]
#[case("/api/keys/019b0000-0000-7000-8000-000000000001/revoke", "POST")]
#[case("/health", "GET, HEAD")]
#[case("/docs", "GET, HEAD")]
#[tokio::test]
async fn other_methods_hear_which_ones_there_are(#[case] path: &str, #[case] allowed: &str) {
    let door = FrontDoor::without_database(Limits::default()).await;
    for method in [Method::PUT, Method::OPTIONS, Method::TRACE] {
        let response = door.request(method, path).send().await.unwrap();
        assert_eq!((response.status().as_u16(), header(&response, "allow")), (405, Some(allowed)));
        assert_eq!(read(response).await.1["code"], "method_not_allowed");
    }
}

#[rstest]
#[case("/api/calls/")]
#[case("/api/nothing")]
#[case("/health/live")]
#[case("/openapi.json")]
#[tokio::test]
async fn head_is_get_without_its_body(#[case] path: &str) {
    let door = FrontDoor::open().await;
    let key = door.key(&[CALLS]).await;
    let ask = |method| door.request(method, path).bearer_auth(key.expose()).header("X-Request-Id", "same").send();
    let (got, head) = (ask(Method::GET).await.unwrap(), ask(Method::HEAD).await.unwrap());
    assert_eq!(got.status(), head.status());
    for name in ["content-type", "content-length", "etag", "cache-control", "x-request-id"] {
        assert_eq!(header(&got, name), header(&head, name), "{name}");
    }
    assert!(!got.bytes().await.unwrap().is_empty());
    assert!(head.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn other_sites_may_use_the_api_if_they_are_named() {
    const SITE: &str = "https://app.example.com";
    let named = ServerConfig { cors_origins: vec![SITE.to_owned()], ..ServerConfig::default() };
    let [open, closed] =
        [FrontDoor::without_database(named.into()).await, FrontDoor::without_database(Limits::default()).await];
    let ask = |door: &FrontDoor, method, origin: &str| {
        let request = door.request(method, "/api/calls/").header("Origin", origin);
        request.header("Access-Control-Request-Method", "GET").header("Access-Control-Request-Headers", "authorization")
    };
    let preflight = ask(&open, Method::OPTIONS, SITE).send().await.unwrap();
    assert_eq!((preflight.status().as_u16(), header(&preflight, "access-control-allow-origin")), (204, Some(SITE)));
    let refused = ask(&open, Method::GET, SITE).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), header(&refused, "access-control-allow-origin")), (401, Some(SITE)));
    let long = format!("/api/calls/?q={}", "x".repeat(10_000));
    let refused = open.get(&long).header("Origin", SITE).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), header(&refused, "access-control-allow-origin")), (414, Some(SITE)));
    let elsewhere = open.get("/health/live").header("Origin", SITE).send().await.unwrap();
    assert_eq!((elsewhere.status().as_u16(), header(&elsewhere, "access-control-allow-origin")), (200, None));
    for (door, origin) in [(&open, "https://other.example.com"), (&closed, SITE)] {
        for method in [Method::OPTIONS, Method::GET] {
            let response = ask(door, method, origin).send().await.unwrap();
            assert_eq!(header(&response, "access-control-allow-origin"), None);
        }
    }
}

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_take_it() {
    let door = FrontDoor::without_database(Limits::default()).await;
    let plain = door.get("/openapi.json").send().await.unwrap();
    assert_eq!((header(&plain, "content-encoding"), header(&plain, "vary")), (None, Some("Accept-Encoding")));
    let packed = door.get("/openapi.json").header("Accept-Encoding", "gzip, br").send().await.unwrap();
    assert_eq!(header(&packed, "content-encoding"), Some("gzip"));
    assert_eq!(header(&packed, "etag").unwrap(), format!("W/{}", header(&plain, "etag").unwrap()));
    let (plain, packed) = (plain.bytes().await.unwrap(), packed.bytes().await.unwrap());
    assert!(packed.len() * 4 < plain.len(), "{} of {}", packed.len(), plain.len());
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
}

#[tokio::test]
async fn short_answers_and_those_with_a_secret_are_not_compressed() {
    let door = FrontDoor::open().await;
    let admin = door.key(&["admin"]).await;
    let ask = |method, path| door.request(method, path).bearer_auth(admin.expose()).header("Accept-Encoding", "gzip");
    let long_name = "x".repeat(100);
    for _ in 0..10 {
        let made = ask(Method::POST, "/api/keys/").json(&serde_json::json!({"name": long_name})).send().await.unwrap();
        assert_eq!((made.status().as_u16(), header(&made, "content-encoding")), (201, None));
    }
    let problem = ask(Method::GET, "/api/calls/x").send().await.unwrap();
    assert_eq!((problem.status().as_u16(), header(&problem, "content-encoding")), (400, None));
    let list = ask(Method::GET, "/api/keys/").send().await.unwrap();
    assert_eq!(header(&list, "content-encoding"), Some("gzip"));
}

/// What comes back for bytes that no client library would send.
async fn raw(door: &FrontDoor, request: Vec<u8>) -> (String, Value) {
    let mut stream = TcpStream::connect(door.socket()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    // Whoever is refused may hear of it before it has sent everything.
    let (_, read) = tokio::join!(writer.write_all(&request), reader.read_to_end(&mut answer));
    read.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), serde_json::from_str(body).unwrap())
}

#[rstest]
#[case(format!("GET /api/calls/?q={} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "x".repeat(10_000)), "414", "uri_too_long")]
#[case(format!("GET /api/calls/?q={} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(1 << 20)), "431", "headers_too_large")]
#[case(format!("GET /api/calls/?{} HTTP/1.1\r\nHost: x\r\n\r\n", "state=failed&".repeat(10_000)), "431", "headers_too_large")]
#[case("GET /api/calls/?q=\0 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "400", "bad_request")]
#[case("no HTTP at all\r\n\r\n".to_owned(), "400", "bad_request")]
#[tokio::test]
async fn what_is_too_large_or_no_http_is_told_so(#[case] request: String, #[case] status: &str, #[case] code: &str) {
    let door = FrontDoor::without_database(Limits::default()).await;
    let begin = Instant::now();
    let (line, problem) = raw(&door, request.into_bytes()).await;
    assert!(line.contains(status), "{line}");
    assert_eq!((problem["code"].as_str(), problem["errors"].is_array()), (Some(code), true), "{problem}");
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[rstest]
#[case("cursor=abc", "bad_cursor", "cursor")]
#[case("limit=10000000000000000000", "bad_parameter", "limit")]
#[case("from=2026-02-30", "bad_parameter", "from")]
#[case("external_id=%ED%A0%80", "bad_parameter", "external_id")]
#[case("external_id=a%00b", "bad_parameter", "external_id")]
#[case("state=%27%20OR%201%3D1--", "bad_parameter", "state")]
#[case("Limit=5", "unknown_parameter", "Limit")]
#[tokio::test]
async fn a_problem_names_the_field_that_it_is_about(#[case] query: &str, #[case] code: &str, #[case] field: &str) {
    let door = FrontDoor::open().await;
    let key = door.key(&[CALLS]).await;
    let (status, problem) = answer(door.get(&format!("/api/calls/?{query}")).bearer_auth(key.expose())).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some(code)), "{problem}");
    assert_eq!(problem["errors"][0]["field"], field);
}
