//! The bodies of webhooks: invented callers, recorded calls, times that fit now.

use std::path::Path;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use url::Url;

use crate::cli::Failure;
use crate::model::clock;

/// Recorded calls in `fixtures/calls`, how many seconds they take, and who calls if that is said in them; those before
/// the last are sent in turn.
const RECORDED: [(&str, i64, Option<&str>); 5] = [
    ("double-charge", 29, None),
    ("delivery-late", 26, Some("Peter Hall")),
    ("appointment", 26, Some("Mark Bell")),
    ("monologue", 44, Some("Tom Fisher")),
    ("mono", 26, Some("Mark Bell")),
];
/// `mono` is `appointment` once more, so only who asks gets it.
const IN_TURN: usize = 4;

/// Nobody's names; their numbers begin with an area code that is given to nobody (555).
const CALLERS: [&str; 12] = [
    "Alma Reyes",
    "Bruno Keller",
    "Chika Obi",
    "Dora Lindqvist",
    "Emil Novak",
    "Farah Aziz",
    "Goran Petrov",
    "Hana Sato",
    "Ines Duarte",
    "Jonas Weber",
    "Kaya Yilmaz",
    "Liam Byrne",
];

/// What a call's recording is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Where it is.
    pub url: String,
    /// How long it takes, where that is known.
    pub seconds: Option<i64>,
    /// Who calls in it, where that is known.
    pub caller: Option<&'static str>,
}

/// Makes one body after the other, each of a call of its own.
pub struct Bodies {
    source: Source,
    /// The same for all calls of this run, and different from every other run's.
    series: String,
    made: usize,
}

enum Source {
    /// In turn; none = calls without a recording.
    Recordings(Vec<Recording>),
    Template(Value, Option<Recording>),
}

/// The names that `--call` takes.
pub fn names() -> impl Iterator<Item = &'static str> {
    RECORDED.iter().map(|(name, ..)| *name)
}

