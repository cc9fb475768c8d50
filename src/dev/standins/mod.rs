//! Stand-ins for every upstream whose settings are absent. They speak the real protocols on loopback, and the product
//! reaches them through the same clients as the real ones.
//!
//! | stand-in | speaks | knows |
//! |---|---|---|
//! | [`recordings`] | `GET /recordings/NAME.wav` with a bearer, uploads for `simulate --audio` | the audio of the fixtures |
//! | [`speech`] | `OpenAI`'s `POST /v1/audio/transcriptions` | the fixtures' words, told from the samples of any piece |
//! | [`language_model`] | `OpenAI`'s `POST /v1/chat/completions` | the fixtures' analyses, told from the transcript |
//! | [`slack`] | incoming webhook and `chat.postMessage` | Slack's limits on blocks |
//! | [`smtp`] | RFC 5321 without TLS and login | |
//!
//! What Slack and mail received stands in the [`Outbox`], which the product's own server shows under `/dev/outbox`.
//! Each HTTP answer of a stand-in carries the header `x-stand-in`.

mod blocks;
pub mod fixtures;
mod language_model;
mod openai;
pub mod outbox;
mod recordings;
mod slack;
mod smtp;
mod sound;
mod speech;
mod transcript;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use poem::http::HeaderValue;
use poem::listener::TcpAcceptor;
use poem::{Body, Endpoint, EndpointExt, IntoEndpoint, Response, Route, Server};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use url::Url;

pub use fixtures::Fixtures;
pub use openai::MODEL;
pub use outbox::Outbox;

/// How long a request that is under way may go on after [`Standins::stop`].
const GRACE: Duration = Duration::from_secs(1);

/// Where the stand-ins listen and what they ask for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The bearer that the recording host and both models ask for; Slack asks for `xoxb-` and the same.
    pub key: SecretString,
    /// Address of the HTTP server, on loopback; port 0 = any free one. A fixed port keeps recording URLs of earlier
    /// runs alive.
    pub http: SocketAddr,
    /// Address of the mail server, on loopback; port 0 = any free one.
    pub smtp: SocketAddr,
}

/// The running stand-ins. They stop when this is dropped.
#[derive(Debug)]
pub struct Standins {
    /// Base of recordings, ends in a slash: join it with `double-charge.wav`, or PUT audio to `upload/NAME` first and
    /// join that. Both ask for [`Self::key`] as bearer.
    pub recordings_url: Url,
    /// For `TRANSCRIPTION_BASE_URL` and `ANALYSIS_BASE_URL`; ends in `/v1`.
    pub openai_url: Url,
    /// For `SLACK_WEBHOOK_URL`.
    pub slack_webhook_url: Url,
    /// For `SLACK_API_BASE_URL`; joined with `/chat.postMessage`.
    pub slack_api_url: Url,
    /// For `SMTP_HOST` and `SMTP_PORT`, with `SMTP_TLS=none` and no login.
    pub smtp: SocketAddr,
    /// For `GOTO_API_KEY` and `OPENAI_API_KEY`.
    pub key: SecretString,
    /// What Slack and mail received.
    pub outbox: Outbox,
    counters: Arc<Counters>,
    tasks: TaskTracker,
    stop: DropGuard,
}

/// Requests per stand-in, for tests.
#[derive(Debug, Default)]
struct Counters {
    recordings: AtomicU64,
    speech: AtomicU64,
    language_model: AtomicU64,
    slack: AtomicU64,
    smtp: AtomicU64,
}

impl Default for Options {
    /// Any free ports and a fresh random key.
    fn default() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { key: SecretString::from(format!("dev-{:032x}", rand::random::<u128>())), http: any, smtp: any }
    }
}

impl Standins {
    /// Starts all stand-ins on free ports with a fresh key.
    pub async fn start(fixtures: Fixtures) -> anyhow::Result<Self> {
        Self::start_with(fixtures, Options::default()).await
    }

    /// Starts all stand-ins. Fails when an address is not on loopback or taken.
    pub async fn start_with(fixtures: Fixtures, options: Options) -> anyhow::Result<Self> {
        let (http, http_address) = listen(options.http, "HTTP").await?;
        let (mail, mail_address) = listen(options.smtp, "SMTP").await?;
        let base = Url::parse(&format!("http://{http_address}/"))?;
        let recordings_url = base.join("recordings/")?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let counters = Arc::<Counters>::default();
        let outbox = Outbox::default();

        let key = Arc::new(options.key.clone());
        let uploads = recordings::Recordings::new(fixtures, recordings_url.clone())?;
        let routes = Route::new()
            .nest("/recordings", door("recordings", &counters, recordings::routes(uploads, key.clone())))
            .at("/v1/audio/transcriptions", door("speech", &counters, speech::endpoint(fixtures, key.clone())))
            .at(
                "/v1/chat/completions",
                door("language_model", &counters, language_model::endpoint(fixtures, key.clone())),
            )
            .nest("/slack", door("slack", &counters, slack::routes(outbox.clone(), key)));
        let server = Server::new_with_acceptor(TcpAcceptor::from_tokio(http)?);
        tasks.spawn(server.run_with_graceful_shutdown(routes, stop.clone().cancelled_owned(), Some(GRACE)));
        tasks.spawn(smtp::serve(mail, outbox.clone(), counters.clone(), tasks.clone(), stop.clone()));
        tasks.close();

        Ok(Self {
            recordings_url,
            openai_url: base.join("v1")?,
            slack_webhook_url: base.join("slack/webhook")?,
            slack_api_url: base.join("slack/api")?,
            smtp: mail_address,
            key: options.key,
            outbox,
            counters,
            tasks,
            stop: stop.drop_guard(),
        })
    }

