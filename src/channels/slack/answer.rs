//! What Slack's answer means: sent, surely not sent, or unknown.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use crate::channels::{Receipt, SendError};
use crate::model::{FailureClass, Fault, UpstreamError};

/// How the message went in; the two ways answer differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Incoming webhook: the status first, a word as text second.
    Webhook,
    /// `chat.postMessage`: mostly 200, and JSON that says `ok`.
    Bot,
}

/// What came back, as far as it could be read.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<Duration>,
    /// `x-slack-req-id`.
    pub request_id: Option<String>,
    /// The body; only its beginning if it was long or broke off.
    pub body: Vec<u8>,
}

/// The JSON of `chat.postMessage`.
#[derive(Debug, Deserialize)]
struct Posted {
    ok: bool,
    ts: Option<String>,
    error: Option<String>,
    needed: Option<String>,
}

impl Answer {
    /// The outcome (docs.slack.dev: "Sending messages using incoming webhooks", "chat.postMessage", "Rate limits").
    pub fn outcome(self, way: Way) -> Result<Receipt, SendError> {
        let outcome = match way {
            _ if self.status == StatusCode::TOO_MANY_REQUESTS => Err(self.rate_limited()),
            Way::Webhook if self.status == StatusCode::OK && self.body.trim_ascii() == b"ok" => Ok(Receipt::default()),
            Way::Webhook => Err(self.by_status(way)),
            Way::Bot => match serde_json::from_slice::<Posted>(&self.body) {
                Ok(Posted { ok: true, ts, .. }) if self.status.is_success() => {
                    Ok(Receipt { reference: ts, request_id: None })
                }
                Ok(Posted { ok: false, error: Some(word), needed, .. }) => Err(self.by_word(&word, needed.as_deref())),
                Ok(_) | Err(_) => Err(self.by_status(way)),
            },
        };
        let request_id = self.request_id;
        match outcome {
            Ok(receipt) => Ok(Receipt { request_id, ..receipt }),
            Err(SendError::NotSent(error)) => Err(SendError::NotSent(error.with_request_id(request_id))),
            Err(SendError::Unexplained(error)) => Err(SendError::Unexplained(error.with_request_id(request_id))),
            Err(SendError::Unknown(error)) => Err(SendError::Unknown(error.with_request_id(request_id))),
        }
    }

    fn rate_limited(&self) -> SendError {
        let message = "Slack takes no more messages for now. Nothing was sent. If that goes on, set \
                       WORKER_CONCURRENCY to notify=1.";
        not_sent(
            self.retry_after.map_or(Fault::Transient, Fault::RetryAfter),
            FailureClass::RateLimited,
            message.to_owned(),
        )
    }

    /// A webhook's answer, or one of `chat.postMessage` that is not the documented JSON.
    fn by_status(&self, way: Way) -> SendError {
        let said = self.said();
        let settings = match way {
            Way::Webhook => "SLACK_WEBHOOK_URL",
            Way::Bot => "SLACK_BOT_TOKEN, SLACK_CHANNEL and SLACK_API_BASE_URL",
        };
        match self.status.as_u16() {
            200..=299 => unknown(format!(
                "Slack took the request, but its answer could not be read ({said}). The message may have arrived: \
                 look into the channel before you send it again."
            )),
            300..=399 => not_sent(
                Fault::Permanent,
                FailureClass::SlackDestination,
                format!(
                    "Slack's address answers with a redirect ({said}). Nothing was sent. Check {settings}, and run the job again."
                ),
            ),
            500 if self.word() == Some("rollup_error") => passing(&said),
            408 | 503 => passing(&said),
            400 | 413 | 415 if way == Way::Webhook => message_refused(&said),
            400..=499 => not_sent(
                Fault::Permanent,
                FailureClass::SlackDestination,
                format!(
                    "Slack refuses this destination ({said}). Nothing was sent. Check {settings}: the channel may be \
                     archived, or the app or its webhook removed. Then run the job again."
                ),
            ),
            _ => lost(&said),
        }
    }

    /// The `error` of `chat.postMessage`.
    fn by_word(&self, word: &str, needed: Option<&str>) -> SendError {
        let said = plain_word(word).unwrap_or("a word that cannot be shown").to_owned();
        match word {
            "ratelimited" | "rate_limited" => self.rate_limited(),
            "internal_error" | "fatal_error" => lost(&said),
            "service_unavailable" | "request_timeout" | "team_added_to_org" | "org_login_required" => passing(&said),
            "channel_not_found" | "not_in_channel" | "is_archived" => destination_refused(&said),
            word if word.starts_with("restricted_action") => destination_refused(&said),
            "msg_too_long" | "msg_blocks_too_long" | "no_text" | "invalid_blocks" | "invalid_arguments" => {
                message_refused(&said)
            }
            "missing_scope" => {
                let needed = needed.and_then(plain_word).unwrap_or("chat:write");
                not_sent(
                    Fault::Blocked,
                    FailureClass::SlackCredentials,
                    format!(
                        "The Slack app lacks a right (missing_scope: {needed}). Nothing was sent. Give the app the \
                         scope {needed}, install it again, and set the new SLACK_BOT_TOKEN."
                    ),
                )
            }
            "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive"
            | "ekm_access_denied" => not_sent(
                Fault::Blocked,
                FailureClass::SlackCredentials,
                format!("Slack refuses the token ({said}). Nothing was sent. Set a valid SLACK_BOT_TOKEN."),
            ),
            _ => {
                let message = format!(
                    "Slack refused the message for a reason that we do not know ({said}). Nothing was sent. If three tries \
                     do not help, look the word up in Slack's documentation of chat.postMessage, and run the job again."
                );
                SendError::Unexplained(UpstreamError::new(Fault::Transient, FailureClass::SlackUnexpected, message))
            }
        }
    }

