//! Settings: from the environment and `.env`, one struct per concern, checked once at start.
//!
//! [`VARIABLES`] is the list of everything that can be set; `.env.example` is printed from it.
//! [`Config::from_environment`] gathers the values ([`Values`]) and reads them. Whoever lays values of their own over
//! the environment's (`dev`, flags of a command) does the two steps by hand:
//!
//! ```
//! use goto_automation::config::Values;
//! let mut values = Values::from_environment();
//! values.set("API_PORT", "0");
//! let config = values.read();
//! ```

mod analysis;
mod prices;
mod problem;
mod read;
mod reader;
mod search;
mod server;
mod summary;
#[cfg(test)]
mod tests;
mod values;
mod variables;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use secrecy::SecretString;
use url::Url;

use crate::model::PriceList;
pub use analysis::{AnalysisConfig, StructuredOutput, TokenLimitField};
pub use problem::{ConfigErrors, Problem};
pub use server::ServerConfig;
pub use summary::Feature;
pub use values::Values;
pub use variables::{VARIABLES, Variable};

/// Server of the default base URLs; it refuses every request without a key.
const OPENAI_HOST: &str = "api.openai.com";

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Process-wide matters.
    pub app: AppConfig,
    /// Who may come in.
    pub server: ServerConfig,
    /// Where PostgreSQL is; `None` = not set.
    pub database: Option<DatabaseConfig>,
    /// The signed webhook.
    pub webhook: WebhookConfig,
    /// Downloading and keeping recordings.
    pub recordings: RecordingsConfig,
    /// Speech to text.
    pub transcription: TranscriptionConfig,
    /// The language model.
    pub analysis: AnalysisConfig,
    /// What paid upstreams cost.
    pub prices: PricesConfig,
    /// Slack; `None` = off.
    pub slack: Option<SlackConfig>,
    /// E-mail; `None` = off.
    pub email: Option<EmailConfig>,
    /// Workers.
    pub queue: QueueConfig,
    /// What is told to whom and when.
    pub notify: NotifyConfig,
    /// Sentences about what is allowed but looks like a mistake; told at start, never a reason to stop.
    pub warnings: Vec<String>,
}

impl Config {
    /// The settings of this process; what must be told to a person before anything starts is in the error.
    ///
    /// A value comes from the first of these places that has it: for secrets a file of the variable's name in
    /// `$CREDENTIALS_DIRECTORY` (systemd's `LoadCredential=`), the environment, `.env` in the current folder.
    /// An empty value means not set, and hides the places that come later.
    pub fn from_environment() -> Result<Config, ConfigErrors> {
        Values::from_environment().read()
    }

    /// The database, which everything but `dev` needs.
    pub fn require_database(&self) -> Result<&DatabaseConfig, ConfigErrors> {
        let needed = "is not set; serve, worker and migrate keep everything in PostgreSQL";
        self.database.as_ref().ok_or_else(|| Problem::new("DATABASE_URL", needed).into())
    }

    /// The secret of the signed webhook, which `serve` needs.
    pub fn require_webhook_secret(&self) -> Result<(), ConfigErrors> {
        if self.webhook.secrets.is_empty() {
            let needed = "is not set; without it no webhook can be told from a forged one";
            return Err(Problem::new("GOTO_WEBHOOK_SECRET", needed).into());
        }
        Ok(())
    }

    /// What `serve` needs, with every missing setting in one error.
    pub fn require_for_serve(&self) -> Result<&DatabaseConfig, ConfigErrors> {
        match (self.require_database(), self.require_webhook_secret()) {
            (Ok(database), Ok(())) => Ok(database),
            (database, secret) => Err(ConfigErrors::joined([database.err(), secret.err()])),
        }
    }
}

/// `APP_ENV`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// On a developer's machine.
    Development,
    /// For real.
    Production,
}

