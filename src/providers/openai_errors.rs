//! What an OpenAI-shaped server means when it refuses: one table for transcription and analysis.
//!
//! Decided by the HTTP status, then by `error.type`, then by `error.code`. Only `error.message` itself tells some
//! cases apart; all such reading is in this file. Other servers send other shapes (integer codes, `FastAPI`'s `detail`,
//! HTML pages); every one of them ends as some error here.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::http_client::{bounded_wait, request_id, retry_after};
use super::openai_server::Names;
use crate::model::{Fault, UpstreamError, clock};

/// Types and codes that mean: there is no money.
const QUOTA: [&str; 5] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
];
/// What servers say, in lower case, of audio that is longer than they take.
const TOO_LONG: [&str; 4] = ["longer than", "too long", "maximum duration", "maximum length"];
/// Longest quotation from an upstream, in characters.
const MAX_QUOTE: usize = 200;
/// A message that repeats this many characters of what we sent may hold a caller's words, and is not quoted.
const ECHO: usize = 20;
/// This many digits in a row may be a phone number.
const PHONE_DIGITS: usize = 7;

/// A refusal as it came, in whatever shape.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusal {
    status: StatusCode,
    kind: String,
    code: String,
    param: String,
    message: String,
    retry_after: Option<Duration>,
    request_id: Option<String>,
}

impl Refusal {
    /// Reads an answer whose status is not 2xx. The body may be anything, or empty.
    pub fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = body.get("error").filter(|error| error.is_object()).unwrap_or(&body);
        let message = ["message", "detail", "error"].iter().find_map(|name| words(&error[*name]));
        let field = |name: &str| words(&error[name]).unwrap_or_default();
        Self {
            status,
            kind: field("type"),
            code: field("code"),
            param: field("param"),
            message: message.unwrap_or_default(),
            retry_after: retry_after(headers, clock::now()),
            request_id: request_id(headers),
        }
    }

    /// The upstream's id of the request.
    pub fn request_id(&self) -> Option<String> {
        self.request_id.clone()
    }

    /// The audio is shorter than 0.1 s: nothing is said in it.
    pub fn is_audio_too_short(&self) -> bool {
        self.status == StatusCode::BAD_REQUEST
            && (self.code == "audio_too_short" || self.message.contains("Minimum audio length"))
    }

    /// The audio is more than the server takes at once: too long, too many bytes, or above the account's limit per minute.
    pub fn is_too_much_audio(&self) -> bool {
        let message = self.message.to_lowercase();
        match self.status.as_u16() {
            413 => true,
            429 => self.is_about_one_request(),
            400 | 422 => {
                self.code == "audio_too_long"
                    || self.is_about_context()
                    || TOO_LONG.iter().any(|words| message.contains(words))
            }
            _ => false,
        }
    }

    /// How much audio the server takes at once, in seconds, if it says so: "... is longer than 1400 seconds".
    pub fn most_seconds(&self) -> Option<f64> {
        let (_, rest) = self.message.split_once("longer than ")?;
        let (number, unit) = rest.split_once(' ')?;
        number.parse().ok().filter(|seconds| *seconds > 0.0 && unit.starts_with("second"))
    }

    /// What follows from [`Self::is_too_much_audio`] about audio of so many seconds that is not to be cut any shorter.
    pub fn into_too_much_audio(self, names: &Names, seconds: f64) -> UpstreamError {
        let Names { who, base_url, model, .. } = names;
        let text = format!(
            "{who} takes this recording in no pieces, however short: {seconds:.1} seconds of it are too much at once (HTTP \
             {}). Check {model} and the limits of the server at {base_url}, then retry.",
            self.status.as_u16()
        );
        let text = with_quote(text, quote(&self.message, ""));
        UpstreamError::new(Fault::Permanent, "audio_too_long", text).with_request_id(self.request_id)
    }

    /// The server does not know this request field, so another spelling may do.
    pub fn is_about_field(&self, field: &str) -> bool {
        let unknown = self.code == "unsupported_parameter" || self.message.contains("nsupported parameter");
        self.status == StatusCode::BAD_REQUEST && (self.param == field || (unknown && self.message.contains(field)))
    }

    /// The server does not know this form of asking for JSON, or not this schema: a simpler form may do.
    pub fn is_about_response_format(&self) -> bool {
        let message = self.message.to_lowercase();
        let named = ["response_format", "json_schema", "json_object", "structured output", "guided_json"];
        matches!(self.status.as_u16(), 400 | 422)
            && self.code != "json_validate_failed"
            && (self.param.starts_with("response_format") || named.iter().any(|name| message.contains(name)))
    }

    /// What follows from it. `sent` is the confidential text of the request, which no message may repeat.
    pub fn into_error(self, names: &Names, sent: &str) -> UpstreamError {
        let (fault, class, sentence) = self.meaning(names);
        let quote = if self.status == StatusCode::UNAUTHORIZED { None } else { quote(&self.message, sent) };
        UpstreamError::new(fault, class, with_quote(sentence, quote)).with_request_id(self.request_id)
    }

    fn meaning(&self, names: &Names) -> (Fault, &'static str, String) {
        let Names { who, base_url, key, model } = names;
        let code = self.status.as_u16();
        match code {
            402 | 403 | 429 if code == 402 || self.is_about_money() => {
                let text = format!(
                    "{who} refuses for want of credit (HTTP {code}). Top up the account: the call then goes on by itself at \
                     the next look, or at once with `goto-automation jobs retry N`."
                );
                (Fault::Blocked, "quota", text)
            }
            401 => (Fault::Blocked, "key_refused", format!("{who} refuses our key (HTTP 401). Check {key}.")),
            403 => {
                let text = format!("{who} does not permit this (HTTP 403). Check the rights of {key} and {model}.");
                (Fault::Blocked, "not_permitted", text)
            }
            404 | 405 | 501 => {
                let text = format!("{who} has no such model or address (HTTP {code}). Check {model} and {base_url}.");
                (Fault::Blocked, "not_found", text)
            }
            300..=399 => {
                let text = format!("{who} redirects (HTTP {code}), which is not followed. Check {base_url}.");
                (Fault::Blocked, "redirected", text)
            }
            413 => (Fault::Permanent, "too_large", format!("{who} finds the request too large (HTTP 413).")),
            429 if self.is_about_one_request() => {
                let text = format!("This one request is above the account's limit per minute at {model}'s server.");
                (Fault::Permanent, "request_too_large", text)
            }
            429 => {
                let wait = self.retry_after.or_else(|| try_again_in(&self.message));
                let fault = wait.map_or(Fault::Transient, Fault::RetryAfter);
                (fault, "rate_limited", format!("{who} asks us to come more slowly (HTTP 429)."))
            }
            408 | 409 | 425 => (Fault::Transient, "server_error", format!("{who} could not answer (HTTP {code}).")),
            500..=599 => (Fault::Transient, "server_error", format!("{who} has a problem of its own (HTTP {code}).")),
            // The model missed the schema that the server enforces: the next try may hit it.
            400 if self.code == "json_validate_failed" => {
                (Fault::Transient, "bad_answer", format!("{who}'s model did not keep to the answer's form."))
            }
            _ if self.is_about_context() => {
                let text = format!(
                    "The call is too long for the model's context window. Choose a larger {model}, or set ANALYSIS_MAX_INPUT_TOKENS to what it can read."
                );
                (Fault::Permanent, "context_too_long", text)
            }
            _ => (Fault::Permanent, "bad_request", format!("{who} refuses the request (HTTP {code}).")),
        }
    }

    fn is_about_one_request(&self) -> bool {
        self.message.starts_with("Request too large")
    }

    fn is_about_money(&self) -> bool {
        QUOTA.contains(&self.kind.as_str()) || QUOTA.contains(&self.code.as_str())
    }

    fn is_about_context(&self) -> bool {
        let message = self.message.to_lowercase();
        ["context_length_exceeded", "exceed_context_size_error"].iter().any(|w| self.code == *w || self.kind == *w)
            || ["context window", "context length", "context size"].iter().any(|words| message.contains(words))
    }
}