/// The recorded calls as the stand-in recording host serves them: one, or those that are sent in turn.
pub fn recorded(base: &Url, only: Option<&str>) -> Vec<Recording> {
    let wanted =
        |(index, (name, ..)): &(usize, &(&str, i64, Option<&str>))| only.map_or(*index < IN_TURN, |only| only == *name);
    let recording = |(_, (name, seconds, caller)): (usize, &(&str, i64, Option<&'static str>))| Recording {
        url: format!("{}/{name}.wav", base.as_str().trim_end_matches('/')),
        seconds: Some(*seconds),
        caller: *caller,
    };
    RECORDED.iter().enumerate().filter(wanted).map(recording).collect()
}

impl Bodies {
    /// Calls with these recordings in turn.
    pub fn of_recordings(recordings: Vec<Recording>) -> Self {
        Self::new(Source::Recordings(recordings))
    }

    /// The body in a file. A recording, if given, replaces the one that it names.
    pub fn of_template(file: &Path, recording: Option<Recording>) -> Result<Self, Failure> {
        let shown = file.display();
        let text = std::fs::read(file)
            .map_err(|error| Failure::usage(format!("The template {shown} cannot be read: {error}.")))?;
        let template = serde_json::from_slice(&text)
            .map_err(|error| Failure::usage(format!("The template {shown} is not JSON: {error}.")))?;
        Ok(Self::new(Source::Template(template, recording)))
    }

    fn new(source: Source) -> Self {
        Self { source, series: format!("{:08x}", rand::random::<u32>()), made: 0 }
    }

    /// The next body, as it is signed and sent.
    pub fn next(&mut self) -> Vec<u8> {
        let now = clock::now();
        self.made += 1;
        let id = self.id();
        let body = match &self.source {
            Source::Template(template, recording) => refreshed(template.clone(), &id, recording.as_ref(), now),
            Source::Recordings(recordings) => {
                let recording = recordings.get((self.made - 1) % recordings.len().max(1));
                call(&id, self.made - 1, recording, now)
            }
        };
        body.to_string().into_bytes()
    }

    /// The id of the latest call, where the sender's is ours to choose.
    pub fn last_id(&self) -> Option<String> {
        (self.made > 0).then(|| self.id())
    }

    fn id(&self) -> String {
        format!("sim-{}-{:04}", self.series, self.made)
    }
}

fn call(id: &str, index: usize, recording: Option<&Recording>, now: DateTime<Utc>) -> Value {
    let seconds = recording.map_or(Some(30), |recording| recording.seconds);
    let caller = recording.and_then(|recording| recording.caller).unwrap_or(CALLERS[index % CALLERS.len()]);
    let number = format!("+1555010{:04}", rand::random_range(1000..10_000));
    json!({
        "event_type": "call.ended",
        "timestamp": text(now),
        "data": {
            "call_id": id,
            "direction": "inbound",
            "caller": { "name": caller, "number": number },
            "called": { "name": "Support", "number": "+15550100001" },
            "start_time": seconds.map(|seconds| text(now - TimeDelta::seconds(seconds))),
            "end_time": text(now),
            "duration": seconds,
            "recording_url": recording.map(|recording| &recording.url),
            "status": "completed",
        }
    })
}

/// The template with a fresh id and times of now, as far as it has them; a body that is wrong on purpose stays so.
fn refreshed(mut template: Value, id: &str, recording: Option<&Recording>, now: DateTime<Utc>) -> Value {
    if let Some(timestamp @ Value::String(_)) = template.get_mut("timestamp") {
        *timestamp = text(now).into();
    }
    let Some(Value::Object(data)) = template.get_mut("data") else { return template };
    if let Some(call_id @ Value::String(_)) = data.get_mut("call_id") {
        *call_id = id.into();
    }
    let seconds = recording.and_then(|recording| recording.seconds);
    let seconds = seconds.or_else(|| data.get("duration").and_then(Value::as_i64)).unwrap_or(30);
    if let Some(start @ Value::String(_)) = data.get_mut("start_time") {
        *start = text(now - TimeDelta::try_seconds(seconds).unwrap_or_default()).into();
    }
    if let Some(end @ Value::String(_)) = data.get_mut("end_time") {
        *end = text(now).into();
    }
    if let Some(recording) = recording {
        data.insert("recording_url".to_owned(), recording.url.as_str().into());
        if let (Some(seconds), Some(duration)) = (recording.seconds, data.get_mut("duration")) {
            *duration = seconds.into();
        }
    }
    template
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

    fn parsed(bodies: &mut Bodies) -> Value {
        serde_json::from_slice(&bodies.next()).unwrap()
    }

    #[test]
    fn the_recorded_calls_are_those_of_the_fixtures() {
        for (name, seconds, caller) in RECORDED {
            let wav = hound::WavReader::open(format!("{FIXTURES}/calls/{name}.wav")).unwrap();
            let length = f64::from(wav.duration()) / f64::from(wav.spec().sample_rate);
            assert!((length - seconds as f64).abs() < 1.0, "{name} takes {length} s");
            let script = std::fs::read_to_string(format!("{FIXTURES}/calls/{name}.txt")).unwrap();
            let first_name = caller.and_then(|caller| caller.split(' ').next());
            assert!(first_name.is_none_or(|said| script.contains(&format!("his is {said}"))), "{name}");
        }
    }

    #[test]
    fn calls_come_in_turn_with_fresh_ids() {
        let base = Url::parse("http://127.0.0.1:4001/recordings/").unwrap();
        let mut bodies = Bodies::of_recordings(recorded(&base, None));
        let made: Vec<Value> = (0..5).map(|_| parsed(&mut bodies)).collect();
        let urls: Vec<_> = made.iter().map(|body| body["data"]["recording_url"].as_str().unwrap()).collect();
        assert_eq!(urls[0], "http://127.0.0.1:4001/recordings/double-charge.wav");
        assert_eq!(urls[3], "http://127.0.0.1:4001/recordings/monologue.wav");
        assert_eq!(urls[4], urls[0]);
        assert_eq!(made[1]["data"]["caller"]["name"], "Peter Hall");
        assert_ne!(made[4]["data"]["caller"]["name"], made[0]["data"]["caller"]["name"]);
        let ids: HashSet<_> = made.iter().map(|body| body["data"]["call_id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 5);
        assert_eq!(bodies.last_id().as_deref(), made[4]["data"]["call_id"].as_str());
        let number = made[0]["data"]["caller"]["number"].as_str().unwrap();
        assert!(number.len() == 12 && number.starts_with("+1555010"), "{number}");
    }

    #[test]
    fn times_fit_the_length() {
        let recording = Recording { url: "http://x/a.wav".to_owned(), seconds: Some(29), caller: None };
        let now = "2026-11-17T07:04:00.5Z".parse().unwrap();
        let body = call("sim-1", 0, Some(&recording), now);
        assert_eq!(body["data"]["start_time"], "2026-11-17T07:03:31Z");
        assert_eq!(body["data"]["end_time"], "2026-11-17T07:04:00Z");
        assert_eq!(body["data"]["duration"], 29);
        let unknown = Recording { seconds: None, ..recording };
        assert_eq!(call("sim-1", 0, Some(&unknown), now)["data"]["start_time"], Value::Null);
    }

    #[test]
    fn without_a_recording_host_there_is_none() {
        assert_eq!(parsed(&mut Bodies::of_recordings(Vec::new()))["data"]["recording_url"], Value::Null);
    }

    #[test]
    fn a_template_keeps_what_is_not_identity_or_time() {
        let file = format!("{FIXTURES}/webhooks/extra_fields.json");
        let mut bodies = Bodies::of_template(Path::new(&file), None).unwrap_or_else(|_| panic!("a template"));
        let (one, two) = (parsed(&mut bodies), parsed(&mut bodies));
        assert_ne!(one["data"]["call_id"], two["data"]["call_id"]);
        assert_ne!(one["data"]["end_time"], "2026-01-05T10:00:29Z");
        assert_eq!(one["data"]["tags"], json!(["vip", "october"]));
        assert_eq!(one["data"]["recording_url"], "https://media.example.com/recordings/double-charge.wav");
    }

    #[test]
    fn wrong_templates_stay_wrong() {
        for name in ["missing_call_id", "wrong_types", "not_an_object", "too_deep"] {
            let template: Value =
                serde_json::from_slice(&std::fs::read(format!("{FIXTURES}/webhooks/{name}.json")).unwrap()).unwrap();
            let sent = refreshed(template.clone(), "sim-1", None, clock::now());
            assert_eq!(sent["data"].get("call_id").is_some_and(Value::is_string), name == "too_deep", "{name}");
            assert_eq!(sent["data"]["duration"], template["data"]["duration"]);
        }
        let absent = Bodies::of_template(Path::new("/nonexistent.json"), None).err().expect("an error");
        assert_eq!(absent.exit_code(), 2);
    }
}
