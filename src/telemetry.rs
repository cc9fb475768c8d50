//! Structured logs: every line of a call carries its call id, step and attempt.
//!
//! Whoever works on a call opens a span with the fields `call_id`, `step` and `attempt`; every line inside carries
//! them without naming them again. Logs go to standard error: standard output belongs to the answers of commands.

use std::fmt;
use std::io::IsTerminal;

use chrono::SecondsFormat;
use serde_json::{Map, Value};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber, info, warn};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Scope};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{AppConfig, Config, Feature, LogFormat};
use crate::model::clock;

/// Libraries that speak of their own matters, and from which level on they are heard unless `LOG_LEVEL` names them.
const NOISY: [(&str, LevelFilter); 11] = [
    // In an outage it warns of every query and connection, with the whole SQL; our own lines tell of outages.
    ("sqlx", LevelFilter::ERROR),
    // Calls an error what our own sentence tells better: a recording that is no audio.
    ("symphonia", LevelFilter::OFF),
    ("hyper", LevelFilter::WARN),
    ("hyper_util", LevelFilter::WARN),
    ("h2", LevelFilter::WARN),
    ("reqwest", LevelFilter::WARN),
    ("rustls", LevelFilter::WARN),
    ("tower", LevelFilter::WARN),
    ("object_store", LevelFilter::WARN),
    ("poem", LevelFilter::WARN),
    ("apalis_core", LevelFilter::WARN),
];
/// What every JSON line has besides the fields of its spans and its own.
const FIXED: [&str; 4] = ["timestamp", "level", "target", "message"];

/// Starts logging. The first call counts, later ones do nothing.
pub fn init(app: &AppConfig) {
    let colors = std::io::stderr().is_terminal();
    // It fails only when somebody was here before, as in tests.
    let _ = subscriber(app, std::io::stderr, colors).try_init();
}

/// Says at start what is on, what is off and why, and loudly what is dangerous. `role` is the command, as `serve`;
/// `stands_in` = recordings come from the stand-in of this very process, for which alone private hosts are permitted.
pub fn announce(config: &Config, role: &str, stands_in: bool) {
    let version = env!("CARGO_PKG_VERSION");
    let features = config.summary();
    info!(role, version, "goto-automation starts. On: {}. Off: {}", told(&features, true), told(&features, false));
    for warning in &config.warnings {
        warn!("{warning}");
    }
    if stands_in {
        info!("Recordings come from the stand-in on this machine, so private addresses are permitted for them.");
    } else if config.recordings.allow_private {
        warn!(
            "RECORDING_ALLOW_PRIVATE IS TRUE: recordings are fetched from private and loopback addresses and over plain \
             http, so whoever can sign a webhook reaches into this network. Never use it in production"
        );
    }
}

fn told(features: &[Feature], on: bool) -> String {
    let some: Vec<String> = features
        .iter()
        .filter(|feature| feature.on == on)
        .map(|feature| format!("{} ({})", feature.name, feature.detail))
        .collect();
    if some.is_empty() { "nothing".to_owned() } else { some.join(", ") }
}

fn subscriber<W>(app: &AppConfig, writer: W, colors: bool) -> impl Subscriber + Send + Sync + 'static
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match app.log_format {
        LogFormat::Json => layer.with_ansi(false).fmt_fields(JsonFields::new()).event_format(JsonLine).boxed(),
        // Left alone on a terminal, so that NO_COLOR is respected.
        LogFormat::Text if colors => layer.boxed(),
        LogFormat::Text => layer.with_ansi(false).boxed(),
    };
    Registry::default().with(layer.with_filter(filter(&app.log_level)))
}

/// `LOG_LEVEL` with the noisy libraries turned down, unless it names them or asks for less anyway.
fn filter(log_level: &str) -> EnvFilter {
    let mut directives: Vec<String> = log_level.split(',').map(|directive| directive.trim().to_owned()).collect();
    let default = directives.iter().rev().find_map(|directive| directive.parse::<LevelFilter>().ok());
    let is_named =
        |library: &str| directives.iter().any(|directive| directive.split(['=', '[', ':']).next() == Some(library));
    let too_loud = |(library, level): &&(&str, LevelFilter)| default > Some(*level) && !is_named(library);
    let quiet: Vec<String> =
        NOISY.iter().filter(too_loud).map(|(library, level)| format!("{library}={level}")).collect();
    directives.extend(quiet);
    EnvFilter::builder().parse_lossy(directives.join(","))
}

/// One JSON object a line, the fields of all spans and of the event beside one another.
struct JsonLine;

impl<S> FormatEvent<S, JsonFields> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Map::new();
        // From the outermost span to the event: the inner one knows better.
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            if let Some(of_span) = span.extensions().get::<FormattedFields<JsonFields>>() {
                fields.extend(object(of_span.fields.as_str()));
            }
        }
        let mut of_event = String::new();
        context.field_format().format_fields(Writer::new(&mut of_event), event)?;
        let mut of_event = object(&of_event);
        let message = of_event.remove("message").unwrap_or_default();
        fields.extend(of_event);

        let now = clock::now().to_rfc3339_opts(SecondsFormat::Micros, true);
        let metadata = event.metadata();
        let fixed = [now.into(), metadata.level().as_str().into(), metadata.target().into(), message];
        let mut line: Vec<String> = FIXED.iter().zip(fixed).map(|(name, value)| member(name, &value)).collect();
        for (name, value) in fields {
            // A field that is called like a fixed one keeps its value under another name.
            let name = if FIXED.contains(&name.as_str()) { format!("{name}_") } else { name };
            line.push(member(&name, &value));
        }
        writeln!(writer, "{{{}}}", line.join(","))
    }
}