fn with_quote(sentence: String, quote: Option<String>) -> String {
    match quote {
        Some(quote) => format!("{sentence} It says: \"{quote}\""),
        None => sentence,
    }
}

/// Text out of a field that may be a string, a number, or `FastAPI`'s list of `{"msg": ..}`; never their `input`.
fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(list) => {
            let parts: Vec<&str> = list.iter().filter_map(|item| item["msg"].as_str()).collect();
            (!parts.is_empty()).then(|| parts.join("; "))
        }
        _ => None,
    }
}

/// "... Please try again in 18.642s", "in 120ms", "in 6m0s".
fn try_again_in(message: &str) -> Option<Duration> {
    let (_, mut rest) = message.split_once("try again in ")?;
    let mut seconds = 0.0;
    while let Some(end) = rest.find(|c: char| !c.is_ascii_digit() && c != '.') {
        let Ok(number) = rest[..end].parse::<f64>() else { break };
        let unit_end = rest[end..].find(|c: char| !c.is_ascii_alphabetic()).map_or(rest.len(), |at| end + at);
        seconds += number
            * match &rest[end..unit_end] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => break,
            };
        rest = &rest[unit_end..];
    }
    let wait = Duration::try_from_secs_f64(seconds).ok()?;
    (!wait.is_zero()).then(|| bounded_wait(wait))
}

/// An upstream's words in a form that may be stored and shown: one line, short, without keys and phone numbers. `None`
/// when there are none, or when they repeat a part of `sent`.
pub(super) fn quote(message: &str, sent: &str) -> Option<String> {
    let characters: Vec<char> = message.chars().collect();
    if characters.windows(ECHO).any(|window| sent.contains(&String::from_iter(window))) {
        return None;
    }
    let secret = |word: &&str| {
        word.contains("sk-")
            || word.chars().filter(char::is_ascii_digit).count() >= PHONE_DIGITS
            || word.contains("://")
    };
    let words = message.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line: Vec<&str> = words.map(|word| if secret(&word) { "[...]" } else { word }).collect();
    let line: String = line.join(" ").chars().take(MAX_QUOTE).collect();
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests;
