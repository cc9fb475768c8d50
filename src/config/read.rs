//! From values to [`Config`]: one function per struct, contradictions included.

use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;
use secrecy::SecretString;
use url::Url;

use super::reader::Reader;
use super::{
    AnalysisConfig, AppConfig, Config, ConfigErrors, DatabaseConfig, EmailConfig, Environment, LogFormat, NotifyConfig,
    OnUnknown, PricesConfig, QueueConfig, RecordingsConfig, ServerConfig, SlackConfig, SmtpTls, StructuredOutput,
    TokenLimitField, TranscriptionConfig, WebhookConfig, prices, search, words,
};

const API_PORT: u16 = 8000;
const RECORDING_STORE: &str = "file:///var/lib/goto-automation/recordings";
/// GoTo's API alone: the bearer goes to every host of this list, and the host behind its redirects is not documented.
const RECORDING_ALLOWED_HOSTS: &str = "api.goto.com";
const RECORDING_MAX_BYTES: u64 = 500_000_000;
const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";
const TRANSCRIPTION_MODEL: &str = "gpt-transcribe";
const ANALYSIS_MODEL: &str = "gpt-6-luna";
const ANALYSIS_MAX_INPUT_TOKENS: usize = 100_000;
/// The instructions with the answer's form take a thousand.
const LEAST_INPUT_TOKENS: usize = 2_000;
const SLACK_API_BASE_URL: &str = "https://slack.com/api";
/// RFC 6409 and RFC 8314: submission, and submission with TLS from the first byte.
const SMTP_PORTS: (u16, u16) = (587, 465);
const LEASE_DURATION: Duration = Duration::from_secs(90);
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
const POISON_LIMIT: i32 = 5;
const JOB_HISTORY_DAYS: u32 = 30;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

impl Config {
    /// Reads all settings through `lookup`, which answers `None` for what is not set. Pure: asks nobody else, and leaves
    /// the price list as it is built in.
    ///
    /// The error lists everything that is wrong, not the first thing only.
    pub fn read(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
        let mut reader = Reader::new(lookup);
        let mut config = Config {
            app: app(&mut reader),
            server: server(&mut reader),
            database: database(&mut reader),
            webhook: webhook(&mut reader),
            recordings: recordings(&mut reader),
            transcription: transcription(&mut reader),
            analysis: analysis(&mut reader),
            prices: PricesConfig { file: reader.text("PRICE_LIST").map(PathBuf::from), list: prices::built_in() },
            slack: slack(&mut reader),
            email: email(&mut reader),
            queue: queue(&mut reader),
            notify: notify(&mut reader),
            warnings: Vec::new(),
        };
        config.warnings = reader.finish()?;
        Ok(config)
    }
}

fn app(reader: &mut Reader<'_>) -> AppConfig {
    let environments = [("development", Environment::Development), ("production", Environment::Production)];
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let environment =
        reader.meaning("APP_ENV", |v| words::choice(v, &environments)).unwrap_or(Environment::Development);
    let default_host = if environment == Environment::Production { "0.0.0.0" } else { "127.0.0.1" };
    let host = reader.meaning("API_HOST", words::host).unwrap_or_else(|| default_host.to_owned());
    let port = reader.meaning("API_PORT", |v| words::number(v, 0, u16::MAX)).unwrap_or(API_PORT);
    let public_url = reader.meaning("PUBLIC_URL", words::base_url).unwrap_or_else(|| local_url(&host, port));
    if environment == Environment::Production && !reader.is_set("PUBLIC_URL") {
        reader.warn(format!("PUBLIC_URL is not set, so links in messages lead to {public_url}"));
    }
    AppConfig {
        environment,
        log_level: reader.meaning("LOG_LEVEL", words::log_filter).unwrap_or_else(|| "info".to_owned()),
        log_format: reader.meaning("LOG_FORMAT", |v| words::choice(v, &formats)).unwrap_or(LogFormat::Text),
        host,
        port,
        public_url,
        secret_key: reader.meaning("SECRET_KEY", words::secret_key),
        search_language: reader.meaning("SEARCH_LANGUAGE", search::language).unwrap_or("english"),
        time_zone: reader.meaning("TIME_ZONE", time_zone).unwrap_or(Tz::UTC),
    }
}

