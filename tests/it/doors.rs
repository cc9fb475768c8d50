//! The doors under attack: slow clients, crowds, floods, wrong keys; and how the server stops.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::future::join_all;
use goto_automation::config::ServerConfig;
use goto_automation::http::Limits;
use goto_automation::model::ApiKey;
use reqwest::{Client, StatusCode, Version};
use rstest::rstest;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::support::{FrontDoor, SECRET, answer, fixture, sign};

/// Longest time that a story waits for something to happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// A time limit that runs out during a test, and one that does not.
const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_mins(10);

const CALLS: &str = "calls:read";
const ASK: &[u8] = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n";
const POST: &[u8] = b"POST /webhooks/goto/call-ended HTTP/1.1\r\nhost: x\r\ncontent-length: 600\r\n\r\n";

fn limits(headers: Duration, body: Duration, idle: Duration) -> Limits {
    Limits { headers, body, idle, ..Limits::default() }
}

fn visitors(settings: ServerConfig) -> Limits {
    Limits { visitors: settings, ..limits(LONG, LONG, LONG) }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it happens in time")
}

/// A client that does everything by hand.
struct Line(TcpStream);

impl Line {
    async fn to(door: &FrontDoor) -> Self {
        Self::from([127, 0, 0, 1], door).await
    }

