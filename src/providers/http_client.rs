//! What all HTTP clients of the providers share: TLS, the client for JSON upstreams, bounded bodies, `Retry-After`,
//! and what a failed connection means.

use std::time::Duration;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use reqwest::Response;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::model::{FailureClass, Fault, UpstreamError};

/// Longest time to wait for a TCP and TLS handshake.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How we name ourselves.
pub(super) const USER_AGENT: &str = concat!("goto-automation/", env!("CARGO_PKG_VERSION"));

/// Longest wait that an upstream may ask for; what it wants beyond that is asked for again.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);
/// Shortest wait: an upstream that says "0 seconds" for ever must not be asked without a pause.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Where upstreams and their proxies put the id of a request.
const REQUEST_ID_HEADERS: [&str; 3] = ["x-request-id", "x-amz-cf-id", "x-amz-request-id"];
/// More than this of a request id is not an id.
const MAX_REQUEST_ID: usize = 200;

/// Makes ring the TLS provider of the process. May be called again and from several places.
pub fn install_tls() {
    // An error says that somebody was here before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The client for upstreams that speak JSON: no redirects, no cookies, proxies from the environment. The request's
/// own time limit is set by who sends it. Share it: it holds the connections.
pub fn client() -> anyhow::Result<reqwest::Client> {
    install_tls();
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .context("no HTTPS client: the system's CA certificates cannot be read; install the package ca-certificates")
}

/// The upstream's id of the request, for its support.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    let value = REQUEST_ID_HEADERS.iter().find_map(|name| headers.get(*name))?.to_str().ok()?;
    (!value.is_empty() && value.len() <= MAX_REQUEST_ID).then(|| value.to_owned())
}

/// When to come again: `retry-after-ms` (unofficial, but sent by `OpenAI`), or `Retry-After` as seconds or as an HTTP
/// date (RFC 9110, section 10.2.3). Between 1 second and 1 hour.
pub(super) fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let milliseconds = text("retry-after-ms").and_then(|value| value.parse().ok()).map(Duration::from_millis);
    let wait = milliseconds.or_else(|| {
        let value = text(RETRY_AFTER.as_str())?;
        let seconds = value.parse().ok().map(Duration::from_secs);
        seconds.or_else(|| {
            let date = DateTime::parse_from_rfc2822(value).ok()?;
            Some((date.with_timezone(&Utc) - now).to_std().unwrap_or_default())
        })
    });
    wait.map(bounded_wait)
}

/// A wait that an upstream asked for, within our bounds.
pub(super) fn bounded_wait(wait: Duration) -> Duration {
    wait.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER)
}

/// Why a body was not read to its end.
#[derive(Debug)]
pub(super) enum BodyError {
    /// More bytes than permitted.
    TooLarge,
    /// The connection broke or the time was up.
    Lost(reqwest::Error),
}

/// Reads a body of at most `limit` bytes, counted while they arrive.
pub(super) async fn read_body(mut response: Response, limit: usize) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Lost)? {
        if body.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// What follows from a request that got no (whole) answer. `who` begins a sentence: "The transcription server"; `address`
/// is where a person finds its address: `TRANSCRIPTION_BASE_URL`.
pub(super) fn connection_error(error: reqwest::Error, who: &str, address: &str) -> UpstreamError {
    // The URL may carry a signature in its query.
    let error = error.without_url();
    let cause = root_cause(&error);
    if error.is_builder() {
        let text = format!("{who} cannot be asked with these settings ({cause}). Check {address} and its key.");
        return UpstreamError::new(Fault::Blocked, FailureClass::NotConfigured, text).as_no_sign();
    }
    let (class, text) = if error.is_timeout() {
        (
            FailureClass::Timeout,
            format!("{who} did not answer in time. If that goes on, look after it or raise UPSTREAM_TIMEOUT."),
        )
    } else if error.is_dns() {
        (
            FailureClass::Dns,
            format!(
                "{who} was not found: its name cannot be resolved ({cause}). If that goes on, check {address} and the \
                 DNS of this machine."
            ),
        )
    } else if error.is_connect() {
        (
            FailureClass::Connect,
            format!(
                "{who} cannot be reached ({cause}). If that goes on, check {address} and the network of this machine."
            ),
        )
    } else {
        (
            FailureClass::ConnectionLost,
            format!("{who} broke off its answer ({cause}). If that goes on, look after it and the proxies before it."),
        )
    };
    UpstreamError::new(Fault::Transient, class, text)
}

/// The innermost reason, which is the one that says something ("Connection refused").
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;
    use rstest::rstest;

    use super::*;
    use crate::providers::loopback::{Loopback, Reply, http};

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_str(value).unwrap())])
    }

    #[rstest]
    #[case("retry-after", "30", Some(30_000))]
    #[case("retry-after", " 30 ", Some(30_000))]
    #[case("retry-after", "0", Some(1_000))]
    #[case("retry-after", "86400", Some(3_600_000))]
    #[case("retry-after", "99999999999999999999", None)]
    #[case("retry-after", "-5", None)]
    #[case("retry-after", "soon", None)]
    #[case("retry-after", "", None)]
    #[case("retry-after", "Mon, 05 Jan 2026 10:00:45 GMT", Some(45_000))]
    #[case("retry-after", "Mon, 05 Jan 2026 09:00:00 GMT", Some(1_000))]
    #[case("retry-after", "Tue, 06 Jan 2026 10:00:00 GMT", Some(3_600_000))]
    #[case("retry-after-ms", "1500", Some(1_500))]
    #[case("retry-after-ms", "x", None)]
    #[case("x-other", "30", None)]
    fn retry_after_is_read(#[case] name: &'static str, #[case] value: &str, #[case] expected: Option<u64>) {
        let now = "2026-01-05T10:00:00Z".parse().unwrap();
        assert_eq!(retry_after(&headers(name, value), now), expected.map(Duration::from_millis));
    }

    #[test]
    fn request_ids_are_bounded() {
        assert_eq!(request_id(&headers("x-request-id", "req_1")).as_deref(), Some("req_1"));
        assert_eq!(request_id(&headers("x-request-id", &"x".repeat(201))), None);
        assert_eq!(request_id(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn bodies_are_counted() {
        let server = Loopback::start(|_| Reply::Bytes(http(200, &[], b"0123456789"))).await;
        let get = async || client().unwrap().get(server.url("/")).send().await.unwrap();
        assert_eq!(read_body(get().await, 10).await.unwrap().as_ref(), b"0123456789");
        assert!(matches!(read_body(get().await, 9).await, Err(BodyError::TooLarge)));
    }

    #[tokio::test]
    async fn a_closed_port_is_transient_and_tells_no_query() {
        let url = Loopback::closed_url("/x?signature=secret").await;
        let error = client().unwrap().get(url).send().await.unwrap_err();
        let error = connection_error(error, "The recording host", "the address");
        assert_eq!((error.fault, error.class.as_str()), (Fault::Transient, "connect"));
        assert!(!error.message.contains("secret"), "{}", error.message);
    }
}
