//! Downloads from a host on loopback that behaves well, badly and worse.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolving};
use rstest::rstest;
use tempfile::TempDir;

use super::*;
use crate::config::AllowedHost;
use crate::providers::loopback::{Loopback, Reply, http};

const TOTAL: Duration = Duration::from_secs(20);

fn wav(bytes: usize) -> Vec<u8> {
    let mut content = b"RIFF\0\0\0\0WAVEfmt ".to_vec();
    content.resize(bytes, 7);
    content
}

fn config(folder: &TempDir, servers: &[&Loopback]) -> RecordingsConfig {
    let allowed = |server: &&Loopback| AllowedHost { host: "127.0.0.1".into(), port: Some(server.address.port()) };
    RecordingsConfig {
        store: Url::from_directory_path(folder.path()).unwrap(),
        allowed_hosts: servers.iter().map(allowed).collect(),
        allow_private: true,
        max_bytes: 100_000,
        api_key: Some("key-1".into()),
    }
}

fn recordings(folder: &TempDir, servers: &[&Loopback]) -> Recordings {
    Recordings::new(&config(folder, servers), TOTAL).unwrap()
}

fn files(folder: &TempDir) -> usize {
    std::fs::read_dir(folder.path()).unwrap().count()
}

/// Fetches from a server that answers every request in this way; also checks that nothing is left behind.
async fn failure(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> UpstreamError {
    failure_within(SPEED_WINDOW, reply).await
}

async fn failure_within(window: Duration, reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> UpstreamError {
    let folder = tempfile::tempdir().unwrap();
    let server = Loopback::start(reply).await;
    let mut recordings = recordings(&folder, &[&server]);
    recordings.limits.window = window;
    let error = recordings.fetch(&server.url("/token-1/a.mp3?signature=2")).await.unwrap_err();
    assert_eq!(files(&folder), 0, "something was left behind");
    for secret in ["token-1", "signature", "key-1"] {
        assert!(!error.message.contains(secret), "{error}");
    }
    error
}

#[tokio::test]
async fn a_recording_is_kept_under_its_hash() {
    let folder = tempfile::tempdir().unwrap();
    let server = Loopback::start(|_| Reply::Bytes(http(200, &[("Content-Type", "text/html")], &wav(60_000)))).await;
    let recordings = recordings(&folder, &[&server]);
    let first = recordings.fetch(&server.url("/a?x=1#y")).await.unwrap();
    let second = recordings.fetch(&server.url("/a?x=1#y")).await.unwrap();
    assert_eq!(first, second);
    assert_eq!((first.bytes, first.media_type, first.extension), (60_000, "audio/wav", "wav"));
    assert_eq!(std::fs::read(folder.path().join(&first.path)).unwrap(), wav(60_000));
    recordings.open(&first.path).await.unwrap();
    assert!(recordings.exists(&first.path).await.unwrap());
    recordings.check().await.unwrap();
    let request = &server.requests()[0];
    assert!(request.starts_with("GET /a?x=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: Bearer key-1\r\n"), "{request}");
    assert!(request.contains("user-agent: goto-automation/"), "{request}");
}

#[tokio::test]
async fn chunked_bodies_have_no_length_and_are_fine() {
    let folder = tempfile::tempdir().unwrap();
    let chunk = [b"400\r\n".to_vec(), wav(1024), b"\r\n0\r\n\r\n".to_vec()].concat();
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let server = Loopback::script(vec![[head, chunk].concat()]).await;
    assert_eq!(recordings(&folder, &[&server]).fetch(&server.url("/")).await.unwrap().bytes, 1024);
}

#[rstest]
#[case(404, &[], Fault::NotReady, "not_ready")]
#[case(202, &[], Fault::NotReady, "not_ready")]
#[case(401, &[], Fault::Blocked, "key_refused")]
#[case(403, &[], Fault::Permanent, "link_refused")]
#[case(410, &[], Fault::Permanent, "link_refused")]
#[case(429, &[("Retry-After", "30")], Fault::RetryAfter(Duration::from_secs(30)), "rate_limited")]
#[case(429, &[], Fault::Transient, "rate_limited")]
#[case(500, &[], Fault::Transient, "server_error")]
#[case(503, &[("Retry-After", "30")], Fault::Transient, "server_error")]
#[case(408, &[], Fault::Transient, "server_error")]
#[case(400, &[], Fault::Permanent, "unexpected_status")]
#[case(206, &[], Fault::Permanent, "unexpected_status")]
#[case(304, &[], Fault::Permanent, "unexpected_status")]
#[case(302, &[], Fault::Permanent, "unexpected_status")]
#[case(302, &[("Location", "http://media.example.com/a")], Fault::Permanent, "refused_host")]
#[case(302, &[("Location", "file:///etc/passwd")], Fault::Permanent, "refused_redirect")]
#[case(302, &[("Location", "/again")], Fault::Permanent, "refused_redirect")]
#[tokio::test]
async fn each_status_has_its_consequence(
    #[case] status: u16,
    #[case] headers: &'static [(&'static str, &'static str)],
    #[case] fault: Fault,
    #[case] class: &str,
) {
    let headers = [headers, &[("X-Request-Id", "req-9")]].concat();
    let error = failure(move |_| Reply::Bytes(http(status, &headers, &[]))).await;
    assert_eq!((error.fault, error.class.as_str()), (fault, class), "{error}");
    assert!(class == "refused_redirect" || error.request_id.as_deref() == Some("req-9"));
    assert_eq!(error.message.contains("GOTO_API_KEY"), status == 401);
}

/// What an operator reads in `calls show`.
#[tokio::test]
async fn sentences() {
    let mut sentences = String::new();
    for status in [404, 401, 410, 429, 503, 418] {
        let error = failure(move |_| Reply::Bytes(http(status, &[], b""))).await;
        // Each server has another port.
        let (who, what) = error.message.split_once("127.0.0.1:").unwrap();
        sentences.extend([who, "HOST", what.trim_start_matches(char::is_numeric), "\n"]);
    }
    insta::assert_snapshot!(sentences);
}

#[rstest]
#[case(b"<html><body>Please log in</body></html>".to_vec(), "a web page")]
#[case([b"<html>".to_vec(), vec![b' '; 2000]].concat(), "a web page")]
#[case(b"{\"status\":\"PROCESSING\"}".to_vec(), "JSON")]
#[case(b"sorry".to_vec(), "plain text")]
#[case(vec![0x1F; 2000], "unknown format")]
#[case(vec![], "an empty file")]
#[case(wav(511), "only 511 bytes")]
#[tokio::test]
async fn what_is_not_audio_is_refused(#[case] body: Vec<u8>, #[case] words: &str) {
    let error = failure(move |_| Reply::Bytes(http(200, &[("Content-Type", "audio/mpeg")], &body))).await;
    assert_eq!((error.fault, error.class.as_str()), (Fault::Permanent, "not_audio"));
    assert!(error.message.contains(words), "{error}");
}

#[tokio::test]
async fn too_large_by_its_own_word() {
    // The body never comes: the declared length is enough.
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n";
    let error = failure(|_| Reply::Hang(head.to_vec())).await;
    assert_eq!((error.fault, error.class.as_str()), (Fault::Permanent, "recording_too_large"));
}

#[rstest]
#[case(wav(16), "recording_too_large")]
#[case(b"<html>          ".to_vec(), "not_audio")]
#[tokio::test]
async fn endless_bodies_are_stopped(#[case] start: Vec<u8>, #[case] class: &str) {
    let head = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), start].concat();
    let error = failure(move |_| Reply::Endless(head.clone(), vec![b' '; 4096])).await;
    assert_eq!((error.fault, error.class.as_str()), (Fault::Permanent, class));
}

