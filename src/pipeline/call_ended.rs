//! Parse: what the body of a signed `call.ended` webhook says.
//!
//! Pure: bytes in, an event or the first thing that is wrong with it out. Unknown fields are ignored; the body is kept
//! as it came by whoever calls this.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::model::plain::plain;
use crate::model::time::parse_iso8601;
use crate::model::{Direction, NewCall, Party};

/// The one kind of event that makes a call.
const CALL_ENDED: &str = "call.ended";
/// `serde_json` stops at 128 by itself; ours is lower and has an answer of its own.
const MAX_DEPTH: usize = 64;
const MAX_CALL_ID: usize = 200;
/// Names and numbers are for people, for an index, and for a message's subject. Longer ones are cut: a call is not refused for
/// them, and the body that is kept has all of them. E.164 numbers have 15 digits.
const MAX_NAME: usize = 500;
const MAX_NUMBER: usize = 64;
/// A path is for a person; names of unknown fields may be as long as the body.
const MAX_PATH: usize = 200;
/// How problems name the body as a whole.
const BODY: &str = "body";

/// What came in.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A call has ended.
    CallEnded(NewCall),
    /// Something that we do not act on.
    Other {
        /// As the sender calls it.
        event_type: String,
    },
}

/// What is wrong with a body: its first problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}")]
pub struct Rejection {
    /// Path of the field, `data.caller.name`, or `body`. Never its value.
    pub field: String,
    /// What should be there.
    pub expected: String,
}

type Object = Map<String, Value>;

/// Reads a body. Never panics, whatever the bytes.
pub fn parse(body: &[u8]) -> Result<Event, Rejection> {
    if depth(body) > MAX_DEPTH {
        return reject(BODY, format!("at most {MAX_DEPTH} levels of objects and lists"));
    }
    // The messages of serde_json name a place and a reason, never what stands there.
    let value: Value = serde_json::from_slice(body).or_else(|error| reject(BODY, format!("JSON ({error})")))?;
    let Value::Object(event) = value else {
        return reject(BODY, "an object");
    };
    if let Some(path) = find_nul(&event) {
        return reject(path, "text without the character NUL (\\u0000)");
    }
    let event_type = match event.get("event_type") {
        Some(Value::String(text)) if !text.trim().is_empty() => text.trim(),
        _ => return reject("event_type", format!("a string that is not blank, such as `{CALL_ENDED}`")),
    };
    if event_type != CALL_ENDED {
        return Ok(Event::Other { event_type: event_type.to_owned() });
    }
    match event.get("data") {
        Some(Value::Object(data)) => Ok(Event::CallEnded(call(data)?)),
        _ => reject("data", "an object"),
    }
}

fn call(data: &Object) -> Result<NewCall, Rejection> {
    let external_id = call_id(data)?;
    let direction = match text(data, "data.direction")?.map(str::to_ascii_lowercase).as_deref() {
        Some("inbound") => Direction::Inbound,
        Some("outbound") => Direction::Outbound,
        _ => Direction::Unknown,
    };
    let started_at = time(data, "data.start_time")?;
    let ended_at = time(data, "data.end_time")?;
    let duration_seconds = duration(data)?.or_else(|| {
        let seconds = (ended_at? - started_at?).num_seconds();
        i32::try_from(seconds).ok().filter(|seconds| *seconds >= 0)
    });
    Ok(NewCall {
        external_id,
        direction,
        caller: party(data, "data.caller")?,
        called: party(data, "data.called")?,
        started_at,
        ended_at,
        duration_seconds,
        recording_url: text(data, "data.recording_url")?.map(str::to_owned),
    })
}

fn call_id(data: &Object) -> Result<String, Rejection> {
    match data.get("call_id") {
        // As it came, blanks included: it is the sender's name for the call, not ours.
        Some(Value::String(id)) if !id.trim().is_empty() && id.chars().count() <= MAX_CALL_ID => Ok(id.clone()),
        _ => reject("data.call_id", format!("a string of 1 to {MAX_CALL_ID} characters that is not blank")),
    }
}

/// Absent, null and blank are the same: not told.
fn text<'a>(object: &'a Object, path: &str) -> Result<Option<&'a str>, Rejection> {
    match object.get(name(path)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
        Some(_) => reject(path, "a string or null"),
    }
}

/// An object with a name and a number, or the number alone.
fn party(data: &Object, path: &str) -> Result<Party, Rejection> {
    match data.get(name(path)) {
        Some(Value::Object(party)) => Ok(Party {
            name: text(party, &format!("{path}.name"))?.and_then(|name| shown(name, MAX_NAME)),
            number: text(party, &format!("{path}.number"))?.and_then(|number| shown(number, MAX_NUMBER)),
        }),
        None | Some(Value::Null | Value::String(_)) => {
            Ok(Party { name: None, number: text(data, path)?.and_then(|number| shown(number, MAX_NUMBER)) })
        }
        Some(_) => reject(path, "an object with `name` and `number`, a string (the number) or null"),
    }
}

/// As it can be shown anywhere; `None` if nothing of it can.
fn shown(text: &str, longest: usize) -> Option<String> {
    let text: String = plain(text).trim().chars().take(longest).collect();
    (!text.is_empty()).then_some(text)
}

fn time(data: &Object, path: &str) -> Result<Option<DateTime<Utc>>, Rejection> {
    const EXPECTED: &str = "a time in ISO 8601, such as `2026-01-05T10:00:00Z`, or null";
    let Ok(text) = text(data, path) else { return reject(path, EXPECTED) };
    match text.map(parse_iso8601) {
        None => Ok(None),
        Some(Some(time)) => Ok(Some(time)),
        Some(None) => reject(path, EXPECTED),
    }
}

fn duration(data: &Object) -> Result<Option<i32>, Rejection> {
    let seconds = match data.get("duration") {
        None | Some(Value::Null) => return Ok(None),
        // 29.0 is an integer too (JSON Schema 2020-12, section 6.1.1).
        Some(Value::Number(number)) => number.as_f64().filter(|seconds| seconds.fract() == 0.0),
        Some(_) => None,
    };
    match seconds {
        Some(seconds) if (0.0..=f64::from(i32::MAX)).contains(&seconds) => Ok(Some(seconds as i32)),
        _ => reject("data.duration", format!("whole seconds from 0 to {}, or null", i32::MAX)),
    }
}

/// Last part of a path.
fn name(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn reject<T>(field: impl Into<String>, expected: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection { field: field.into(), expected: expected.into() })
}

/// Deepest nesting of objects and lists. Looks at bytes only, so that no parser meets what is too deep.
fn depth(body: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Path of the first NUL in a text or in a field's name: PostgreSQL's text cannot hold it.
fn find_nul(object: &Object) -> Option<String> {
    object.iter().find_map(|(key, value)| {
        let rest = if key.contains('\0') { String::new() } else { nul_below(value)? };
        let key = key.replace('\0', "\\u0000");
        let separator = if rest.is_empty() || rest.starts_with('[') { "" } else { "." };
        Some(format!("{key}{separator}{rest}").chars().take(MAX_PATH).collect())
    })
}

fn nul_below(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Object(object) => find_nul(object),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            let rest = nul_below(item)?;
            let separator = if rest.is_empty() || rest.starts_with('[') { "" } else { "." };
            Some(format!("[{index}]{separator}{rest}"))
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