fn server(reader: &mut Reader<'_>) -> ServerConfig {
    let usual = ServerConfig::default();
    let per_address = reader.meaning("API_MAX_CONNECTIONS_PER_ADDRESS", |v| words::number(v, 1, 1_000_000));
    ServerConfig {
        max_connections: reader
            .meaning("API_MAX_CONNECTIONS", |v| words::number(v, 1, 1_000_000))
            .unwrap_or(usual.max_connections),
        max_connections_per_address: per_address.unwrap_or(usual.max_connections_per_address),
        failed_keys_per_minute: reader
            .meaning("API_FAILED_KEYS_PER_MINUTE", |v| words::number(v, 1, 1_000_000))
            .unwrap_or(usual.failed_keys_per_minute),
        api_rate: reader.meaning("API_RATE_LIMIT", |v| words::number(v, 1, 1_000_000)).unwrap_or(usual.api_rate),
        trusted_proxies: reader.meaning("API_TRUSTED_PROXIES", words::addresses).unwrap_or_default(),
        cors_origins: reader.meaning("API_CORS_ORIGINS", words::origins).unwrap_or_default(),
    }
}

/// Where this machine reaches itself: "all addresses" is none that a browser can open.
fn local_url(host: &str, port: u16) -> Url {
    let host = if matches!(host, "0.0.0.0" | "::") { "localhost" } else { host };
    let url = format!("http://{}:{port}", words::bracketed(host));
    Url::parse(&url).expect("a checked host and a port make a URL")
}

fn time_zone(value: &str) -> words::Meaning<Tz> {
    value.parse().map_err(|_| format!("{} is not a time zone such as Europe/Berlin or UTC", words::shown(value)))
}

fn database(reader: &mut Reader<'_>) -> Option<DatabaseConfig> {
    let url = reader.meaning("DATABASE_URL", words::postgres_url);
    let listen_url = reader.meaning("DATABASE_LISTEN_URL", words::postgres_url);
    if listen_url.is_some() && !reader.is_set("DATABASE_URL") {
        reader.problem("DATABASE_URL", "is not set, but DATABASE_LISTEN_URL is");
    }
    let url = url?;
    Some(DatabaseConfig { listen_url: listen_url.unwrap_or_else(|| url.clone()), url })
}

fn webhook(reader: &mut Reader<'_>) -> WebhookConfig {
    WebhookConfig { secrets: reader.meaning("GOTO_WEBHOOK_SECRET", words::webhook_secrets).unwrap_or_default() }
}

fn recordings(reader: &mut Reader<'_>) -> RecordingsConfig {
    let default_hosts = || words::allowed_hosts(RECORDING_ALLOWED_HOSTS).expect("the default is well written");
    RecordingsConfig {
        store: reader.meaning("RECORDING_STORE", words::store_url).unwrap_or_else(|| fixed_url(RECORDING_STORE)),
        allowed_hosts: reader.meaning("RECORDING_ALLOWED_HOSTS", words::allowed_hosts).unwrap_or_else(default_hosts),
        allow_private: reader.meaning("RECORDING_ALLOW_PRIVATE", words::switch).unwrap_or(false),
        max_bytes: reader.meaning("RECORDING_MAX_BYTES", words::size).unwrap_or(RECORDING_MAX_BYTES),
        api_key: reader.meaning("GOTO_API_KEY", words::token),
    }
}

fn transcription(reader: &mut Reader<'_>) -> TranscriptionConfig {
    TranscriptionConfig {
        base_url: model_base_url(reader, "TRANSCRIPTION_BASE_URL"),
        api_key: model_key(reader, "TRANSCRIPTION_API_KEY"),
        model: reader.text("TRANSCRIPTION_MODEL").unwrap_or_else(|| TRANSCRIPTION_MODEL.to_owned()),
    }
}

