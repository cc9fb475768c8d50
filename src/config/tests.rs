//! Reading settings: what is accepted, what is refused and in which words.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use rstest::rstest;
use secrecy::ExposeSecret;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Reads settings of which only the given ones are set.
fn read(set: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::read(&|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
}

/// All that is wrong, as `VARIABLE: problem`.
fn problems(set: &[(&str, &str)]) -> Vec<String> {
    let errors = read(set).expect_err("these settings must be refused");
    errors.0.iter().map(|problem| format!("{}: {}", problem.variable, problem.problem)).collect()
}

/// Mail settings that work, to which one thing is added.
fn with_mail<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut set = more.to_vec();
    let base = [
        ("SMTP_HOST", "mail.example.com"),
        ("SMTP_FROM_EMAIL", "Calls <calls@example.com>"),
        ("NOTIFICATION_EMAIL_RECIPIENTS", "a@example.com"),
    ];
    set.extend(base.into_iter().filter(|(name, _)| more.iter().all(|(other, _)| other != name)));
    set
}

#[test]
fn exactly_the_listed_variables_are_asked_for() {
    let asked = RefCell::new(BTreeSet::new());
    let lookup = |name: &str| {
        asked.borrow_mut().insert(name.to_owned());
        None
    };
    Config::read(&lookup).unwrap();
    let listed: BTreeSet<String> = VARIABLES.iter().map(|variable| variable.name.to_owned()).collect();
    assert_eq!(asked.into_inner(), listed);
}

#[test]
fn the_listed_defaults_are_the_ones_used() {
    let defaults: Vec<(&str, &str)> = VARIABLES.iter().map(|variable| (variable.name, variable.default)).collect();
    assert_eq!(format!("{:?}", read(&defaults).unwrap()), format!("{:?}", read(&[]).unwrap()));
}

#[test]
fn the_listed_examples_are_accepted() {
    let examples: Vec<(&str, &str)> = VARIABLES
        .iter()
        // Placeholders that must be replaced, and one of two that exclude each other.
        .filter(|variable| !["GOTO_WEBHOOK_SECRET", "SECRET_KEY", "SLACK_WEBHOOK_URL"].contains(&variable.name))
        .map(|variable| (variable.name, variable.example))
        .collect();
    read(&examples).unwrap();
    for name in ["GOTO_WEBHOOK_SECRET", "SECRET_KEY"] {
        assert_eq!(problems(&[(name, "<openssl rand -hex 32>")]).len(), 1, "{name}");
    }
}

#[test]
fn with_nothing_set_everything_has_its_default() {
    let config = read(&[]).unwrap();
    assert_eq!(config.app.listen_address(), "127.0.0.1:8000");
    assert_eq!(config.app.public_url.as_str(), "http://127.0.0.1:8000/");
    assert!(config.database.is_none() && config.slack.is_none() && config.email.is_none());
    assert!(config.webhook.secrets.is_empty() && config.warnings.is_empty());
    assert_eq!(config.recordings.max_bytes, 500_000_000);
    assert_eq!(config.recordings.allowed_hosts, [AllowedHost { host: "api.goto.com".into(), port: None }]);
    assert_eq!(config.transcription.model, "gpt-transcribe");
    assert_eq!((config.analysis.model.as_str(), config.analysis.max_input_tokens), ("gpt-6-luna", 100_000));
    assert!(config.transcription.lacks_key() && config.analysis.lacks_key());
    assert_eq!(config.queue.lease, Duration::from_secs(90));
    assert_eq!(config.notify.on_unknown, OnUnknown::Resend);
}

#[test]
fn empty_values_are_not_set() {
    let empty: Vec<(&str, &str)> = VARIABLES.iter().map(|variable| (variable.name, " \t")).collect();
    assert_eq!(format!("{:?}", read(&empty).unwrap()), format!("{:?}", read(&[]).unwrap()));
}

#[test]
fn production_listens_everywhere_and_asks_for_its_address() {
    let config = read(&[("APP_ENV", "Production")]).unwrap();
    assert_eq!(config.app.listen_address(), "0.0.0.0:8000");
    assert_eq!(config.warnings, ["PUBLIC_URL is not set, so links in messages lead to http://localhost:8000/"]);
    let config = read(&[("APP_ENV", "production"), ("PUBLIC_URL", "https://calls.example.com/app/")]).unwrap();
    assert_eq!(config.app.public_url.as_str(), "https://calls.example.com/app");
    assert!(config.warnings.is_empty());
}

