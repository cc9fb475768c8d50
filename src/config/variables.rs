//! The single list of everything that can be set; `.env.example` is printed from it.

/// One environment variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it belongs to; groups stand together in the list.
    pub group: &'static str,
    /// Whether its value must never be shown; secrets may also come from `$CREDENTIALS_DIRECTORY`.
    pub secret: bool,
    /// The value that is used when it is not set; empty = none, or it depends on others (see `help`).
    pub default: &'static str,
    /// A value for error messages.
    pub example: &'static str,
    /// One line of explanation.
    pub help: &'static str,
}

/// A variable with a default, which is its example too.
const fn preset(group: &'static str, name: &'static str, default: &'static str, help: &'static str) -> Variable {
    Variable { name, group, secret: false, default, example: default, help }
}

/// A variable that has no value unless set.
const fn plain(group: &'static str, name: &'static str, example: &'static str, help: &'static str) -> Variable {
    Variable { name, group, secret: false, default: "", example, help }
}

/// The same, and nobody may see the value.
const fn secret(group: &'static str, name: &'static str, example: &'static str, help: &'static str) -> Variable {
    Variable { name, group, secret: true, default: "", example, help }
}

/// Everything that can be set, in the order of `.env.example`.
#[rustfmt::skip]
pub const VARIABLES: &[Variable] = &[
    preset("app", "APP_ENV", "development", "development or production; decides the default of API_HOST."),
    preset("app", "LOG_LEVEL", "info", "error, warn, info, debug, trace, or a filter such as info,sqlx=debug."),
    preset("app", "LOG_FORMAT", "text", "text for people, json for machines: one object a line."),
    preset("app", "API_HOST", "127.0.0.1", "Address to listen on; in production the default is 0.0.0.0."),
    preset("app", "API_PORT", "8000", "Port to listen on; 0 takes any free one."),
    plain("app", "PUBLIC_URL", "https://calls.example.com", "Where people reach the server, for links in messages; default http://API_HOST:API_PORT."),
    secret("app", "SECRET_KEY", "<openssl rand -hex 32>", "Signs links to recordings: 32 bytes or more, the same for all servers; without it links end with their server."),
    preset("app", "SEARCH_LANGUAGE", "english", "How words are compared in the search: english, german, french, spanish, simple (as they are), ..."),
    preset("app", "TIME_ZONE", "UTC", "Zone of days, of quiet hours and of the times in messages."),

    preset("server", "API_MAX_CONNECTIONS", "1024", "Most open connections; more get 503. The process needs that many open files (LimitNOFILE=)."),
    preset("server", "API_MAX_CONNECTIONS_PER_ADDRESS", "64", "Most of them from one address, or from one /64 network of IPv6."),
    preset("server", "API_FAILED_KEYS_PER_MINUTE", "10", "Wrong API keys from one address before its requests with a key get 429, for longer each time."),
    preset("server", "API_RATE_LIMIT", "100", "API requests per second of one key from one address; twice as many may come at once."),
    plain("server", "API_TRUSTED_PROXIES", "127.0.0.1,::1", "Proxies in front, whose X-Forwarded-For is believed and whose connections are not limited."),
    plain("server", "API_CORS_ORIGINS", "https://app.example.com", "Sites whose pages may use the API, separated by commas, or *; none unless set."),

    secret("database", "DATABASE_URL", "postgres://user:password@localhost/goto_automation", "PostgreSQL 14 or newer; characters such as @ : / # in the password are percent-encoded."),
    secret("database", "DATABASE_LISTEN_URL", "postgres://user:password@localhost:5432/goto_automation", "Direct connection for LISTEN and migrations when DATABASE_URL goes through a pooler."),

    secret("GoTo", "GOTO_WEBHOOK_SECRET", "<openssl rand -hex 32>", "Signs webhooks: 32 bytes or more (openssl rand -hex 32); two, comma separated, while rotating."),
    secret("GoTo", "GOTO_API_KEY", "<token>", "Bearer token for downloading recordings; sent to RECORDING_ALLOWED_HOSTS only."),

    preset("recordings", "RECORDING_STORE", "file:///var/lib/goto-automation/recordings", "Folder that keeps the recordings, as a file URL."),
    preset("recordings", "RECORDING_ALLOWED_HOSTS", "api.goto.com", "Hosts that recordings may come from, redirects included: host or host:port, comma separated."),
    preset("recordings", "RECORDING_ALLOW_PRIVATE", "false", "true permits loopback, private addresses and plain http: for development only, and loud at start."),
    preset("recordings", "RECORDING_MAX_BYTES", "500MB", "A larger recording is refused; bytes, or with a unit such as 500MB or 1GiB."),

    secret("transcription", "OPENAI_API_KEY", "<key>", "Key for transcription and analysis where they have none of their own."),
    preset("transcription", "TRANSCRIPTION_BASE_URL", "https://api.openai.com/v1", "Any OpenAI-compatible server; /audio/transcriptions is added."),
    secret("transcription", "TRANSCRIPTION_API_KEY", "<key>", "Key for transcription alone."),
    preset("transcription", "TRANSCRIPTION_MODEL", "gpt-transcribe", "Model that writes down what was said; whisper-1 works too, on OpenAI's servers until 2027-02-26."),

    preset("analysis", "ANALYSIS_BASE_URL", "https://api.openai.com/v1", "Any OpenAI-compatible server; /chat/completions is added."),
    secret("analysis", "ANALYSIS_API_KEY", "<key>", "Key for analysis alone."),
    preset("analysis", "ANALYSIS_MODEL", "gpt-6-luna", "Model that summarizes the transcript."),
    preset("analysis", "ANALYSIS_TOKEN_LIMIT_FIELD", "max_completion_tokens", "max_completion_tokens, or max_tokens for Ollama and old servers."),
    preset("analysis", "ANALYSIS_STRUCTURED_OUTPUT", "json_schema", "How the server is asked for JSON: json_schema, json_object or prompt; simpler where it knows no better."),
    preset("analysis", "ANALYSIS_MAX_INPUT_TOKENS", "100000", "What the model reads at once, 2000 or more; a longer transcript is analyzed in parts."),

    plain("prices", "PRICE_LIST", "/etc/goto-automation/prices.toml", "File of model prices, in the form of prices.toml, in place of the built-in list."),

    secret("Slack", "SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/...", "Incoming webhook; or use SLACK_BOT_TOKEN with SLACK_CHANNEL."),
    secret("Slack", "SLACK_BOT_TOKEN", "xoxb-...", "Bot token with the scope chat:write; needs SLACK_CHANNEL."),
    plain("Slack", "SLACK_CHANNEL", "C0123456789", "Channel that the bot posts to: its id, or '#name' in quotes."),
    preset("Slack", "SLACK_API_BASE_URL", "https://slack.com/api", "Slack's API; plain http on loopback only."),

    plain("e-mail", "SMTP_HOST", "mail.example.com", "Mail server; needs SMTP_FROM_EMAIL and NOTIFICATION_EMAIL_RECIPIENTS."),
    preset("e-mail", "SMTP_PORT", "587", "Its port; with SMTP_TLS=implicit the default is 465."),
    preset("e-mail", "SMTP_TLS", "starttls", "starttls, implicit (TLS from the first byte) or none (on loopback only)."),
    plain("e-mail", "SMTP_USERNAME", "calls", "Login, if the server wants one; needs SMTP_PASSWORD."),
    secret("e-mail", "SMTP_PASSWORD", "<password>", "Password of SMTP_USERNAME."),
    plain("e-mail", "SMTP_FROM_EMAIL", "calls@example.com", "Sender: an address, or 'Name <address>' in quotes."),
    plain("e-mail", "NOTIFICATION_EMAIL_RECIPIENTS", "team@example.com,lead@example.com", "Who gets the summaries, comma separated; each gets a message of their own."),

    plain("queue", "WORKER_STEPS", "download,transcribe", "Steps that this process works on, comma separated; default all."),
    plain("queue", "WORKER_CONCURRENCY", "transcribe=4,notify=8", "How many jobs of a step run at once in this process."),
    preset("queue", "LEASE_DURATION", "90s", "How long a claimed job stays claimed without a sign of life from its worker."),
    preset("queue", "SWEEP_INTERVAL", "10s", "How often jobs of dead workers are looked for."),
    preset("queue", "SHUTDOWN_TIMEOUT", "30s", "How long running jobs may go on after SIGTERM; systemd's TimeoutStopSec must be longer."),
    preset("queue", "POISON_LIMIT", "5", "Starts without an end, in a row, after which a job is parked for a person."),
    plain("queue", "STEP_MAX_RUN", "download=40m,transcribe=2h,analyze=15m,notify=5m", "Longest run of a step; the defaults are those shown."),
    plain("queue", "UPSTREAM_TIMEOUT", "download=30m,transcribe=600s,analyze=300s,notify=30s", "Longest single request of a step; the defaults are those shown."),
    preset("queue", "RETRY_SCALE", "1", "Factor on all our own waits between attempts, for drills; never on what a server asks for."),
    preset("queue", "JOB_HISTORY_DAYS", "30", "Days after which finished jobs leave the tables of the queue; calls and jobs show them still."),

    preset("notify", "NOTIFY_NO_RECORDING", "false", "true tells of calls without a recording too."),
    plain("notify", "NOTIFY_QUIET_HOURS", "22:00-07:00", "No messages between these times of day in TIME_ZONE; urgency 5 passes."),
    preset("notify", "NOTIFY_ON_UNKNOWN", "resend", "When a message may or may not have arrived: resend (once, marked as a possible repeat) or hold."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write;

    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example");
    const HEAD: &str = "\
# Settings of goto-automation. Copy to .env and remove the # of what you set; the values shown are the defaults, or
# examples where there is no default. An empty value means not set. The environment comes before this file, and for
# secrets a file of the variable's name in $CREDENTIALS_DIRECTORY (systemd's LoadCredential=) comes before both.
# Durations: 500ms, 90s, 10m, 24h. Values with blanks, #, $ or quotes stand in single quotes.
";

    /// `.env.example` as it should be.
    fn env_example() -> String {
        let mut text = HEAD.to_owned();
        let mut group = "";
        for variable in VARIABLES {
            if variable.group != group {
                group = variable.group;
                writeln!(text, "\n# ---- {group} ----").unwrap();
            }
            // A placeholder for a secret is worse than none: somebody would run with it.
            let shown = if variable.secret { "" } else { variable.example };
            writeln!(text, "\n# {}\n# {}={shown}", variable.help, variable.name).unwrap();
        }
        text
    }

    #[test]
    fn env_example_is_the_list() {
        let expected = env_example();
        if std::fs::read_to_string(FILE).unwrap_or_default() != expected {
            let fresh = concat!(env!("CARGO_MANIFEST_DIR"), "/target/env.example");
            std::fs::write(fresh, &expected).unwrap();
            panic!(".env.example differs from VARIABLES; look at the new one and: cp target/env.example .env.example");
        }
    }

    #[test]
    fn env_example_can_be_used_as_env_file() {
        let without_marks: Vec<String> = env_example()
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.split_once('=').is_some_and(|(name, _)| VARIABLES.iter().any(|v| v.name == name)))
            .map(str::to_owned)
            .collect();
        let read: BTreeSet<(String, String)> =
            dotenvy::from_read_iter(without_marks.join("\n").as_bytes()).map(Result::unwrap).collect();
        let expected: BTreeSet<(String, String)> = VARIABLES
            .iter()
            .map(|v| (v.name.to_owned(), if v.secret { String::new() } else { v.example.to_owned() }))
            .collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn the_samples_for_systemd_name_settings() {
        for sample in [include_str!("../../systemd/goto-automation.env"), include_str!("../../systemd/worker-all.env")]
        {
            let settings = sample.lines().filter(|line| !line.starts_with("# "));
            for name in settings.filter_map(|line| line.trim_start_matches('#').split_once('=')).map(|(name, _)| name) {
                assert!(VARIABLES.iter().any(|variable| variable.name == name), "{name}");
            }
        }
    }

    #[test]
    fn names_are_unique_and_help_is_one_sentence() {
        let names: BTreeSet<&str> = VARIABLES.iter().map(|variable| variable.name).collect();
        assert_eq!(names.len(), VARIABLES.len());
        for variable in VARIABLES {
            assert!(variable.help.ends_with('.') && !variable.help.contains('\n'), "{}", variable.name);
            assert!(variable.help.len() <= 110, "{}: {}", variable.name, variable.help.len());
        }
    }
}