#[rstest]
#[case(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", 3000)]
#[case(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", 16)]
#[case(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n", 3000)]
#[tokio::test]
async fn bodies_cut_off_may_be_asked_for_again(#[case] head: &'static [u8], #[case] bytes: usize) {
    let error = failure(move |_| Reply::Bytes([head, &wav(bytes)].concat())).await;
    assert_eq!((error.fault, error.class.as_str()), (Fault::Transient, "connection_lost"), "{error}");
}

#[rstest]
#[case(vec![])]
#[case(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n".to_vec())]
#[case([b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n".to_vec(), wav(2000)].concat())]
#[tokio::test]
async fn hosts_that_hang_are_left(#[case] start: Vec<u8>) {
    let error = failure_within(Duration::from_millis(100), move |_| Reply::Hang(start.clone())).await;
    assert_eq!((error.fault, error.class.as_str()), (Fault::Transient, "too_slow"));
}

#[tokio::test]
async fn the_whole_download_has_a_time_limit() {
    let folder = tempfile::tempdir().unwrap();
    let server = Loopback::start(|_| Reply::Hang(vec![])).await;
    let recordings = Recordings::new(&config(&folder, &[&server]), Duration::from_millis(50)).unwrap();
    let error = recordings.fetch(&server.url("/")).await.unwrap_err();
    assert_eq!((error.fault, error.class.as_str()), (Fault::Transient, "timeout"));
}