/// `LOG_FORMAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `APP_ENV`, `LOG_LEVEL`, `LOG_FORMAT`, `API_HOST`, `API_PORT`, `PUBLIC_URL`, `TIME_ZONE`.
#[derive(Debug, Clone)]
pub struct AppConfig {
    /// Development or production.
    pub environment: Environment,
    /// `error`, `warn`, `info`, `debug`, `trace` or a filter such as `info,sqlx=warn`.
    pub log_level: String,
    /// Text or JSON.
    pub log_format: LogFormat,
    /// Address to listen on: 127.0.0.1 in development, 0.0.0.0 in production.
    pub host: String,
    /// Port to listen on.
    pub port: u16,
    /// Where people reach us, for links in messages. Default `http://HOST:PORT`.
    pub public_url: Url,
    /// Signs links; `None` = each server makes one up.
    pub secret_key: Option<SecretString>,
    /// How words are compared in the search: a text search configuration of PostgreSQL.
    pub search_language: &'static str,
    /// Zone of days and of times in messages.
    pub time_zone: Tz,
}

impl AppConfig {
    /// `host:port` to bind to, with the brackets that an IPv6 address needs.
    pub fn listen_address(&self) -> String {
        format!("{}:{}", words::bracketed(&self.host), self.port)
    }
}

/// `DATABASE_URL`, `DATABASE_LISTEN_URL`.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// For everything.
    pub url: SecretString,
    /// Direct connection for LISTEN and migrations; the same as `url` unless set.
    pub listen_url: SecretString,
}

/// `GOTO_WEBHOOK_SECRET`.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// None (webhooks are off), one, or two while rotating; each of at least 32 bytes.
    pub secrets: Vec<SecretString>,
}

/// `RECORDING_STORE`, `RECORDING_ALLOWED_HOSTS`, `RECORDING_ALLOW_PRIVATE`, `RECORDING_MAX_BYTES`, `GOTO_API_KEY`.
#[derive(Debug, Clone)]
pub struct RecordingsConfig {
    /// `file:///path`.
    pub store: Url,
    /// Hosts that recordings may come from; GoTo's own by default.
    pub allowed_hosts: Vec<AllowedHost>,
    /// Permits loopback and private addresses and plain http. Loud at start.
    pub allow_private: bool,
    /// Refuse anything larger.
    pub max_bytes: u64,
    /// Bearer sent to allowed hosts.
    pub api_key: Option<SecretString>,
}

/// `host` (port 443) or `host:port`, lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    /// Name or address literal as `Url::host_str` writes it: lower case, no trailing dot, IPv6 in brackets.
    pub host: String,
    /// `None` = 443 only.
    pub port: Option<u16>,
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(out, ":{port}"))
    }
}

/// `TRANSCRIPTION_BASE_URL`, `TRANSCRIPTION_API_KEY` (else `OPENAI_API_KEY`), `TRANSCRIPTION_MODEL`.
#[derive(Debug, Clone)]
pub struct TranscriptionConfig {
    /// Joined with `/audio/transcriptions`.
    pub base_url: Url,
    /// `None` sends no header; then the step waits if the server is OpenAI's own.
    pub api_key: Option<SecretString>,
    /// Model name, passed on as it is.
    pub model: String,
}

impl TranscriptionConfig {
    /// Whether the step has to wait: the server is OpenAI's own and there is no key for it.
    pub fn lacks_key(&self) -> bool {
        self.api_key.is_none() && self.base_url.host_str() == Some(OPENAI_HOST)
    }
}

/// `PRICE_LIST`.
#[derive(Debug, Clone)]
pub struct PricesConfig {
    /// Where the list comes from; `None` = the one that is built in.
    pub file: Option<PathBuf>,
    /// The list; [`Values::read`] reads the file.
    pub list: Arc<PriceList>,
}

/// `SLACK_WEBHOOK_URL`, or `SLACK_BOT_TOKEN` with `SLACK_CHANNEL`; `SLACK_API_BASE_URL`.
#[derive(Debug, Clone)]
pub enum SlackConfig {
    /// An incoming webhook; its URL is a secret.
    Webhook {
        /// The secret URL.
        url: SecretString,
    },
    /// `chat.postMessage`.
    Bot {
        /// `xoxb-...`.
        token: SecretString,
        /// Channel id `C...` or `#name`.
        channel: String,
        /// Default `https://slack.com/api`.
        base_url: Url,
    },
}

/// `SMTP_TLS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// STARTTLS or nothing; port 587.
    Starttls,
    /// TLS from the first byte; port 465.
    Implicit,
    /// Clear text; loopback only.
    None,
}