#[test]
fn every_problem_is_told_at_once() {
    let told = read(&[("API_PORT", "many"), ("LEASE_DURATION", "90"), ("SMTP_HOST", "mail"), ("SMTP_TLS", "ssl")]);
    insta::assert_snapshot!(told.unwrap_err(), @r#"
    API_PORT: "many" is not a number from 0 to 65535. Example: API_PORT=8000
    SMTP_TLS: "ssl" is none of starttls, implicit, none. Example: SMTP_TLS=starttls
    SMTP_FROM_EMAIL: is not set, but SMTP_HOST is. Example: SMTP_FROM_EMAIL=calls@example.com
    NOTIFICATION_EMAIL_RECIPIENTS: is not set, but SMTP_HOST is. Example: NOTIFICATION_EMAIL_RECIPIENTS=team@example.com,lead@example.com
    LEASE_DURATION: "90" is not a duration such as 500ms, 90s, 10m or 24h. Example: LEASE_DURATION=90s
    "#);
}

#[test]
fn secrets_show_neither_in_problems_nor_in_debug() {
    let canary = "canary value";
    for variable in VARIABLES.iter().filter(|variable| variable.secret) {
        let told = read(&[(variable.name, canary)]).err().map(|errors| errors.to_string()).unwrap_or_default();
        assert!(!told.contains("canary"), "{told}");
    }
    let long = format!("canary-{SECRET}");
    let config = read(&with_mail(&[
        ("DATABASE_URL", "postgres://app:canary@db/calls"),
        ("DATABASE_LISTEN_URL", "postgres://app:canary@db:5432/calls"),
        ("GOTO_WEBHOOK_SECRET", &long),
        ("GOTO_API_KEY", "canary"),
        ("OPENAI_API_KEY", "canary"),
        ("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/canary"),
        ("SMTP_USERNAME", "calls"),
        ("SMTP_PASSWORD", "canary"),
    ]))
    .unwrap();
    assert!(!format!("{config:?}").contains("canary"));
    // A URL that is no secret must not become one.
    let told = problems(&[("ANALYSIS_BASE_URL", "https://user:canary@llm.example.com/v1")]);
    assert_eq!(told, ["ANALYSIS_BASE_URL: must not contain a user name or password"]);
}

#[rstest]
#[case("APP_ENV", "prod", "\"prod\" is none of development, production")]
#[case(
    "LOG_LEVEL",
    "verbose",
    "\"verbose\" is none of error, warn, info, debug, trace or a filter such as info,sqlx=debug"
)]
#[case("LOG_LEVEL", "info,sqlx=loud", "\"info,sqlx=loud\" is not a filter such as info,sqlx=debug")]
#[case("LOG_FORMAT", "xml", "\"xml\" is none of text, json")]
#[case("API_HOST", "http://x", "\"http://x\" is not a host: a name or an address without https://, port and path")]
#[case("API_HOST", "a..b", "\"a..b\" is not a host: a name or an address without https://, port and path")]
#[case("API_PORT", "65536", "\"65536\" is not a number from 0 to 65535")]
#[case("PUBLIC_URL", "calls.example.com", "is not a URL such as https://host/path")]
#[case("PUBLIC_URL", "ftp://calls.example.com", "must begin with https:// or http://")]
#[case("PUBLIC_URL", "https://x/?a=b", "must end with its path: paths are added to it, so that ? and # cannot follow")]
#[case("API_MAX_CONNECTIONS", "0", "\"0\" is not a number from 1 to 1000000")]
#[case(
    "API_CORS_ORIGINS",
    "https://a.example/",
    "\"https://a.example/\" is not an origin: write it as https://app.example.com, without a path"
)]
#[case("API_TRUSTED_PROXIES", "127.0.0.1,proxy", "\"proxy\" is not an IP address")]
#[case("TIME_ZONE", "Berlin", "\"Berlin\" is not a time zone such as Europe/Berlin or UTC")]
#[case("DATABASE_URL", "mysql://x/y", "must begin with postgres://")]
#[case("GOTO_API_KEY", "two words", "contains a blank or another character that no key has; was it copied whole?")]
#[case("RECORDING_STORE", "/srv/calls", "\"/srv/calls\" is not a URL of the form file:///path")]
#[case("RECORDING_STORE", "file://srv/calls", "needs three slashes: file:///path, with the path from the root")]
#[case("RECORDING_STORE", "file:///", "must name a folder, not the root")]
#[case("RECORDING_STORE", "s3://b/p", "s3:// is not supported yet; recordings can be kept in a folder, file:///path")]
#[case("RECORDING_ALLOWED_HOSTS", "*.goto.com", "\"*.goto.com\" has a wildcard; name each host")]
#[case("RECORDING_ALLOWED_HOSTS", "a.com:0", "\"a.com:0\" is not host or host:port")]
#[case("RECORDING_ALLOWED_HOSTS", "https://a.com", "\"https://a.com\" is not host or host:port")]
#[case("RECORDING_ALLOWED_HOSTS", ",", "names no host")]
#[case("RECORDING_ALLOW_PRIVATE", "maybe", "\"maybe\" is neither true nor false")]
#[case("RECORDING_MAX_BYTES", "0", "\"0\" is not a size: bytes above 0, or with a unit such as 500MB or 1GiB")]
#[case(
    "RECORDING_MAX_BYTES",
    "99999999999GB",
    "\"99999999999GB\" is not a size: bytes above 0, or with a unit such as 500MB or 1GiB"
)]
#[case(
    "SLACK_API_BASE_URL",
    "http://slack.com/api",
    "must begin with https://; plain http is permitted on loopback only"
)]
#[case(
    "SLACK_WEBHOOK_URL",
    "http://hooks.slack.com/x",
    "must begin with https://; plain http is permitted on loopback only"
)]
#[case("SLACK_WEBHOOK_URL", "hooks.slack.com/x", "is not a URL such as https://host/path")]
#[case("SMTP_TLS", "none", "none is permitted on loopback only, and SMTP_HOST is mail.example.com")]
#[case("SMTP_PORT", "0", "\"0\" is not a number from 1 to 65535")]
#[case("SMTP_FROM_EMAIL", "calls", "\"calls\" is not an e-mail address")]
#[case("NOTIFICATION_EMAIL_RECIPIENTS", "a@example.com,b", "\"b\" is not an e-mail address")]
#[case("NOTIFICATION_EMAIL_RECIPIENTS", ",", "names nobody")]
#[case("WORKER_STEPS", "a b", "\"a b\" is not the name of a step")]
#[case("WORKER_CONCURRENCY", "transcribe", "\"transcribe\" is not step=value")]
#[case("WORKER_CONCURRENCY", "transcribe=0", "for transcribe, \"0\" is not a number from 1 to 1000")]
#[case("WORKER_CONCURRENCY", "notify=1,NOTIFY=2", "notify stands there twice")]
#[case("STEP_MAX_RUN", "notify=5", "for notify, \"5\" is not a duration such as 500ms, 90s, 10m or 24h")]
#[case("LEASE_DURATION", "10ms", "\"10ms\" is not between 1s and 3600s")]
#[case(
    "SWEEP_INTERVAL",
    "99999999999999999999s",
    "\"99999999999999999999s\" is not a duration such as 500ms, 90s, 10m or 24h"
)]
#[case("SHUTDOWN_TIMEOUT", "99999999999999999h", "\"99999999999999999h\" is not between 0ns and 3600s")]
#[case("POISON_LIMIT", "-1", "\"-1\" is not a number from 1 to 1000")]
#[case("RETRY_SCALE", "0", "\"0\" is not a number from 0.0001 to 1000")]
#[case("RETRY_SCALE", "NaN", "\"NaN\" is not a number from 0.0001 to 1000")]
#[case("NOTIFY_QUIET_HOURS", "22-7", "\"22-7\" is not two times of day such as 22:00-07:00")]
#[case("NOTIFY_QUIET_HOURS", "07:00-07:00", "\"07:00-07:00\" begins and ends at the same time")]
#[case("NOTIFY_ON_UNKNOWN", "drop", "\"drop\" is none of resend, hold")]
fn a_wrong_value_is_refused(#[case] name: &str, #[case] value: &str, #[case] problem: &str) {
    let mail = name.starts_with("SMTP_") || name.starts_with("NOTIFICATION_");
    let set = if mail { with_mail(&[(name, value)]) } else { vec![(name, value)] };
    assert_eq!(problems(&set), [format!("{name}: {problem}")]);
}