/// `"name":value`.
fn member(name: &str, value: &Value) -> String {
    format!("{}:{value}", Value::from(name))
}

/// What [`JsonFields`] wrote; nothing when it is not an object.
fn object(json: &str) -> Map<String, Value> {
    serde_json::from_str(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use rstest::rstest;
    use tracing::{debug, error, info_span};

    use super::*;

    /// What was logged, for looking at.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Runs `work` under the settings given and answers with what it logged.
    fn logged(set: &[(&str, &str)], work: impl FnOnce(&Config)) -> String {
        let lookup = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let config = Config::read(&lookup).unwrap();
        let paper = Paper::default();
        let writer = paper.clone();
        let subscriber = subscriber(&config.app, move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, || work(&config));
        String::from_utf8(paper.0.lock().unwrap().clone()).unwrap()
    }

    fn work_on_a_call() {
        let call = info_span!("job", call_id = "0198", step = "transcribe", attempt = tracing::field::Empty);
        let _call = call.enter();
        call.record("attempt", 2);
        let _piece = info_span!("piece", step = "transcribe", piece = 3, target = "agent").entered();
        info!(seconds = 1.5, failure = %"a \"b\"\nc", "piece done");
    }

    #[test]
    fn a_json_line_carries_the_fields_of_its_spans() {
        let text = logged(&[("LOG_FORMAT", "json")], |_| work_on_a_call());
        assert_eq!(text.lines().count(), 1);
        let mut line: Value = serde_json::from_str(&text).unwrap();
        assert!(text.starts_with("{\"timestamp\":"));
        let timestamp = line.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(chrono::DateTime::parse_from_rfc3339(timestamp.as_str().unwrap()).is_ok());
        let expected = serde_json::json!({
            "level": "INFO", "target": module_path!(), "message": "piece done", "call_id": "0198",
            "step": "transcribe", "attempt": 2, "piece": 3, "target_": "agent", "seconds": 1.5,
            "failure": "a \"b\"\nc",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn a_json_line_needs_no_span() {
        let text = logged(&[("LOG_FORMAT", "json")], |_| error!("alone"));
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["level"], &line["message"]), (&"ERROR".into(), &"alone".into()));
    }

    #[test]
    fn a_text_line_shows_the_fields_of_its_spans() {
        let text = logged(&[], |_| work_on_a_call());
        for part in ["INFO", "call_id=\"0198\"", "step=\"transcribe\"", "attempt=2", "piece done", "seconds=1.5"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[rstest]
    #[case("info", "info warn upgrade")]
    #[case("debug", "debug info warn upgrade")]
    #[case("info,sqlx=debug", "info warn query connected slow upgrade")]
    #[case("error,sqlx::query=debug", "query slow")]
    #[case("warn,symphonia_core=error", "warn no format upgrade")]
    #[case("error", "")]
    #[case("off", "")]
    #[case("WARN", "warn upgrade")]
    fn libraries_are_quiet_unless_named(#[case] log_level: &str, #[case] expected: &str) {
        let text = logged(&[("LOG_LEVEL", log_level), ("LOG_FORMAT", "json")], |_| {
            debug!("debug");
            info!("info");
            warn!("warn");
            debug!(target: "sqlx::query", "query");
            info!(target: "sqlx::pool", "connected");
            warn!(target: "sqlx::query", "slow");
            error!(target: "symphonia_core::formats::probe", "no format");
            info!(target: "hyper::client", "connecting");
            warn!(target: "hyper::client", "upgrade");
        });
        let messages: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["message"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(messages.join(" "), expected);
    }

    #[test]
    fn the_start_is_one_line_with_reasons() {
        let text = logged(&[("OPENAI_API_KEY", "sk-hidden"), ("ANALYSIS_MODEL", "m")], |config| {
            announce(config, "serve", false);
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("On: recordings (") && text.contains("analysis (m at api.openai.com)"), "{text}");
        assert!(text.contains("slack (SLACK_WEBHOOK_URL and SLACK_BOT_TOKEN are not set)"), "{text}");
        assert!(!text.contains("hidden"));
    }

    #[test]
    fn dangers_and_doubts_are_loud() {
        let set = [("RECORDING_ALLOW_PRIVATE", "true"), ("APP_ENV", "production")];
        let text = logged(&set, |config| announce(config, "worker", false));
        let loud: Vec<&str> = text.lines().filter(|line| line.contains("WARN")).collect();
        assert_eq!(loud.len(), 2, "{text}");
        assert!(loud[0].contains("PUBLIC_URL is not set") && loud[1].contains("RECORDING_ALLOW_PRIVATE IS TRUE"));
    }

    #[test]
    fn the_stand_in_is_no_danger() {
        let text = logged(&[("RECORDING_ALLOW_PRIVATE", "true")], |config| announce(config, "dev", true));
        assert!(!text.contains("WARN") && text.contains("the stand-in on this machine"), "{text}");
    }
}
