//! Slack, by incoming webhook or by bot.
//!
//! Slack has no idempotency key: what is posted twice shows twice. So each answer is sorted into sent, surely not sent
//! and unknown ([`answer`]), and only the surely unsent is repeated without a word.

mod answer;
mod message;

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};

use self::answer::{Answer, Way};
pub use self::message::message;
use super::{Channel, Receipt, SendError};
use crate::config::SlackConfig;
use crate::model::{CallBrief, Envelope, FailureClass, Fault, UpstreamError};

/// Destination of an incoming webhook: its URL is a secret and fixes the channel, so it gets a name that tells neither.
const WEBHOOK_DESTINATION: &str = "incoming-webhook";
/// As much of an answer as is read. Slack's are a few hundred bytes.
const ANSWER_LIMIT: usize = 64 * 1024;
/// A server that asks for "0 seconds" for ever must not be asked without a pause.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// What it wants beyond that is asked for again.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// Posts to one Slack channel.
#[derive(Debug, Clone)]
pub struct Slack {
    config: SlackConfig,
    http: reqwest::Client,
    timeout: Duration,
}

impl Slack {
    /// `timeout` covers a whole request. `http` must not follow redirects: they would repeat the message elsewhere.
    pub fn new(config: &SlackConfig, http: reqwest::Client, timeout: Duration) -> Self {
        Self { config: config.clone(), http, timeout }
    }

    fn destination(&self) -> &str {
        match &self.config {
            SlackConfig::Webhook { .. } => WEBHOOK_DESTINATION,
            SlackConfig::Bot { channel, .. } => channel,
        }
    }

    fn request(&self, brief: &CallBrief, envelope: &Envelope) -> (Way, RequestBuilder) {
        let mut body = message(brief, envelope);
        let (way, request) = match &self.config {
            SlackConfig::Webhook { url } => (Way::Webhook, self.http.post(url.expose_secret())),
            SlackConfig::Bot { token, channel, base_url } => {
                body["channel"] = channel.as_str().into();
                let url = format!("{}/chat.postMessage", base_url.as_str().trim_end_matches('/'));
                (Way::Bot, bearer(self.http.post(url), token))
            }
        };
        let request = request.header(CONTENT_TYPE, "application/json; charset=utf-8").body(body.to_string());
        (way, request.timeout(self.timeout))
    }
}

#[async_trait]
impl Channel for Slack {
    fn name(&self) -> &'static str {
        "slack"
    }

    fn destinations(&self) -> Vec<String> {
        vec![self.destination().to_owned()]
    }

    async fn send(&self, brief: &CallBrief, envelope: &Envelope) -> Result<Receipt, SendError> {
        if envelope.destination != self.destination() {
            let message = "The Slack settings name another destination now. Nothing was sent to this one: set \
                           SLACK_CHANNEL or SLACK_WEBHOOK_URL back and run the job again, or leave it.";
            return Err(SendError::NotSent(UpstreamError::new(Fault::Permanent, FailureClass::ChannelOff, message)));
        }
        let (way, request) = self.request(brief, envelope);
        match request.send().await {
            Ok(response) => read(response).await.outcome(way),
            Err(error) => Err(answer::no_answer(&error, way)),
        }
    }
}

fn bearer(request: RequestBuilder, token: &SecretString) -> RequestBuilder {
    match HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())) {
        Ok(mut value) => {
            value.set_sensitive(true);
            request.header(AUTHORIZATION, value)
        }
        // No header can carry it: Slack answers `not_authed`, which names the setting.
        Err(_) => request,
    }
}

/// A body that breaks off counts with what came of it: the status still says what happened.
async fn read(mut response: Response) -> Answer {
    let mut body = Vec::new();
    while body.len() < ANSWER_LIMIT {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_LIMIT - body.len())]);
    }
    let text = |headers: &HeaderMap, name: &str| Some(headers.get(name)?.to_str().ok()?.trim().to_owned());
    let headers = response.headers();
    Answer {
        status: response.status(),
        retry_after: text(headers, RETRY_AFTER.as_str())
            .and_then(|seconds| seconds.parse().ok())
            .map(|seconds| Duration::from_secs(seconds).clamp(SHORTEST_WAIT, LONGEST_WAIT)),
        request_id: text(headers, "x-slack-req-id"),
        body,
    }
}

#[cfg(test)]
mod tests;