    /// Status and, where it is one, the word of the body.
    fn said(&self) -> String {
        match self.word() {
            Some(word) => format!("{} {word}", self.status.as_u16()),
            None => self.status.as_u16().to_string(),
        }
    }

    /// The body, if it is a single plain word: only such a one is repeated in an error.
    fn word(&self) -> Option<&str> {
        std::str::from_utf8(&self.body).ok().map(str::trim).and_then(plain_word)
    }
}

/// The request got no answer. A connection that was never made carried nothing; after that nobody can tell.
pub fn no_answer(error: &reqwest::Error, way: Way) -> SendError {
    let settings = if way == Way::Webhook { "SLACK_WEBHOOK_URL" } else { "SLACK_API_BASE_URL" };
    if error.is_builder() {
        let message = format!("The request to Slack could not be made. Nothing was sent. Check {settings}.");
        not_sent(Fault::Permanent, FailureClass::SlackDestination, message)
    } else if error.is_connect() {
        let message = format!(
            "Slack could not be reached: no connection to the host of {settings}. Nothing was sent. If that \
             goes on, check the network, DNS and proxy of this machine."
        );
        not_sent(Fault::Transient, FailureClass::Connect, message)
    } else if error.is_timeout() {
        let message = "Slack did not answer in time. The message may have arrived: look into the channel before you \
                       send it again.";
        unknown(message.to_owned())
    } else {
        let message = "The connection to Slack broke before its answer came. The message may have arrived: look into \
                       the channel before you send it again.";
        unknown(message.to_owned())
    }
}

fn passing(said: &str) -> SendError {
    let message =
        format!("Slack is not available ({said}). Nothing was sent. If that goes on, look at slack-status.com.");
    not_sent(Fault::Transient, FailureClass::SlackUnavailable, message)
}

fn lost(said: &str) -> SendError {
    let message = format!(
        "Slack failed while it took the message ({said}). The message may have arrived: look into the channel before \
         you send it again."
    );
    unknown(message)
}

fn destination_refused(said: &str) -> SendError {
    let message = format!(
        "Slack refuses the channel ({said}). Nothing was sent. Invite the app to the channel or correct SLACK_CHANNEL, \
         and run the job again."
    );
    not_sent(Fault::Permanent, FailureClass::SlackDestination, message)
}

fn message_refused(said: &str) -> SendError {
    let message = format!(
        "Slack refuses the message itself ({said}). Nothing was sent. This is a bug: please report it with the call's \
         id."
    );
    not_sent(Fault::Permanent, FailureClass::SlackMessage, message)
}

fn not_sent(fault: Fault, class: FailureClass, message: String) -> SendError {
    SendError::NotSent(UpstreamError::new(fault, class, message))
}

fn unknown(message: String) -> SendError {
    SendError::Unknown(UpstreamError::new(Fault::Transient, FailureClass::UnknownOutcome, message))
}

