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
use crate::model::{FailureClass, Fault, UpstreamError, clock};

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
        UpstreamError::new(Fault::Permanent, FailureClass::AudioTooLong, text).with_request_id(self.request_id)
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
        let (fault, class) = self.meaning();
        UpstreamError::new(fault, class, self.sentence(class, names, sent)).with_request_id(self.request_id)
    }

    fn meaning(&self) -> (Fault, FailureClass) {
        let code = self.status.as_u16();
        match code {
            402 | 403 | 429 if code == 402 || self.is_about_money() => (Fault::Blocked, FailureClass::Quota),
            401 => (Fault::Blocked, FailureClass::KeyRefused),
            403 => (Fault::Blocked, FailureClass::NotPermitted),
            404 | 405 | 501 => (Fault::Blocked, FailureClass::NotFound),
            300..=399 => (Fault::Blocked, FailureClass::Redirected),
            413 => (Fault::Permanent, FailureClass::TooLarge),
            429 if self.is_about_one_request() => (Fault::Permanent, FailureClass::RequestTooLarge),
            429 => {
                let wait = self.retry_after.or_else(|| try_again_in(&self.message));
                (wait.map_or(Fault::Transient, Fault::RetryAfter), FailureClass::RateLimited)
            }
            408 | 409 | 425 | 500..=599 => (Fault::Transient, FailureClass::ServerError),
            // The model missed the schema that the server enforces: the next try may hit it.
            400 if self.code == "json_validate_failed" => (Fault::Transient, FailureClass::BadAnswer),
            _ if self.is_about_context() => (Fault::Permanent, FailureClass::ContextTooLong),
            _ => (Fault::Permanent, FailureClass::BadRequest),
        }
    }

    fn sentence(&self, class: FailureClass, names: &Names, sent: &str) -> String {
        let Names { who, base_url, key, model } = names;
        let what = match class {
            FailureClass::Quota => "refuses for want of credit",
            FailureClass::KeyRefused => "refuses our key",
            FailureClass::NotPermitted => "does not permit this",
            FailureClass::NotFound => "has no such model or address",
            FailureClass::Redirected => "redirects, which is not followed",
            FailureClass::TooLarge => "finds the request too large",
            FailureClass::RequestTooLarge => "finds this one request above the account's limit for a minute",
            FailureClass::RateLimited => "asks us to come more slowly",
            FailureClass::ServerError => "has a problem of its own",
            FailureClass::BadAnswer => "says that its model did not keep to the form of the answer",
            FailureClass::ContextTooLong => "finds the call too long for the context window of its model",
            _ => "refuses the request",
        };
        let remedy = match class {
            FailureClass::Quota => "Top up the account, or raise its limits.".to_owned(),
            FailureClass::KeyRefused => format!("Set a valid {key}."),
            FailureClass::NotPermitted => format!("Check the rights of {key}, and {model}."),
            FailureClass::NotFound => format!("Check {model} and {base_url}."),
            FailureClass::Redirected => format!("Check {base_url}."),
            FailureClass::TooLarge => {
                "Raise its limit, or that of the proxy before it, and run the job again.".to_owned()
            }
            FailureClass::RequestTooLarge => {
                format!("Raise the limit or choose another {model}, and run the job again.")
            }
            FailureClass::RateLimited => {
                "If that goes on, raise the account's limit or lower WORKER_CONCURRENCY.".to_owned()
            }
            FailureClass::ServerError => "If that goes on, look at its status page or log.".to_owned(),
            FailureClass::BadAnswer => format!("If that goes on, choose another {model}."),
            FailureClass::ContextTooLong => {
                format!("Choose another {model} or lower ANALYSIS_MAX_INPUT_TOKENS, and run the job again.")
            }
            _ => format!("If other calls go through, it is this call; else check {model} and {base_url}."),
        };
        // Some repeat the key that they refuse.
        let quote = if class == FailureClass::KeyRefused { None } else { quote(&self.message, sent) };
        let said = quote.map(|quote| format!(": \"{quote}\"")).unwrap_or_default();
        format!("{who} {what} (HTTP {}{said}). {remedy}", self.status.as_u16())
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