fn analysis(reader: &mut Reader<'_>) -> AnalysisConfig {
    let fields =
        [("max_completion_tokens", TokenLimitField::MaxCompletionTokens), ("max_tokens", TokenLimitField::MaxTokens)];
    let outputs = [StructuredOutput::JsonSchema, StructuredOutput::JsonObject, StructuredOutput::Prompt]
        .map(|output| (output.as_str(), output));
    AnalysisConfig {
        base_url: model_base_url(reader, "ANALYSIS_BASE_URL"),
        api_key: model_key(reader, "ANALYSIS_API_KEY"),
        model: reader.text("ANALYSIS_MODEL").unwrap_or_else(|| ANALYSIS_MODEL.to_owned()),
        token_limit_field: reader
            .meaning("ANALYSIS_TOKEN_LIMIT_FIELD", |v| words::choice(v, &fields))
            .unwrap_or(TokenLimitField::MaxCompletionTokens),
        structured_output: reader
            .meaning("ANALYSIS_STRUCTURED_OUTPUT", |v| words::choice(v, &outputs))
            .unwrap_or(StructuredOutput::JsonSchema),
        max_input_tokens: reader
            .meaning("ANALYSIS_MAX_INPUT_TOKENS", |v| words::number(v, LEAST_INPUT_TOKENS, 10_000_000))
            .unwrap_or(ANALYSIS_MAX_INPUT_TOKENS),
    }
}

fn model_base_url(reader: &mut Reader<'_>, name: &str) -> Url {
    reader.meaning(name, words::base_url).unwrap_or_else(|| fixed_url(OPENAI_BASE_URL))
}

/// The step's own key, else the one for both.
fn model_key(reader: &mut Reader<'_>, name: &str) -> Option<SecretString> {
    if reader.is_set(name) {
        reader.meaning(name, words::token)
    } else {
        reader.meaning("OPENAI_API_KEY", words::token)
    }
}

fn slack(reader: &mut Reader<'_>) -> Option<SlackConfig> {
    let webhook = reader.meaning("SLACK_WEBHOOK_URL", |v| words::protected_url(v).map(|_| v.into()));
    let token = reader.meaning("SLACK_BOT_TOKEN", words::token);
    let channel = reader.text("SLACK_CHANNEL");
    let base_url = reader.meaning("SLACK_API_BASE_URL", |v| {
        words::protected_url(v)?;
        words::base_url(v)
    });
    match (reader.is_set("SLACK_WEBHOOK_URL"), reader.is_set("SLACK_BOT_TOKEN"), channel.is_some()) {
        (true, true, _) => {
            reader.problem("SLACK_WEBHOOK_URL", "is set together with SLACK_BOT_TOKEN; keep one of them");
        }
        (false, true, false) => {
            let unset = "is not set, but SLACK_BOT_TOKEN is; in .env a #name stands in single quotes";
            reader.problem("SLACK_CHANNEL", unset);
        }
        (false, false, true) => reader.problem("SLACK_BOT_TOKEN", "is not set, but SLACK_CHANNEL is"),
        (true, false, true) => {
            reader.warn("SLACK_CHANNEL is set but not used: the channel of SLACK_WEBHOOK_URL was chosen in Slack");
        }
        _ => {}
    }
    match (webhook, token, channel) {
        (Some(url), ..) => Some(SlackConfig::Webhook { url }),
        (None, Some(token), Some(channel)) => {
            let base_url = base_url.unwrap_or_else(|| fixed_url(SLACK_API_BASE_URL));
            Some(SlackConfig::Bot { token, channel, base_url })
        }
        _ => None,
    }
}