#[rstest]
#[case(&[("DATABASE_LISTEN_URL", "postgres://db/calls")], "DATABASE_URL: is not set, but DATABASE_LISTEN_URL is")]
#[case(&[("SLACK_WEBHOOK_URL", "https://h/x"), ("SLACK_BOT_TOKEN", "xoxb-1")], "SLACK_WEBHOOK_URL: is set together with SLACK_BOT_TOKEN; keep one of them")]
#[case(&[("SLACK_BOT_TOKEN", "xoxb-1")], "SLACK_CHANNEL: is not set, but SLACK_BOT_TOKEN is; in .env a #name stands in single quotes")]
#[case(&[("SLACK_CHANNEL", "#calls")], "SLACK_BOT_TOKEN: is not set, but SLACK_CHANNEL is")]
#[case(&[("SMTP_USERNAME", "calls")], "SMTP_PASSWORD: is not set, but SMTP_USERNAME is")]
#[case(&[("SMTP_PASSWORD", "x")], "SMTP_USERNAME: is not set, but SMTP_PASSWORD is")]
#[case(&[("SMTP_HOST", "m"), ("SMTP_FROM_EMAIL", "a@example.com")], "NOTIFICATION_EMAIL_RECIPIENTS: is not set, but SMTP_HOST is")]
#[case(&[("SMTP_HOST", "m"), ("NOTIFICATION_EMAIL_RECIPIENTS", "a@example.com")], "SMTP_FROM_EMAIL: is not set, but SMTP_HOST is")]
#[case(&[("NOTIFICATION_EMAIL_RECIPIENTS", "a@example.com")], "SMTP_HOST: is not set, but NOTIFICATION_EMAIL_RECIPIENTS is")]
fn contradictions_are_refused(#[case] set: &[(&str, &str)], #[case] problem: &str) {
    assert_eq!(problems(set), [problem]);
}

