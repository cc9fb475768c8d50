//! What became of a mail: sent, surely not sent, or unknown.

use std::error::Error;
use std::sync::LazyLock;
use std::time::Duration;

use lettre::transport::smtp::response::Response;
use regex::{Captures, Regex};

use super::session::{SessionError, Stage};
use crate::channels::text;
use crate::channels::{Receipt, SendError};
use crate::model::{FailureClass, Fault, UpstreamError};

/// A mail address, with its angle brackets.
static ADDRESS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"<?(?P<address>[^\s<>"(),;:]+@[^\s<>"(),;:]+)>?"#).expect("a constant"));

/// As much of a server's reply as is kept.
const REPLY_LIMIT: usize = 200;

/// The server's last reply, which names the mail in its queue.
pub fn receipt(reply: &Response) -> Receipt {
    let text = reply.message().collect::<Vec<_>>().join(" ");
    let text = text::cut(&text::clean(&text), REPLY_LIMIT);
    Receipt { reference: Some(text).filter(|text| !text.is_empty()), request_id: None }
}

/// A reply of 4xx or 5xx means that the mail was not taken, at any step. Without a reply it depends on the final dot.
/// Servers repeat the address of `recipient`; no sentence here does, since these are logged.
pub fn failed(error: &SessionError, final_dot: bool, recipient: &str) -> SendError {
    let said = said(&error.source, recipient);
    if error.source.is_transient() {
        let message = format!(
            "The mail server asks us to come again later ({said}). Nothing was sent. If that goes on, ask its operator."
        );
        let later = UpstreamError::new(Fault::Transient, FailureClass::SmtpTryLater, message);
        // A full mailbox, or greylisting: others are not meant.
        SendError::NotSent(if error.stage == Stage::Recipient { later.as_no_sign() } else { later })
    } else if error.source.is_permanent() || error.source.is_client() {
        let (class, message) = refusal(error, &said);
        not_sent(if is_of_everybody(class) { Fault::Blocked } else { Fault::Permanent }, class, message)
    } else if final_dot {
        let message = format!(
            "The connection to the mail server broke before it confirmed the mail ({said}). It may have arrived: ask \
             the recipient before you send it again."
        );
        unknown(message)
    } else if error.stage == Stage::Connect || error.stage == Stage::StartTls {
        let message = format!(
            "The mail server could not be reached ({said}). Nothing was sent. If that goes on, check SMTP_HOST, \
             SMTP_PORT and SMTP_TLS."
        );
        not_sent(Fault::Transient, FailureClass::Connect, message)
    } else {
        let message = format!(
            "The connection to the mail server broke ({said}). Nothing was sent. If that goes on, ask its operator."
        );
        not_sent(Fault::Transient, FailureClass::ConnectionLost, message)
    }
}

/// The session was given up after `timeout`.
pub fn timed_out(timeout: Duration, final_dot: bool) -> SendError {
    let seconds = timeout.as_secs_f64();
    if final_dot {
        let message = format!(
            "The mail server did not confirm the mail within {seconds} s. It may have arrived: ask the recipient \
             before you send it again."
        );
        unknown(message)
    } else {
        let message = format!(
            "The mail server did not take the mail within {seconds} s. Nothing was sent. If that goes on, check \
             SMTP_HOST, SMTP_PORT and SMTP_TLS."
        );
        not_sent(Fault::Transient, FailureClass::Timeout, message)
    }
}

/// A refusal, and what to change.
fn refusal(error: &SessionError, said: &str) -> (FailureClass, String) {
    let code = error.source.status().map(u16::from);
    match (code, error.stage) {
        (None, Stage::StartTls) => (
            FailureClass::SmtpNoStarttls,
            "The mail server offers no STARTTLS. Nothing was sent, the login neither. Set SMTP_TLS=implicit and \
             SMTP_PORT=465 if it speaks TLS from the first byte, else ask its operator."
                .to_owned(),
        ),
        (None, Stage::Login) => (
            FailureClass::SmtpLoginRefused,
            "The mail server offers no login that we speak (PLAIN, LOGIN). Nothing was sent. Check SMTP_PORT and \
             SMTP_TLS, or leave out SMTP_USERNAME and SMTP_PASSWORD if it wants none."
                .to_owned(),
        ),
        (Some(530), _) => (
            FailureClass::SmtpLoginRefused,
            format!(
                "The mail server wants a login or TLS first ({said}). Nothing was sent. Set SMTP_USERNAME and \
                 SMTP_PASSWORD, and check SMTP_TLS."
            ),
        ),
        (Some(534 | 535 | 538), _) | (_, Stage::Login) => (
            FailureClass::SmtpLoginRefused,
            format!(
                "The mail server refused the login ({said}). Nothing was sent. Correct SMTP_USERNAME and SMTP_PASSWORD."
            ),
        ),
        (_, Stage::Sender) => (
            FailureClass::SmtpSenderRefused,
            format!(
                "The mail server refused the sender ({said}). Nothing was sent. Correct SMTP_FROM_EMAIL and run the \
                 job again."
            ),
        ),
        (_, Stage::Recipient) => (
            FailureClass::SmtpRecipientRefused,
            format!(
                "The mail server refused this recipient ({said}). Nothing was sent to it; other recipients are not \
                 touched. Correct NOTIFICATION_EMAIL_RECIPIENTS, or have the mailbox put right and run the job again."
            ),
        ),
        (_, Stage::Content) => (
            FailureClass::SmtpMessageRefused,
            format!(
                "The mail server refused the mail itself ({said}). Nothing was sent. Ask its operator why, and run \
                 the job again."
            ),
        ),
        (_, Stage::Connect | Stage::StartTls) => (
            FailureClass::SmtpServerRefused,
            format!(
                "The mail server does not talk to us ({said}). Nothing was sent. Check SMTP_HOST, SMTP_PORT and \
                 SMTP_TLS, and ask its operator."
            ),
        ),
    }
}

/// Whether it is about no mail and no recipient, but about us.
fn is_of_everybody(class: FailureClass) -> bool {
    use FailureClass::{SmtpLoginRefused, SmtpNoStarttls, SmtpServerRefused};
    matches!(class, SmtpNoStarttls | SmtpLoginRefused | SmtpServerRefused)
}

fn not_sent(fault: Fault, class: FailureClass, message: String) -> SendError {
    SendError::NotSent(UpstreamError::new(fault, class, message))
}

fn unknown(message: String) -> SendError {
    SendError::Unknown(UpstreamError::new(Fault::Transient, FailureClass::UnknownOutcome, message))
}

/// Code and text of the reply, or how the connection broke, as one short line.
fn said(error: &lettre::transport::smtp::Error, recipient: &str) -> String {
    let reply = error.source().map(|source| text::clean(&nameless(&source.to_string(), recipient))).unwrap_or_default();
    let said = match error.status() {
        Some(code) => format!("{code} {reply}"),
        None if reply.is_empty() => error.to_string(),
        None => reply,
    };
    text::cut(said.trim(), REPLY_LIMIT)
}

/// A server's words without anybody's address; the delivery's row names its recipient.
fn nameless(said: &str, recipient: &str) -> String {
    let name = |found: &Captures<'_>| {
        // A full stop after an address ends a sentence.
        let address = found["address"].trim_end_matches('.');
        if address.eq_ignore_ascii_case(recipient) { "this recipient" } else { "another address" }
    };
    ADDRESS.replace_all(said, name).into_owned()
}