fn email(reader: &mut Reader<'_>) -> Option<EmailConfig> {
    let modes = [("starttls", SmtpTls::Starttls), ("implicit", SmtpTls::Implicit), ("none", SmtpTls::None)];
    let host = reader.meaning("SMTP_HOST", words::host);
    let tls = reader.meaning("SMTP_TLS", |v| words::choice(v, &modes)).unwrap_or(SmtpTls::Starttls);
    let default_port = if tls == SmtpTls::Implicit { SMTP_PORTS.1 } else { SMTP_PORTS.0 };
    let port = reader.meaning("SMTP_PORT", |v| words::number(v, 1, u16::MAX)).unwrap_or(default_port);
    let login = email_login(reader);
    let from = reader.meaning("SMTP_FROM_EMAIL", words::mailbox);
    let recipients = reader.meaning("NOTIFICATION_EMAIL_RECIPIENTS", words::mailboxes);

    if reader.is_set("SMTP_HOST") {
        for needed in ["SMTP_FROM_EMAIL", "NOTIFICATION_EMAIL_RECIPIENTS"] {
            if !reader.is_set(needed) {
                reader.problem(needed, "is not set, but SMTP_HOST is");
            }
        }
    } else if reader.is_set("NOTIFICATION_EMAIL_RECIPIENTS") {
        reader.problem("SMTP_HOST", "is not set, but NOTIFICATION_EMAIL_RECIPIENTS is");
    }
    let host = host?;
    if tls == SmtpTls::None && !words::is_loopback(&host) {
        reader.problem("SMTP_TLS", format!("none is permitted on loopback only, and SMTP_HOST is {host}"));
    }
    if tls == SmtpTls::Starttls && port == SMTP_PORTS.1 {
        reader.warn("SMTP_PORT is 465, where servers expect TLS from the first byte: SMTP_TLS=implicit");
    }
    Some(EmailConfig { host, port, tls, login, from: from?, recipients: recipients? })
}

fn email_login(reader: &mut Reader<'_>) -> Option<(String, SecretString)> {
    match (reader.text("SMTP_USERNAME"), reader.raw("SMTP_PASSWORD")) {
        (Some(username), Some(password)) => return Some((username, password.into())),
        (Some(_), None) => reader.problem("SMTP_PASSWORD", "is not set, but SMTP_USERNAME is"),
        (None, Some(_)) => reader.problem("SMTP_USERNAME", "is not set, but SMTP_PASSWORD is"),
        (None, None) => {}
    }
    None
}

fn queue(reader: &mut Reader<'_>) -> QueueConfig {
    let slots = |value: &str| words::number(value, 1, 1000);
    let run = |value: &str| words::duration(value, SECOND, DAY);
    QueueConfig {
        steps: reader.meaning("WORKER_STEPS", words::steps),
        concurrency: reader.meaning("WORKER_CONCURRENCY", |v| words::per_step(v, slots)).unwrap_or_default(),
        lease: reader.meaning("LEASE_DURATION", |v| words::duration(v, SECOND, HOUR)).unwrap_or(LEASE_DURATION),
        sweep_interval: reader
            .meaning("SWEEP_INTERVAL", |v| words::duration(v, Duration::from_millis(50), HOUR))
            .unwrap_or(SWEEP_INTERVAL),
        shutdown_timeout: reader
            .meaning("SHUTDOWN_TIMEOUT", |v| words::duration(v, Duration::ZERO, HOUR))
            .unwrap_or(SHUTDOWN_TIMEOUT),
        poison_limit: reader.meaning("POISON_LIMIT", |v| words::number(v, 1, 1000)).unwrap_or(POISON_LIMIT),
        max_run: reader.meaning("STEP_MAX_RUN", |v| words::per_step(v, run)).unwrap_or_default(),
        upstream_timeout: reader.meaning("UPSTREAM_TIMEOUT", |v| words::per_step(v, run)).unwrap_or_default(),
        // Not zero: without any wait a job that fails at once would spin.
        retry_scale: reader.meaning("RETRY_SCALE", |v| words::number(v, 0.0001, 1000.0)).unwrap_or(1.0),
        history_after: DAY
            * reader.meaning("JOB_HISTORY_DAYS", |v| words::number(v, 1, 3650)).unwrap_or(JOB_HISTORY_DAYS),
    }
}

fn notify(reader: &mut Reader<'_>) -> NotifyConfig {
    let answers = [("resend", OnUnknown::Resend), ("hold", OnUnknown::Hold)];
    NotifyConfig {
        no_recording: reader.meaning("NOTIFY_NO_RECORDING", words::switch).unwrap_or(false),
        quiet_hours: reader.meaning("NOTIFY_QUIET_HOURS", words::quiet_hours),
        on_unknown: reader.meaning("NOTIFY_ON_UNKNOWN", |v| words::choice(v, &answers)).unwrap_or(OnUnknown::Resend),
    }
}

fn fixed_url(text: &str) -> Url {
    Url::parse(text).expect("a constant of this file is a URL")
}