#[rstest]
#[case("short", "has 5 bytes; at least 32 are needed")]
#[case("0123456789abcdef0123456789abcdef,", "its secret number 2 has 0 bytes; at least 32 are needed")]
#[case("a,b,c", "has 3 parts; one secret, or two separated by a comma, are possible")]
fn a_weak_webhook_secret_is_refused(#[case] value: &str, #[case] problem: &str) {
    assert_eq!(problems(&[("GOTO_WEBHOOK_SECRET", value)]), [format!("GOTO_WEBHOOK_SECRET: {problem}")]);
}

#[test]
fn two_webhook_secrets_stand_side_by_side_while_rotating() {
    let config = read(&[("GOTO_WEBHOOK_SECRET", &format!("{SECRET}, new-{SECRET}"))]).unwrap();
    let secrets: Vec<&str> = config.webhook.secrets.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(secrets, [SECRET.to_owned(), format!("new-{SECRET}")]);
}

#[rstest]
#[case("500ms", 500)]
#[case("90s", 90_000)]
#[case("10m", 600_000)]
#[case("1H", 3_600_000)]
#[case("0s", 0)]
fn durations(#[case] value: &str, #[case] milliseconds: u64) {
    let config = read(&[("SHUTDOWN_TIMEOUT", value)]).unwrap();
    assert_eq!(config.queue.shutdown_timeout, Duration::from_millis(milliseconds));
}

#[rstest]
#[case("1", 1)]
#[case("500MB", 500_000_000)]
#[case("500 mb", 500_000_000)]
#[case("1GiB", 1_073_741_824)]
fn sizes(#[case] value: &str, #[case] bytes: u64) {
    assert_eq!(read(&[("RECORDING_MAX_BYTES", value)]).unwrap().recordings.max_bytes, bytes);
}

#[rstest]
#[case("API.GoTo.com.", "api.goto.com")]
#[case("media.example.com:8443", "media.example.com:8443")]
#[case("127.1:80", "127.0.0.1:80")]
#[case("::1", "[::1]")]
#[case("[::1]:9000", "[::1]:9000")]
#[case("a.example, b.example,a.example", "a.example b.example")]
fn allowed_hosts_have_one_spelling(#[case] value: &str, #[case] expected: &str) {
    let config = read(&[("RECORDING_ALLOWED_HOSTS", value)]).unwrap();
    let hosts: Vec<String> = config.recordings.allowed_hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts.join(" "), expected);
}

#[test]
fn addresses_of_ip_version_6_get_brackets_where_a_port_follows() {
    let config = read(&[("API_HOST", "[::1]"), ("API_PORT", "0")]).unwrap();
    assert_eq!(config.app.listen_address(), "[::1]:0");
    assert_eq!(config.app.public_url.as_str(), "http://[::1]:0/");
}

#[test]
fn the_common_key_serves_where_there_is_no_own() {
    let config = read(&[("OPENAI_API_KEY", "common"), ("ANALYSIS_API_KEY", "own")]).unwrap();
    assert_eq!(config.transcription.api_key.unwrap().expose_secret(), "common");
    assert_eq!(config.analysis.api_key.unwrap().expose_secret(), "own");
    assert_eq!(problems(&[("OPENAI_API_KEY", "two words")]).len(), 1, "used twice, told once");
}