/// Slack's words look like `channel_not_found` or `chat:write`.
fn plain_word(text: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.' | ',' | '-');
    (!text.is_empty() && text.len() <= 80 && text.chars().all(plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const WAIT: Fault = Fault::RetryAfter(Duration::from_secs(30));

    #[rstest]
    #[case(400, "invalid_blocks", Fault::Permanent, "slack_message")]
    #[case(403, "invalid_token", Fault::Permanent, "slack_destination")]
    #[case(403, "action_prohibited", Fault::Permanent, "slack_destination")]
    #[case(404, "no_service", Fault::Permanent, "slack_destination")]
    #[case(410, "channel_is_archived", Fault::Permanent, "slack_destination")]
    #[case(418, "something new", Fault::Permanent, "slack_destination")]
    #[case(302, "", Fault::Permanent, "slack_destination")]
    #[case(429, "", WAIT, "rate_limited")]
    #[case(500, "rollup_error", Fault::Transient, "slack_unavailable")]
    #[case(503, "", Fault::Transient, "slack_unavailable")]
    fn a_webhook_that_surely_sent_nothing(
        #[case] status: u16,
        #[case] body: &str,
        #[case] fault: Fault,
        #[case] class: &str,
    ) {
        assert_not_sent(answer(status, body).outcome(Way::Webhook), fault, class);
    }

    #[rstest]
    #[case(500, "")]
    #[case(500, "internal error")]
    #[case(502, "<html>")]
    #[case(504, "")]
    #[case(200, "<html>a proxy</html>")]
    #[case(200, "o")]
    fn a_webhook_that_leaves_it_open(#[case] status: u16, #[case] body: &str) {
        assert!(matches!(answer(status, body).outcome(Way::Webhook), Err(SendError::Unknown(_))));
    }

    #[rstest]
    #[case(200, r#"{"ok":false,"error":"ratelimited"}"#, WAIT, "rate_limited")]
    #[case(429, r#"{"ok":false,"error":"ratelimited"}"#, WAIT, "rate_limited")]
    #[case(200, r#"{"ok":false,"error":"service_unavailable"}"#, Fault::Transient, "slack_unavailable")]
    #[case(503, r#"{"ok":false,"error":"service_unavailable"}"#, Fault::Transient, "slack_unavailable")]
    #[case(200, r#"{"ok":false,"error":"request_timeout"}"#, Fault::Transient, "slack_unavailable")]
    #[case(200, r#"{"ok":false,"error":"channel_not_found"}"#, Fault::Permanent, "slack_destination")]
    #[case(200, r#"{"ok":false,"error":"restricted_action_read_only_channel"}"#, Fault::Permanent, "slack_destination")]
    #[case(200, r#"{"ok":false,"error":"msg_blocks_too_long"}"#, Fault::Permanent, "slack_message")]
    #[case(200, r#"{"ok":false,"error":"invalid_auth"}"#, Fault::Blocked, "slack_credentials")]
    #[case(
        200,
        r#"{"ok":false,"error":"missing_scope","needed":"chat:write.public"}"#,
        Fault::Blocked,
        "slack_credentials"
    )]
    #[case(401, "", Fault::Permanent, "slack_destination")]
    fn a_bot_that_surely_sent_nothing(
        #[case] status: u16,
        #[case] body: &str,
        #[case] fault: Fault,
        #[case] class: &str,
    ) {
        assert_not_sent(answer(status, body).outcome(Way::Bot), fault, class);
    }

    #[test]
    fn a_word_that_nobody_knows_is_named() {
        match answer(200, r#"{"ok":false,"error":"brand_new"}"#).outcome(Way::Bot) {
            Err(SendError::Unexplained(error)) => {
                assert_eq!((error.fault, error.class), (Fault::Transient, FailureClass::SlackUnexpected));
                assert!(error.message.contains("brand_new") && error.request_id.is_some(), "{error:?}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[rstest]
    #[case(200, r#"{"ok":false,"error":"internal_error"}"#)]
    #[case(500, r#"{"ok":false,"error":"fatal_error"}"#)]
    #[case(200, r#"{"ok":true,"ts":"17"#)]
    #[case(200, "")]
    #[case(500, "")]
    #[case(502, r#"{"ok":true,"ts":"1"}"#)]
    fn a_bot_that_leaves_it_open(#[case] status: u16, #[case] body: &str) {
        assert!(matches!(answer(status, body).outcome(Way::Bot), Err(SendError::Unknown(_))));
    }

    #[test]
    fn what_slack_calls_the_message_is_kept() {
        let receipt = answer(200, r#"{"ok":true,"channel":"C1","ts":"1731827108.000100"}"#).outcome(Way::Bot).unwrap();
        assert_eq!(receipt.reference.as_deref(), Some("1731827108.000100"));
        assert_eq!(receipt.request_id.as_deref(), Some("req-1"));
        let receipt = answer(200, "ok").outcome(Way::Webhook).unwrap();
        assert_eq!((receipt.reference, receipt.request_id.as_deref()), (None, Some("req-1")));
    }

    #[test]
    fn errors_name_the_settings_and_repeat_no_foreign_text() {
        let error =
            answer(200, r#"{"ok":false,"error":"missing_scope","needed":"<x>"}"#).outcome(Way::Bot).unwrap_err();
        assert!(error.to_string().contains("SLACK_BOT_TOKEN") && !error.to_string().contains("<x>"), "{error}");
        let error = answer(404, "no such\nplace").outcome(Way::Webhook).unwrap_err();
        assert!(error.to_string().contains("SLACK_WEBHOOK_URL") && !error.to_string().contains("place"), "{error}");
    }

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: Some(Duration::from_secs(30)),
            request_id: Some("req-1".to_owned()),
            body: body.as_bytes().to_vec(),
        }
    }

    fn assert_not_sent(outcome: Result<Receipt, SendError>, fault: Fault, class: &str) {
        match outcome {
            Err(SendError::NotSent(error)) => {
                assert_eq!((error.fault, error.class.as_str()), (fault, class));
                assert_eq!(error.request_id.as_deref(), Some("req-1"));
            }
            other => panic!("{other:?}"),
        }
    }
}