    /// For `SLACK_BOT_TOKEN`.
    pub fn slack_bot_token(&self) -> SecretString {
        slack::bot_token(&self.key)
    }

    /// How many requests a stand-in has had, refused ones included: `recordings`, `speech`, `language_model`, `slack`,
    /// `smtp` (mails begun). Panics on another name.
    pub fn requests(&self, standin: &str) -> u64 {
        self.counters.of(standin).load(Ordering::Relaxed)
    }

    /// Stops listening and waits until what is under way has ended, at most a second.
    pub async fn stop(self) {
        drop(self.stop);
        self.tasks.wait().await;
    }
}

impl Counters {
    fn of(&self, standin: &str) -> &AtomicU64 {
        match standin {
            "recordings" => &self.recordings,
            "speech" => &self.speech,
            "language_model" => &self.language_model,
            "slack" => &self.slack,
            "smtp" => &self.smtp,
            other => panic!("there is no stand-in named {other}"),
        }
    }

    fn count(&self, standin: &str) {
        self.of(standin).fetch_add(1, Ordering::Relaxed);
    }
}

async fn listen(address: SocketAddr, what: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    anyhow::ensure!(address.ip().is_loopback(), "The {what} stand-in listens on loopback only, not on {address}.");
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("The {what} stand-in cannot listen on {address}. Is another one running?"))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// What every request to an HTTP stand-in goes through: it is counted, and its answer says who answers.
fn door<E>(name: &'static str, counters: &Arc<Counters>, stand_in: E) -> impl Endpoint<Output = Response> + use<E>
where
    E: IntoEndpoint,
    E::Endpoint: 'static,
{
    let counters = counters.clone();
    stand_in.into_endpoint().map_to_response().around(move |endpoint, request| {
        let counters = counters.clone();
        async move {
            counters.count(name);
            tracing::debug!(stand_in = name, method = %request.method(), "request to a stand-in");
            let mut response = match endpoint.call(request).await {
                Ok(response) => response,
                Err(error) => error.into_response(),
            };
            response.headers_mut().insert("x-stand-in", HeaderValue::from_static(name));
            Ok(response)
        }
    })
}

/// Reads a whole body but keeps it only up to `limit` bytes; `Err` is the real length. Reading on is what lets the
/// client see the refusal: a connection closed in the middle of an upload loses the answer.
async fn read_body(body: Body, limit: usize) -> std::io::Result<Result<Bytes, usize>> {
    let (mut kept, mut length) = (BytesMut::new(), 0);
    let mut stream = body.into_bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        length += chunk.len();
        if length <= limit {
            kept.extend_from_slice(&chunk);
        }
    }
    Ok(if length <= limit { Ok(kept.freeze()) } else { Err(length) })
}

/// Whether the request carries `Authorization: Bearer KEY`; `None` = it carries no bearer at all.
fn bearer_is(request: &poem::Request, key: &SecretString) -> Option<bool> {
    let given = request.header("authorization")?.strip_prefix("Bearer ")?;
    Some(given == key.expose_secret())
}

/// A client for the tests of the stand-ins.
#[cfg(test)]
fn http_client() -> reqwest::Client {
    // Without a process-wide provider reqwest refuses to build even a client that speaks plain http only.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_on_loopback_and_free_again_after_the_stop() {
        let standins = Standins::start(Fixtures::embedded()).await.unwrap();
        assert_eq!(standins.openai_url.path(), "/v1");
        assert_eq!(standins.recordings_url.join("a.wav").unwrap().path(), "/recordings/a.wav");
        let http: SocketAddr = standins.openai_url.socket_addrs(|| None).unwrap()[0];
        let smtp = standins.smtp;
        assert!(http.ip().is_loopback() && smtp.ip().is_loopback());
        standins.stop().await;
        let again = Options { http, smtp, ..Options::default() };
        Standins::start_with(Fixtures::embedded(), again).await.unwrap().stop().await;
    }

    #[tokio::test]
    async fn other_addresses_are_refused() {
        let open = Options { http: "0.0.0.0:0".parse().unwrap(), ..Options::default() };
        let error = Standins::start_with(Fixtures::embedded(), open).await.unwrap_err();
        assert!(error.to_string().contains("loopback only"), "{error}");
    }
}