#[test]
fn own_servers_need_no_key() {
    let config = read(&[("ANALYSIS_BASE_URL", "http://10.0.0.5:11434/v1/")]).unwrap();
    assert_eq!(config.analysis.base_url.as_str(), "http://10.0.0.5:11434/v1");
    assert!(!config.analysis.lacks_key() && config.transcription.lacks_key());
}

#[test]
fn slack_speaks_plain_http_with_this_machine_only() {
    let set =
        [("SLACK_BOT_TOKEN", "xoxb-1"), ("SLACK_CHANNEL", "#calls"), ("SLACK_API_BASE_URL", "http://localhost:9/api/")];
    let Some(SlackConfig::Bot { base_url, channel, .. }) = read(&set).unwrap().slack else { panic!("a bot") };
    assert_eq!((base_url.as_str(), channel.as_str()), ("http://localhost:9/api", "#calls"));
    let config = read(&[("SLACK_WEBHOOK_URL", "http://127.0.0.1:9/x"), ("SLACK_CHANNEL", "#calls")]).unwrap();
    assert!(matches!(config.slack, Some(SlackConfig::Webhook { .. })));
    assert_eq!(config.warnings.len(), 1);
}

#[rstest]
#[case("starttls", "mail.example.com", 587)]
#[case("IMPLICIT", "mail.example.com", 465)]
#[case("none", "localhost", 587)]
#[case("none", "127.0.0.9", 587)]
#[case("none", "::1", 587)]
fn mail_ports_follow_the_protection(#[case] tls: &str, #[case] host: &str, #[case] port: u16) {
    let config = read(&with_mail(&[("SMTP_TLS", tls), ("SMTP_HOST", host)])).unwrap();
    assert_eq!(config.email.unwrap().port, port);
}

#[test]
fn mail_recipients_are_told_apart_and_get_one_message_each() {
    let set = [("NOTIFICATION_EMAIL_RECIPIENTS", "a@example.com, Bea <b@example.com>,A@example.com,")];
    assert_eq!(read(&with_mail(&set)).unwrap().email.unwrap().recipients, ["a@example.com", "Bea <b@example.com>"]);
    let config = read(&with_mail(&[("SMTP_PORT", "465")])).unwrap();
    assert_eq!(config.warnings, ["SMTP_PORT is 465, where servers expect TLS from the first byte: SMTP_TLS=implicit"]);
}

#[test]
fn steps_are_set_one_by_one() {
    let config = read(&[
        ("WORKER_STEPS", "Download, transcribe,download"),
        ("WORKER_CONCURRENCY", "transcribe=4"),
        ("STEP_MAX_RUN", "transcribe=2h"),
        ("UPSTREAM_TIMEOUT", "transcribe=20s"),
    ])
    .unwrap();
    let queue = &config.queue;
    assert_eq!(queue.steps.as_deref().unwrap(), ["download", "transcribe"]);
    assert_eq!(queue.concurrency["transcribe"], 4);
    assert_eq!(queue.max_run["transcribe"], Duration::from_hours(2));
    let seconds = |step| queue.upstream_timeout(step).as_secs();
    let timeouts = ["download", "transcribe", "analyze", "notify"].map(seconds);
    assert_eq!(timeouts, [1800, 20, 300, 30]);

    queue.check_steps(&["download", "transcribe"]).unwrap();
    let told = queue.check_steps(&["download", "transcription"]).unwrap_err();
    let variables: Vec<&str> = told.0.iter().map(|problem| problem.variable.as_str()).collect();
    assert_eq!(variables, ["WORKER_STEPS", "WORKER_CONCURRENCY", "STEP_MAX_RUN", "UPSTREAM_TIMEOUT"]);
    assert_eq!(told.0[0].problem, "\"transcribe\" is none of the steps download, transcription");
}

#[test]
fn what_serve_needs_is_told_at_once() {
    let told = read(&[]).unwrap().require_for_serve().unwrap_err();
    let variables: Vec<&str> = told.0.iter().map(|problem| problem.variable.as_str()).collect();
    assert_eq!(variables, ["DATABASE_URL", "GOTO_WEBHOOK_SECRET"]);
    let set = [("DATABASE_URL", "postgres:///calls?host=/run/postgresql"), ("GOTO_WEBHOOK_SECRET", SECRET)];
    let config = read(&set).unwrap();
    let database = config.require_for_serve().unwrap();
    assert_eq!(database.listen_url.expose_secret(), database.url.expose_secret());
}