/// `SMTP_HOST`, `SMTP_PORT`, `SMTP_TLS`, `SMTP_USERNAME`, `SMTP_PASSWORD`, `SMTP_FROM_EMAIL`,
/// `NOTIFICATION_EMAIL_RECIPIENTS`.
#[derive(Debug, Clone)]
pub struct EmailConfig {
    /// Mail server.
    pub host: String,
    /// Its port; 587 by default, 465 with implicit TLS.
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// Login, if any; username and password come together.
    pub login: Option<(String, SecretString)>,
    /// Sender, `Name <address>` or `address`.
    pub from: String,
    /// One message each.
    pub recipients: Vec<String>,
}

/// `WORKER_STEPS`, `WORKER_CONCURRENCY`, `LEASE_DURATION`, `SWEEP_INTERVAL`, `SHUTDOWN_TIMEOUT`, `POISON_LIMIT`,
/// `STEP_MAX_RUN`, `UPSTREAM_TIMEOUT`, `RETRY_SCALE`, `JOB_HISTORY_DAYS`.
#[derive(Debug, Clone)]
pub struct QueueConfig {
    /// Steps that this process works on; `None` = all.
    pub steps: Option<Vec<String>>,
    /// Slots per step, where they differ from the step's own default.
    pub concurrency: BTreeMap<String, usize>,
    /// How long a claim is valid without renewal.
    pub lease: Duration,
    /// How often expired leases are looked for.
    pub sweep_interval: Duration,
    /// How long running jobs may go on after SIGTERM.
    pub shutdown_timeout: Duration,
    /// Starts without an end, in a row, after which a job is parked.
    pub poison_limit: i32,
    /// Longest run per step, where it differs from the step's own default.
    pub max_run: BTreeMap<String, Duration>,
    /// Longest request per step, where it differs from the default.
    pub upstream_timeout: BTreeMap<String, Duration>,
    /// Factor on our own backoff, not-ready waits and probes; never on a `Retry-After` or a deadline.
    pub retry_scale: f64,
    /// How long finished jobs stay in the hot tables before they go to the history.
    pub history_after: Duration,
}

impl QueueConfig {
    /// Longest single request of a step to its upstream: `UPSTREAM_TIMEOUT`, else the step's default.
    pub fn upstream_timeout(&self, step: &str) -> Duration {
        let seconds = match step {
            "download" => 1800,
            "transcribe" => 600,
            "notify" => 30,
            _ => 300,
        };
        self.upstream_timeout.get(step).copied().unwrap_or(Duration::from_secs(seconds))
    }

    /// Refuses step names that are not in `known`. The pipeline has the list, so it is not checked while reading.
    pub fn check_steps(&self, known: &[&str]) -> Result<(), ConfigErrors> {
        let named = [
            ("WORKER_STEPS", self.steps.iter().flatten().collect::<Vec<_>>()),
            ("WORKER_CONCURRENCY", self.concurrency.keys().collect()),
            ("STEP_MAX_RUN", self.max_run.keys().collect()),
            ("UPSTREAM_TIMEOUT", self.upstream_timeout.keys().collect()),
        ];
        let mut problems = Vec::new();
        for (variable, steps) in named {
            for step in steps.into_iter().filter(|step| !known.contains(&step.as_str())) {
                let problem = format!("{} is none of the steps {}", words::shown(step), known.join(", "));
                problems.push(Problem::new(variable, problem));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(ConfigErrors(problems)) }
    }
}

/// `NOTIFY_ON_UNKNOWN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknown {
    /// Send once more, marked as a possible repeat.
    Resend,
    /// Leave it to a person.
    Hold,
}

/// `NOTIFY_NO_RECORDING`, `NOTIFY_QUIET_HOURS`, `NOTIFY_ON_UNKNOWN`.
#[derive(Debug, Clone)]
pub struct NotifyConfig {
    /// Tell of calls without a recording too.
    pub no_recording: bool,
    /// No messages between these times of day in `TIME_ZONE`; urgency 5 passes.
    pub quiet_hours: Option<(chrono::NaiveTime, chrono::NaiveTime)>,
    /// What to do when a message may or may not have arrived.
    pub on_unknown: OnUnknown,
}