#[tokio::test]
async fn the_key_stays_with_its_origin() {
    let folder = tempfile::tempdir().unwrap();
    let cdn = Loopback::start(|_| Reply::Bytes(http(200, &[], &wav(600)))).await;
    let target = cdn.url("/signed");
    let api = Loopback::start(move |request| {
        let to = if request.starts_with("GET /1 ") { "/2" } else { target.as_str() };
        Reply::Bytes(http(302, &[("Location", to)], &[]))
    })
    .await;
    recordings(&folder, &[&api, &cdn]).fetch(&api.url("/1")).await.unwrap();
    let with_key = |server: &Loopback| -> Vec<bool> {
        server.requests().iter().map(|request| request.contains("authorization: Bearer key-1")).collect()
    };
    assert_eq!((with_key(&api), with_key(&cdn)), (vec![true, true], vec![false]));
}

#[tokio::test]
async fn refused_urls_are_never_asked() {
    let folder = tempfile::tempdir().unwrap();
    let server = Loopback::start(|_| Reply::Bytes(http(200, &[], &wav(600)))).await;
    let mut settings = config(&folder, &[&server]);
    settings.allow_private = false;
    let recordings = Recordings::new(&settings, TOTAL).unwrap();
    assert_eq!(recordings.fetch(&server.url("/")).await.unwrap_err().class.as_str(), "private_address");
    assert_eq!(recordings.fetch("call-0001.mp3").await.unwrap_err().class.as_str(), "not_a_url");
    assert!(server.requests().is_empty());
}

/// A name server that gives one answer first and another afterwards, as in DNS rebinding.
struct Rebinding(Vec<SocketAddr>, std::sync::atomic::AtomicUsize);

impl Resolve for Rebinding {
    fn resolve(&self, _: Name) -> Resolving {
        let turn = self.1.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let address = self.0[turn.min(self.0.len() - 1)];
        Box::pin(std::future::ready(Ok(Box::new(std::iter::once(address)) as Addrs)))
    }
}

#[tokio::test]
async fn names_with_private_addresses_are_refused_and_never_resolved_twice() {
    let folder = tempfile::tempdir().unwrap();
    let server = Loopback::start(|_| Reply::Bytes(http(200, &[], &wav(600)))).await;
    let mut settings = config(&folder, &[]);
    settings.allowed_hosts.push(AllowedHost { host: "media.example.com".into(), port: Some(server.address.port()) });
    let url = format!("media.example.com:{}/a", server.address.port());

    // Connected to the address of the one lookup; a second one would lead nowhere.
    let dead = "127.0.0.1:1".parse().unwrap();
    let resolver = Arc::new(Rebinding(vec![server.address, dead], 0.into()));
    let recordings = Recordings::with_resolver(&settings, TOTAL, resolver.clone()).unwrap();
    recordings.fetch(&format!("http://{url}")).await.unwrap();
    assert_eq!(resolver.1.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert!(server.requests()[0].contains(&format!("host: media.example.com:{}\r\n", server.address.port())));

    settings.allow_private = false;
    let resolver = Arc::new(Rebinding(vec![server.address], 0.into()));
    let recordings = Recordings::with_resolver(&settings, TOTAL, resolver).unwrap();
    let error = recordings.fetch(&format!("https://{url}")).await.unwrap_err();
    assert_eq!((error.fault, error.class.as_str()), (Fault::Permanent, "private_address"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn keys_that_no_header_can_carry_are_found_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = config(&folder, &[]);
    settings.api_key = Some("a\nb".into());
    assert!(Recordings::new(&settings, TOTAL).unwrap_err().to_string().contains("GOTO_API_KEY"));
}
