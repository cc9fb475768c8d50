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
//! Each HTTP answer of a stand-in carries the header `x-stand-in`. All of them misbehave as [`faults`] says, and what
//! they really did stands in [`Standins::effects`].

mod bill;
mod blocks;
mod connections;
mod door;
mod effects;
pub mod faults;
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
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use poem::{Body, Route, Server};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use url::Url;

use self::connections::Connections;
use self::door::{Counters, Door};
use self::effects::Effects;
use self::faults::Faults;
use self::faults::plan::Plan;
use crate::text_enum;

pub use bill::Bill;
pub use effects::Effect;
pub use fixtures::Fixtures;
pub use openai::MODEL;
pub use outbox::Outbox;

/// How long a request that is under way may go on after [`Standins::stop`].
const GRACE: Duration = Duration::from_secs(1);

text_enum!(
    /// Those whom the stand-ins stand in for.
    Upstream {
        /// The recording host.
        Recordings = "recordings",
        /// Speech to text.
        Speech = "speech",
        /// The language model.
        LanguageModel = "language_model",
        /// Slack, both ways in.
        Slack = "slack",
        /// The mail server.
        Smtp = "smtp",
    }
);

/// Where the stand-ins listen, what they ask for, and how they misbehave.
#[derive(Debug, Clone)]
pub struct Options {
    /// The bearer that the recording host and both models ask for; Slack asks for `xoxb-` and the same.
    pub key: SecretString,
    /// Address of the HTTP server, on loopback; port 0 = any free one. A fixed port keeps recording URLs of earlier
    /// runs alive.
    pub http: SocketAddr,
    /// Address of the mail server, on loopback; port 0 = any free one.
    pub smtp: SocketAddr,
    /// Who misbehaves how and when; empty = nobody.
    pub faults: Plan,
    /// A new file that gets a line for each effect before its client is answered; none = no file.
    pub effect_log: Option<PathBuf>,
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
    effects: Effects,
    tasks: TaskTracker,
    stop: DropGuard,
}

impl Default for Options {
    /// Any free ports and a fresh random key.
    fn default() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let key = SecretString::from(format!("dev-{:032x}", rand::random::<u128>()));
        Self { key, http: any, smtp: any, faults: Plan::default(), effect_log: None }
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
        let (counters, effects) = (Arc::<Counters>::default(), Effects::new(options.effect_log.as_deref())?);
        let (outbox, connections) = (Outbox::default(), Connections::default());
        let faults = Arc::new(Faults::new(options.faults));
        let door = Door {
            counters: counters.clone(),
            faults: faults.clone(),
            effects: effects.clone(),
            connections: connections.clone(),
        };

        let key = Arc::new(options.key.clone());
        let uploads = recordings::Recordings::new(fixtures, recordings_url.clone())?;
        let speech = speech::endpoint(fixtures, key.clone());
        let language_model = language_model::endpoint(fixtures, key.clone());
        let routes = Route::new()
            .nest("/recordings", door.before(Upstream::Recordings, recordings::routes(uploads, key.clone())))
            .at("/v1/audio/transcriptions", door.before(Upstream::Speech, speech))
            .at("/v1/chat/completions", door.before(Upstream::LanguageModel, language_model))
            .nest("/slack", door.before(Upstream::Slack, slack::routes(outbox.clone(), key)));
        let server = Server::new_with_acceptor(connections.listen(http)?);
        tasks.spawn(server.run_with_graceful_shutdown(routes, stop.clone().cancelled_owned(), Some(GRACE)));
        let post_office =
            smtp::PostOffice { outbox: outbox.clone(), counters: counters.clone(), faults, effects: effects.clone() };
        tasks.spawn(smtp::serve(mail, post_office, tasks.clone(), stop.clone()));
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
            effects,
            tasks,
            stop: stop.drop_guard(),
        })
    }

    /// For `RECORDING_ALLOWED_HOSTS`: the recording host under both of its names, since a redirect may lead from the one
    /// to the other.
    pub fn recording_hosts(&self) -> String {
        let port = self.recordings_url.port_or_known_default().unwrap_or(80);
        format!("{},localhost:{port}", self.recordings_url.authority())
    }

    /// The settings that lead every client of the product here, with somebody to write to.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let key = self.key.expose_secret();
        vec![
            ("RECORDING_ALLOWED_HOSTS", self.recording_hosts()),
            ("RECORDING_ALLOW_PRIVATE", "true".to_owned()),
            ("GOTO_API_KEY", key.to_owned()),
            ("OPENAI_API_KEY", key.to_owned()),
            ("TRANSCRIPTION_BASE_URL", self.openai_url.to_string()),
            ("ANALYSIS_BASE_URL", self.openai_url.to_string()),
            ("SLACK_WEBHOOK_URL", self.slack_webhook_url.to_string()),
            ("SMTP_HOST", self.smtp.ip().to_string()),
            ("SMTP_PORT", self.smtp.port().to_string()),
            ("SMTP_TLS", "none".to_owned()),
            ("SMTP_FROM_EMAIL", "calls@example.com".to_owned()),
            ("NOTIFICATION_EMAIL_RECIPIENTS", "team@example.com".to_owned()),
        ]
    }

    /// For `SLACK_BOT_TOKEN`.
    pub fn slack_bot_token(&self) -> SecretString {
        slack::bot_token(&self.key)
    }

    /// How many requests a stand-in has had, refused ones included: `recordings`, `speech`, `language_model`, `slack`,
    /// `smtp` (mails begun). Panics on another name.
    pub fn requests(&self, standin: &str) -> u64 {
        self.counters.of(standin.parse().unwrap_or_else(|problem| panic!("{problem}")))
    }

    /// What was really done so far, oldest first.
    pub fn effects(&self) -> Vec<Effect> {
        self.effects.all()
    }

    /// What the transcriber and the language model would charge for, answers that were lost on the way included,
    /// refused requests left out.
    pub fn bill(&self) -> Bill {
        Bill::of(&self.effects.all())
    }

    /// The part of [`Self::bill`] that is for answers which never reached the client: nobody told it what they had used.
    pub fn bill_for_lost_answers(&self) -> Bill {
        Bill::of(self.effects.all().iter().filter(|effect| effect.lost))
    }

    /// Stops listening and waits until what is under way has ended, at most a second.
    pub async fn stop(self) {
        drop(self.stop);
        self.tasks.wait().await;
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
