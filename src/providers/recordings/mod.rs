//! Downloads recordings from hosts that nobody has to trust, into the store.
//!
//! What a URL may be stands in [`guard`], what the first bytes must be in [`mod@sniff`], how a recording gets its name in
//! [`store`]. Here: the requests, their limits, and what each answer means.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::dns::Resolve;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::{Response, StatusCode};
use secrecy::ExposeSecret;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use self::guard::{Guard, GuardedResolver, SystemResolver, private_address_in, same_origin};
use self::sniff::{MIN_BYTES, sniff};
use self::store::{Incoming, Store};
use super::http_client::{self, CONNECT_TIMEOUT, USER_AGENT, connection_error, request_id, retry_after};
use crate::config::RecordingsConfig;
use crate::model::{FailureClass, Fault, UpstreamError, clock};

mod guard;
mod sniff;
mod store;

/// How often a host may send us elsewhere.
const MAX_REDIRECTS: usize = 3;
/// Least bytes that must arrive in each window of time.
const MIN_BYTES_PER_WINDOW: u64 = 30_000;
/// Where the addresses of recordings come from.
const ADDRESS: &str = "the recording_url that the webhook's sender gives";
/// The window: together 1 kB/s.
const SPEED_WINDOW: Duration = Duration::from_secs(30);

/// A recording in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecording {
    /// Name inside the store.
    pub path: String,
    /// Hash of the content, 64 lower-case hex digits.
    pub sha256: String,
    /// Size of the content.
    pub bytes: u64,
    /// Told by the content: `audio/wav`.
    pub media_type: &'static str,
    /// Told by the content: `wav`.
    pub extension: &'static str,
}

/// Fetches and keeps recordings. Cheap to clone; the clones share their connections.
#[derive(Debug, Clone)]
pub struct Recordings {
    client: reqwest::Client,
    guard: Guard,
    store: Store,
    authorization: Option<HeaderValue>,
    limits: Limits,
}

/// How much of our time and space a host may take.
#[derive(Debug, Clone)]
struct Limits {
    bytes: u64,
    total: Duration,
    window: Duration,
}

impl Recordings {
    /// Recordings as the settings say. `timeout` bounds one whole download, redirects included.
    pub fn new(config: &RecordingsConfig, timeout: Duration) -> anyhow::Result<Self> {
        Self::with_resolver(config, timeout, Arc::new(SystemResolver))
    }

    fn with_resolver(config: &RecordingsConfig, total: Duration, inner: Arc<dyn Resolve>) -> anyhow::Result<Self> {
        http_client::install_tls();
        let allow_private = config.allow_private;
        // A proxy would resolve and connect in our place, past the guard. Nothing is decompressed: reqwest is built
        // without those features, and what comes compressed all the same is no audio.
        let client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(GuardedResolver { inner, allow_private })
            .build()
            .context("no HTTPS client: the system's CA certificates cannot be read; install ca-certificates")?;
        let key = config.api_key.as_ref().filter(|key| !key.expose_secret().is_empty());
        let authorization = key.map(|key| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()))
                .context("GOTO_API_KEY has characters that no HTTP header may carry")?;
            value.set_sensitive(true);
            anyhow::Ok(value)
        });
        Ok(Self {
            client,
            guard: Guard { allowed_hosts: config.allowed_hosts.clone(), allow_private },
            store: Store::open_url(&config.store)?,
            authorization: authorization.transpose()?,
            limits: Limits { bytes: config.max_bytes, total, window: SPEED_WINDOW },
        })
    }

    /// Downloads the recording at `url` and keeps it. May be repeated: the same content becomes the same object, and
    /// a failed or dropped download leaves nothing behind.
    pub async fn fetch(&self, url: &str) -> Result<StoredRecording, UpstreamError> {
        let seconds = self.limits.total.as_secs();
        timeout(self.limits.total, self.download(url)).await.unwrap_or_else(|_| {
            let text = format!(
                "The recording was not downloaded within {seconds} s: its host is too slow. If that \
                 goes on, raise UPSTREAM_TIMEOUT."
            );
            Err(UpstreamError::new(Fault::Transient, FailureClass::Timeout, text))
        })
    }

    /// Opens a stored recording for reading and seeking, at its start.
    pub async fn open(&self, path: &str) -> Result<File, UpstreamError> {
        self.store.open(path).await
    }

    /// Whether a stored recording is still there.
    pub async fn exists(&self, path: &str) -> Result<bool, UpstreamError> {
        self.store.exists(path).await
    }

    /// Whether the store can be reached and written, for `/health`.
    pub async fn check(&self) -> anyhow::Result<()> {
        self.store.check().await
    }

    async fn download(&self, url: &str) -> Result<StoredRecording, UpstreamError> {
        let mut url = self.guard.check(url)?;
        self.store.require_room(None)?;
        let mut authorization = self.authorization.clone();
        for _ in 0..=MAX_REDIRECTS {
            let host = host_of(&url);
            let response = self.request(&url, authorization.clone()).await?;
            let id = request_id(response.headers());
            let Some(location) = redirect(&response) else {
                let received = match status_error(&response, &host) {
                    Some(error) => Err(error),
                    None => self.receive(response, &host).await,
                };
                return received.map_err(|error| error.with_request_id(id));
            };
            let next = self.guard.follow(&url, &location).map_err(|error| error.with_request_id(id))?;
            if !same_origin(&url, &next) {
                authorization = None;
            }
            url = next;
        }
        let text = format!(
            "{} redirects again and again (more than {MAX_REDIRECTS} times). Ask whoever runs it, and run the job \
             again.",
            who(&host_of(&url))
        );
        Err(UpstreamError::new(Fault::Permanent, FailureClass::RefusedRedirect, text))
    }

    async fn request(&self, url: &Url, authorization: Option<HeaderValue>) -> Result<Response, UpstreamError> {
        let mut request = self.client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        match timeout(self.limits.window, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                Err(private_address_in(&error).unwrap_or_else(|| connection_error(error, &who(&host_of(url)), ADDRESS)))
            }
            Err(_) => Err(too_slow(&host_of(url))),
        }
    }

    async fn receive(&self, mut response: Response, host: &str) -> Result<StoredRecording, UpstreamError> {
        let declared = response.content_length();
        if declared.is_some_and(|bytes| bytes > self.limits.bytes) {
            return Err(self.too_large(host));
        }
        self.store.require_room(declared)?;
        let mut incoming = self.store.receive()?;
        let (mut window_end, mut window_bytes) = (Instant::now() + self.limits.window, 0);
        loop {
            match timeout_at(window_end, response.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    window_bytes += chunk.len() as u64;
                    self.append(&mut incoming, &chunk, host).await?;
                }
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(connection_error(error, &who(host), ADDRESS)),
                Err(_) if window_bytes < MIN_BYTES_PER_WINDOW => return Err(too_slow(host)),
                Err(_) => (window_end, window_bytes) = (Instant::now() + self.limits.window, 0),
            }
        }
        let audio = sniff(incoming.head()).map_err(|what| not_audio(host, what));
        match incoming.bytes() {
            0 => Err(not_audio(host, "an empty file")),
            bytes if bytes < MIN_BYTES as u64 && audio.is_ok() => Err(not_audio(host, &format!("only {bytes} bytes"))),
            _ => self.store.keep(incoming, audio?).await,
        }
    }

    async fn append(&self, incoming: &mut Incoming, chunk: &[u8], host: &str) -> Result<(), UpstreamError> {
        if incoming.bytes() + chunk.len() as u64 > self.limits.bytes {
            return Err(self.too_large(host));
        }
        let undecided = incoming.head().len() < MIN_BYTES;
        incoming.write(chunk).await?;
        // Whoever sends a web page without end is stopped at its start.
        if undecided && incoming.head().len() == MIN_BYTES {
            sniff(incoming.head()).map_err(|what| not_audio(host, what))?;
        }
        Ok(())
    }

    fn too_large(&self, host: &str) -> UpstreamError {
        let limit = self.limits.bytes;
        let text = format!(
            "The recording at {host} is larger than {limit} bytes. If that is right, raise RECORDING_MAX_BYTES and \
             run the job again."
        );
        UpstreamError::new(Fault::Permanent, FailureClass::RecordingTooLarge, text)
    }
}

