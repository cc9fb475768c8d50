//! A server that speaks `OpenAI`'s API: where it is, how it is asked, and what came back.

use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::http_client::{BodyError, connection_error, read_body, request_id};
use super::openai_errors::Refusal;
use crate::model::{FailureClass, Fault, UpstreamError};

/// Longest answer that is read. A call's longest honest answer is a few hundred kilobytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// More tokens than any request has.
const MOST_TOKENS: i64 = 1_000_000_000;
/// The host that takes no request without a key.
const OPENAI_HOST: &str = "api.openai.com";

/// What an operator calls the server and its settings.
#[derive(Debug)]
pub(super) struct Names {
    /// Begins a sentence.
    pub who: &'static str,
    /// The setting of the address.
    pub base_url: &'static str,
    /// The settings of the key.
    pub key: &'static str,
    /// The setting of the model.
    pub model: &'static str,
}

/// Speech to text.
pub(super) const TRANSCRIPTION: Names = Names {
    who: "The transcription server",
    base_url: "TRANSCRIPTION_BASE_URL",
    key: "OPENAI_API_KEY (or TRANSCRIPTION_API_KEY)",
    model: "TRANSCRIPTION_MODEL",
};
/// The language model.
pub(super) const ANALYSIS: Names = Names {
    who: "The analysis server",
    base_url: "ANALYSIS_BASE_URL",
    key: "OPENAI_API_KEY (or ANALYSIS_API_KEY)",
    model: "ANALYSIS_MODEL",
};

/// One endpoint of one server.
#[derive(Debug, Clone)]
pub(super) struct Server {
    endpoint: Url,
    key: Option<SecretString>,
    http: Client,
    timeout: Duration,
    names: &'static Names,
}

/// A 2xx answer.
pub(super) struct Answer {
    /// The body.
    pub json: Value,
    /// The upstream's id of the request.
    pub request_id: Option<String>,
}

/// Why there is no answer.
pub(super) enum Failure {
    /// The server said no; what that means may depend on what was asked.
    Refused(Refusal),
    /// It did not say anything that could be read.
    Lost(UpstreamError),
}

impl Server {
    /// The endpoint `path` below `base_url`, joined with exactly one slash; nothing like `/v1` is added.
    pub fn new(
        base_url: &Url,
        path: [&str; 2],
        key: Option<&SecretString>,
        http: Client,
        timeout: Duration,
        names: &'static Names,
    ) -> Self {
        let mut endpoint = base_url.clone();
        if let Ok(mut segments) = endpoint.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let key = key.filter(|key| !key.expose_secret().is_empty()).cloned();
        Self { endpoint, key, http, timeout, names }
    }

    /// Fails while a setting is missing without which no request can succeed.
    pub fn configured(&self) -> Result<(), UpstreamError> {
        if self.key.is_some() || self.endpoint.host_str() != Some(OPENAI_HOST) {
            return Ok(());
        }
        let Names { who, base_url, key, .. } = self.names;
        let text = format!("{who} is OpenAI's own, and there is no key for it. Set {key}, or another {base_url}.");
        Err(UpstreamError::new(Fault::Blocked, FailureClass::NotConfigured, text).as_no_sign())
    }

    /// A request to the endpoint, with key and time limit; the body is up to the caller.
    pub fn post(&self) -> RequestBuilder {
        let request = self.http.post(self.endpoint.clone()).timeout(self.timeout);
        match &self.key {
            Some(key) => request.bearer_auth(key.expose_secret()),
            None => request,
        }
    }

    /// Sends a request. A repeated one is paid for again.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer, Failure> {
        let Names { who, base_url, .. } = self.names;
        let response = request.send().await.map_err(|error| Failure::Lost(connection_error(error, who, base_url)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read_body(response, MAX_ANSWER).await;
        if !status.is_success() {
            // The status alone says enough when the body is lost.
            return Err(Failure::Refused(Refusal::read(status, &headers, &body.unwrap_or_default())));
        }
        let id = request_id(&headers);
        let json = match body {
            Ok(body) => serde_json::from_slice(&body).map_err(|_| self.bad_answer("that is not JSON")),
            Err(BodyError::TooLarge) => Err(self.bad_answer("of more than 4 MB")),
            Err(BodyError::Lost(error)) => Err(connection_error(error, who, base_url)),
        };
        match json {
            Ok(json) => Ok(Answer { json, request_id: id }),
            Err(error) => Err(Failure::Lost(error.with_request_id(id))),
        }
    }

    /// What a failure means. `sent` is the confidential text of the request, which no message may repeat.
    pub fn error(&self, failure: Failure, sent: &str) -> UpstreamError {
        match failure {
            Failure::Refused(refusal) => refusal.into_error(self.names, sent),
            Failure::Lost(error) => error,
        }
    }

    /// An answer that cannot be used: one "that is not JSON", "without a text".
    pub fn bad_answer(&self, what: &str) -> UpstreamError {
        let Names { who, base_url, .. } = self.names;
        let text = format!("{who} gave an answer {what}. If that goes on, check {base_url}.");
        UpstreamError::new(Fault::Transient, FailureClass::BadAnswer, text)
    }
}

/// A count of tokens, if it is one that can be believed.
pub(super) fn tokens(count: &Value) -> Option<i64> {
    count.as_i64().filter(|count| (0..=MOST_TOKENS).contains(count))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::providers::http_client;

    fn server(base_url: &str, key: Option<&str>) -> Server {
        let key = key.map(SecretString::from);
        let http = http_client::client().unwrap();
        let path = ["chat", "completions"];
        Server::new(&base_url.parse().unwrap(), path, key.as_ref(), http, Duration::from_secs(5), &ANALYSIS)
    }

    #[rstest]
    #[case("https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions")]
    #[case("https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions")]
    #[case("http://127.0.0.1:8000", "http://127.0.0.1:8000/chat/completions")]
    #[case("https://a.example/x?api-version=1", "https://a.example/x/chat/completions?api-version=1")]
    fn one_slash_joins(#[case] base_url: &str, #[case] expected: &str) {
        assert_eq!(server(base_url, None).endpoint.as_str(), expected);
    }

    #[rstest]
    #[case("https://api.openai.com/v1", None, false)]
    #[case("https://api.openai.com/v1", Some(""), false)]
    #[case("https://api.openai.com/v1", Some("sk-1"), true)]
    #[case("http://127.0.0.1:8000/v1", None, true)]
    fn only_openai_itself_needs_a_key(#[case] base_url: &str, #[case] key: Option<&str>, #[case] expected: bool) {
        let configured = server(base_url, key).configured();
        assert_eq!(configured.is_ok(), expected);
        if let Err(error) = configured {
            assert_eq!((error.fault, error.class.as_str()), (Fault::Blocked, "not_configured"));
            assert!(error.message.contains("OPENAI_API_KEY"));
        }
    }

    #[tokio::test]
    async fn a_key_that_no_header_can_carry_waits_for_a_person() {
        let server = server("http://127.0.0.1:9/v1", Some("a\nb"));
        let Err(Failure::Lost(error)) = server.send(server.post()).await else { panic!("it was sent") };
        assert_eq!((error.fault, error.class.as_str()), (Fault::Blocked, "not_configured"));
    }
}