    async fn from(address: [u8; 4], door: &FrontDoor) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((address, 0))).unwrap();
        Self(socket.connect(door.socket()).await.unwrap())
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next answer; empty if the connection was closed instead.
    async fn answer(&mut self) -> String {
        let (mut text, mut length) = (String::new(), usize::MAX);
        while text.len() < length {
            let mut bytes = [0; 4096];
            let count = soon(self.0.read(&mut bytes)).await.unwrap_or(0);
            if count == 0 {
                break;
            }
            text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
            let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
            let body =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
            length = head.len() + 4 + body;
        }
        text
    }

    async fn ask(&mut self) -> String {
        self.send(ASK).await;
        self.answer().await
    }

    async fn is_closed(&mut self) {
        assert_eq!(self.answer().await, "", "it is closed without another word");
    }

    /// Sends a byte every 20 ms until the server has closed; gives back what it said.
    async fn trickle(self, bytes: &'static [u8]) -> String {
        let (mut from, mut to) = self.0.into_split();
        let sending = tokio::spawn(async move {
            for byte in bytes.iter().chain(std::iter::repeat(&b'x')) {
                if to.write_all(&[*byte]).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        let mut said = Vec::new();
        let _ = soon(from.read_to_end(&mut said)).await;
        sending.abort();
        String::from_utf8(said).unwrap()
    }
}

#[rstest]
#[case::headers(b"GET /health/live HTTP/1.1\r\nx-long: ")]
#[case::http2(b"PRI * HTTP/2.0\r\n")]
#[tokio::test]
async fn headers_that_trickle_in_end_with_the_connection(#[case] bytes: &'static [u8]) {
    let door = FrontDoor::without_database(limits(SHORT, LONG, LONG)).await;
    assert_eq!(Line::to(&door).await.trickle(bytes).await, "");
    // The second request of a connection, too.
    let mut line = Line::to(&door).await;
    assert!(line.ask().await.starts_with("HTTP/1.1 200"));
    assert_eq!(line.trickle(bytes).await, "");
}

#[tokio::test]
async fn who_says_nothing_is_not_kept() {
    let door = FrontDoor::without_database(limits(SHORT, LONG, LONG)).await;
    Line::to(&door).await.is_closed().await;
    // After a request silence is allowed for longer than headers are.
    let mut line = Line::to(&door).await;
    assert!(line.ask().await.starts_with("HTTP/1.1 200"));
    sleep(SHORT * 2).await;
    assert!(line.ask().await.starts_with("HTTP/1.1 200"));

    let door = FrontDoor::without_database(limits(LONG, LONG, SHORT)).await;
    let mut line = Line::to(&door).await;
    assert!(line.ask().await.starts_with("HTTP/1.1 200"));
    line.is_closed().await;
}

#[tokio::test]
async fn who_takes_no_answers_is_not_waited_for() {
    let door = FrontDoor::without_database(limits(LONG, LONG, SHORT)).await;
    let mut line = Line::to(&door).await;
    // More than all buffers on the way hold: from then on the server can write no more, and so reads no more.
    soon(async { while line.0.write_all(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n").await.is_ok() {} }).await;
}

#[tokio::test]
async fn a_body_that_trickles_in_is_refused_and_ends_the_connection() {
    let door = FrontDoor::without_database(limits(LONG, SHORT, LONG)).await;
    let mut line = Line::to(&door).await;
    line.send(POST).await;
    let said = line.trickle(b"{").await;
    assert!(said.starts_with("HTTP/1.1 408") && said.contains("body_timeout"), "{said}");
    assert!(said.contains("connection: close"), "{said}");
}

#[tokio::test]
async fn headers_have_a_size() {
    let door = FrontDoor::without_database(limits(LONG, LONG, LONG)).await;
    let fits = door.get("/health/live").header("x-long", "x".repeat(15 << 10));
    assert_eq!(fits.send().await.unwrap().status(), 200);
    let response = door.get("/health/live").header("x-long", "x".repeat(17 << 10)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

#[tokio::test]
async fn bodies_of_the_api_have_a_size_too() {
    let door = FrontDoor::without_database(limits(LONG, LONG, LONG)).await;
    let url = format!("http://{}/api/calls/", door.address());
    let (status, problem) = answer(Client::new().post(url).body(vec![b' '; (1 << 20) + 1])).await;
    assert_eq!((status, problem["code"].as_str()), (413, Some("body_too_large")));
}

#[tokio::test]
async fn an_address_has_a_limit_and_the_others_do_not_notice() {
    let settings = ServerConfig { max_connections_per_address: 2, ..ServerConfig::default() };
    let door = FrontDoor::without_database(visitors(settings)).await;
    let mut crowd = Vec::new();
    for _ in 0..2 {
        let mut line = Line::from([127, 0, 0, 2], &door).await;
        assert!(line.ask().await.starts_with("HTTP/1.1 200"));
        crowd.push(line);
    }
    let mut third = Line::from([127, 0, 0, 2], &door).await;
    let said = third.ask().await;
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("\r\nretry-after: 5\r\n"), "{said}");
    assert!(said.contains("application/problem+json") && said.contains("overloaded"), "{said}");
    third.is_closed().await;
    assert!(Line::from([127, 0, 0, 3], &door).await.ask().await.starts_with("HTTP/1.1 200"));

    drop(crowd);
    let again = async { while !Line::from([127, 0, 0, 2], &door).await.ask().await.starts_with("HTTP/1.1 200") {} };
    soon(again).await;
}

#[tokio::test]
async fn all_have_a_limit_together_and_webhooks_hear_503() {
    let settings = ServerConfig { max_connections: 3, ..ServerConfig::default() };
    let door = FrontDoor::without_database(visitors(settings)).await;
    let mut crowd = Vec::new();
    for last in 1..=3 {
        let mut line = Line::from([127, 0, 0, last], &door).await;
        assert!(line.ask().await.starts_with("HTTP/1.1 200"));
        crowd.push(line);
    }
    let (status, problem) = door.send(&fixture("mock_call")).await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("overloaded")));
    // Many who are too many: some hear it, the others are cut off, nobody hangs.
    let asked = join_all((0..200).map(|_| async {
        let mut line = Line::from([127, 0, 0, 9], &door).await;
        let _ = line.0.write_all(ASK).await;
        line.answer().await
    }));
    assert!(soon(asked).await.iter().all(|said| said.is_empty() || said.starts_with("HTTP/1.1 503")));
    assert!(crowd[0].ask().await.starts_with("HTTP/1.1 200"), "who was there first is served on");
}

/// A client of the API with an address of its own.
async fn ask_from(address: [u8; 4], door: &FrontDoor, key: &str, forwarded: &str) -> (u16, Value) {
    let client = Client::builder().no_proxy().local_address(IpAddr::from(Ipv4Addr::from(address))).build().unwrap();
    let request = client.get(format!("http://{}/api/calls/", door.address())).bearer_auth(key);
    answer(request.header("x-forwarded-for", forwarded)).await
}

#[tokio::test]
async fn wrong_keys_bar_their_address_and_no_other() {
    let settings = ServerConfig { failed_keys_per_minute: 3, ..ServerConfig::default() };
    let door = FrontDoor::open_with(visitors(settings)).await;
    let (good, unknown) = (door.key(&[CALLS]).await, ApiKey::generate());
    for wrong in ["nonsense", unknown.expose(), "gta_"] {
        assert_eq!(ask_from([127, 0, 0, 2], &door, wrong, "192.0.2.1").await.0, 401);
    }
    for key in ["nonsense", good.expose()] {
        let (status, problem) = ask_from([127, 0, 0, 2], &door, key, "192.0.2.2").await;
        assert_eq!((status, problem["code"].as_str()), (429, Some("too_many_failures")));
    }
    assert_eq!(ask_from([127, 0, 0, 3], &door, good.expose(), "192.0.2.1").await.0, 200);
}

#[tokio::test]
async fn a_barred_client_is_told_for_how_long() {
    let settings = ServerConfig { failed_keys_per_minute: 1, ..ServerConfig::default() };
    let door = FrontDoor::without_database(visitors(settings)).await;
    let ask = || door.get("/api/calls/").bearer_auth("nonsense").send();
    assert_eq!(ask().await.unwrap().status(), 401);
    let response = ask().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &"5".parse().unwrap()));
}

#[tokio::test]
async fn behind_a_proxy_the_address_is_the_one_it_names() {
    let proxy = [127, 0, 0, 7];
    let settings = ServerConfig {
        failed_keys_per_minute: 2,
        max_connections_per_address: 1,
        trusted_proxies: vec![proxy.into()],
        ..ServerConfig::default()
    };
    let door = FrontDoor::open_with(visitors(settings)).await;
    let key = door.key(&[CALLS]).await;
    let _held = [Line::from(proxy, &door).await, Line::from(proxy, &door).await];
    for _ in 0..2 {
        assert_eq!(ask_from(proxy, &door, "nonsense", "192.0.2.1").await.0, 401);
    }
    assert_eq!(ask_from(proxy, &door, key.expose(), "198.51.100.1, 192.0.2.1").await.0, 429);
    assert_eq!(ask_from(proxy, &door, key.expose(), "192.0.2.1, 198.51.100.1").await.0, 200);
}

#[tokio::test]
async fn a_key_has_a_pace_before_the_database_is_asked() {
    let settings = ServerConfig { api_rate: 1, ..ServerConfig::default() };
    let door = FrontDoor::without_database(visitors(settings)).await;
    let (busy, other) = (ApiKey::generate(), ApiKey::generate());
    let statuses: Vec<u16> =
        join_all((0..8).map(|_| door.ask(&busy, "/api/calls/"))).await.iter().map(|it| it.0).collect();
    assert!(statuses.iter().filter(|status| **status == 503).count() >= 2, "the database is away: {statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(door.ask(&other, "/api/calls/").await.0, 503);
}

#[tokio::test]
async fn http2_is_spoken() {
    let door = FrontDoor::without_database(limits(LONG, LONG, LONG)).await;
    let client = Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}/health/live", door.address());
    let answers = join_all((0..300).map(|_| client.get(&url).send())).await;
    assert!(answers.into_iter().map(Result::unwrap).all(|it| it.status() == 200 && it.version() == Version::HTTP_2));
}

#[tokio::test]
async fn honest_webhooks_come_in_through_a_flood() {
    let door = FrontDoor::open_with(visitors(ServerConfig::default())).await;
    let mut slow = Vec::new();
    for number in 0..200 {
        let mut line = Line::from([127, 0, 1, number / 50], &door).await;
        line.send(if number % 2 == 0 { &POST[..20] } else { POST }).await;
        slow.push(line);
    }
    let url = format!("http://{}/webhooks/goto/call-ended", door.address());
    let bad = Client::builder().no_proxy().local_address(IpAddr::from([127, 0, 2, 1])).build().unwrap();
    let flood = async {
        for _ in 0..20 {
            let unsigned =
                (0..10).map(|_| bad.post(&url).header("X-GoTo-Signature", sign(b"", SECRET)).body("{}").send());
            assert!(join_all(unsigned).await.into_iter().all(|answer| answer.unwrap().status() == 401));
            // Refused while it is still being sent, so that the client may see a broken pipe instead of the answer.
            let large = bad.post(&url).body(vec![b' '; 10_000_000]).send().await;
            assert!(large.map_or(true, |answer| answer.status() == 413));
        }
    };
    let honest = async {
        for number in 0..20 {
            let body = String::from_utf8(fixture("mock_call")).unwrap().replace("call-0001", &format!("call-{number}"));
            assert_eq!(door.send(body.as_bytes()).await.0, 202);
        }
    };
    soon(async { tokio::join!(flood, honest) }).await;
    assert_eq!(door.count("SELECT count(*) FROM calls").await, 20);
}

#[tokio::test]
async fn a_stop_answers_what_has_begun_and_what_comes_at_once() {
    let door = FrontDoor::without_database(limits(LONG, LONG, LONG)).await;
    let (mut begun, mut kept, mut fresh) = (Line::to(&door).await, Line::to(&door).await, Line::to(&door).await);
    assert!(kept.ask().await.starts_with("HTTP/1.1 200"));
    assert!(begun.ask().await.starts_with("HTTP/1.1 200"));
    begun.send(POST).await;
    // The server has heard of it when it asks for more, which its answer to another line shows soon enough.
    assert!(kept.ask().await.starts_with("HTTP/1.1 200"));
    door.stop();
    // Time enough for a server that would close at once, and far less than this one waits.
    sleep(SHORT / 10).await;
    for line in [&mut kept, &mut fresh] {
        let said = line.ask().await;
        assert!(said.starts_with("HTTP/1.1 200") && said.contains("connection: close"), "{said}");
        line.is_closed().await;
    }
    begun.send(&[b' '; 600]).await;
    let said = begun.answer().await;
    assert!(said.starts_with("HTTP/1.1 401") && said.contains("connection: close"), "{said}");
    begun.is_closed().await;
    let address = door.socket();
    soon(door.stopped()).await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_those_who_say_nothing() {
    let door = FrontDoor::without_database(limits(LONG, LONG, LONG)).await;
    let (mut kept, mut fresh) = (Line::to(&door).await, Line::to(&door).await);
    assert!(kept.ask().await.starts_with("HTTP/1.1 200"));
    door.stop();
    kept.is_closed().await;
    fresh.is_closed().await;
    soon(door.stopped()).await;
}