/// Begins a sentence about the host.
fn who(host: &str) -> String {
    format!("The recording host {host}")
}

/// The place that a redirect names, if the answer is one.
fn redirect(response: &Response) -> Option<String> {
    let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).filter(|_| is_redirect)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// What an answer other than a recording means; `None` for one whose body is to be read.
fn status_error(response: &Response, host: &str) -> Option<UpstreamError> {
    let status = response.status();
    let ask = "If that goes on, ask whoever runs it.";
    let (fault, class, what, remedy) = match status {
        StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION => return None,
        StatusCode::ACCEPTED | StatusCode::NOT_FOUND => (
            Fault::NotReady,
            FailureClass::NotReady,
            "does not have the recording, or not yet",
            "If it never comes, look for it in the telephone system.",
        ),
        StatusCode::UNAUTHORIZED => {
            (Fault::Blocked, FailureClass::KeyRefused, "refuses our key", "Set a valid GOTO_API_KEY.")
        }
        StatusCode::FORBIDDEN | StatusCode::GONE => (
            Fault::Permanent,
            FailureClass::LinkRefused,
            "does not give the recording out: the link has expired or is not for us",
            "Ask whoever runs it, and run the job again.",
        ),
        StatusCode::TOO_MANY_REQUESTS => {
            let wait = retry_after(response.headers(), clock::now());
            let fault = wait.map_or(Fault::Transient, Fault::RetryAfter);
            let remedy = "If that goes on, lower WORKER_CONCURRENCY.";
            (fault, FailureClass::RateLimited, "asks us to come more slowly", remedy)
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => {
            (Fault::Transient, FailureClass::ServerError, "could not answer", ask)
        }
        _ if status.is_server_error() => (Fault::Transient, FailureClass::ServerError, "has a problem of its own", ask),
        _ => (
            Fault::Permanent,
            FailureClass::UnexpectedStatus,
            "answers without the recording",
            "Check the recording_url that the webhook's sender gives.",
        ),
    };
    let text = format!("{} {what} (HTTP {}). {remedy}", who(host), status.as_u16());
    Some(UpstreamError::new(fault, class, text))
}

fn not_audio(host: &str, what: &str) -> UpstreamError {
    let text = format!("{} sent {what} instead of an audio file. Check {ADDRESS}.", who(host));
    UpstreamError::new(Fault::Permanent, FailureClass::NotAudio, text)
}

fn too_slow(host: &str) -> UpstreamError {
    UpstreamError::new(
        Fault::Transient,
        FailureClass::TooSlow,
        format!("{} sends the recording too slowly, or not at all. If that goes on, ask whoever runs it.", who(host)),
    )
}

/// The host, and the port when it is not the usual one. Never the path, which may carry a token.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests;
