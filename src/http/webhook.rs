//! `POST /webhooks/goto/call-ended`: size, signature, content type, intake, in this order.
//!
//! Telephony senders give up on most 4xx answers and take 404 and 410 for a cancelled subscription, so this path never
//! answers 404, 410 or 429; what may pass is 503.

use std::time::Duration;

use poem::http::{StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response};
use secrecy::SecretString;
use serde::Serialize;
use tokio::time::timeout;

use super::problem::Problem;
use super::tally::Tally;
use super::{body, signature};
use crate::model::CallId;
use crate::pipeline::intake::{self, Intake, Received};

/// The sender hears of a database that is away within 2 s of its last byte.
const INTAKE_LIMIT: Duration = Duration::from_millis(1_800);

static UNSIGNED: Tally = Tally::zero();

/// The door for signed webhooks.
pub struct CallEnded {
    /// Where events go.
    pub intake: Intake,
    /// None, one, or two while rotating.
    pub secrets: Vec<SecretString>,
    /// Longest time for a body to arrive.
    pub body_limit: Duration,
}

#[derive(Serialize)]
struct Receipt {
    status: &'static str,
    call_id: Option<CallId>,
    external_id: Option<String>,
}

impl Endpoint for CallEnded {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        if self.secrets.is_empty() {
            return Err(Problem::webhook_off().into());
        }
        let body = body::read(&mut request, self.body_limit).await?;
        if !signature::is_valid(request.headers().get_all(signature::HEADER), &body, &self.secrets) {
            return Err(unsigned().into());
        }
        if !is_json(request.header(header::CONTENT_TYPE)) {
            return Err(Problem::unsupported_media_type().into());
        }
        let received = timeout(INTAKE_LIMIT, self.intake.receive(intake::SIGNED, body)).await;
        let received = received.map_err(|_| Problem::database_unavailable())?.map_err(Problem::from)?;
        let receipt = receipt(received)?;
        metrics::counter!("webhook_events_total", "status" => receipt.status).increment(1);
        Ok(poem::web::Json(receipt).with_status(StatusCode::ACCEPTED).into_response())
    }
}

/// Costs no more than the hash of the body: anybody can send such ones.
fn unsigned() -> Problem {
    metrics::counter!("webhook_signature_rejected_total").increment(1);
    if let Some(count) = UNSIGNED.note() {
        tracing::warn!(
            count,
            "Webhooks were refused for their signature. Does the sender sign with GOTO_WEBHOOK_SECRET?"
        );
    }
    Problem::invalid_signature()
}

fn receipt(received: Received) -> Result<Receipt, Problem> {
    let (status, call_id, external_id) = match received {
        Received::Accepted { call_id, external_id } => ("accepted", Some(call_id), Some(external_id)),
        Received::Duplicate { call_id, external_id } => ("duplicate", Some(call_id), Some(external_id)),
        Received::Ignored { .. } => ("ignored", None, None),
        Received::Rejected(rejection) => {
            metrics::counter!("webhook_events_total", "status" => "rejected").increment(1);
            tracing::warn!(field = rejection.field, expected = rejection.expected, "A signed body was rejected.");
            return Err(rejection.into());
        }
    };
    tracing::info!(status, call_id = call_id.map(tracing::field::display), "A signed body was taken in.");
    Ok(Receipt { status, call_id, external_id })
}

/// `application/json`, anything that ends in `+json`, or none at all; parameters such as a charset do not matter.
fn is_json(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return true };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.is_empty() || essence == "application/json" || essence.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(None, true)]
    #[case(Some(""), true)]
    #[case(Some("application/json"), true)]
    #[case(Some("Application/JSON; charset=utf-8"), true)]
    #[case(Some("application/cloudevents+json"), true)]
    #[case(Some("text/plain"), false)]
    #[case(Some("application/x-www-form-urlencoded"), false)]
    #[case(Some("application/jsonp"), false)]
    fn content_types(#[case] value: Option<&str>, #[case] expected: bool) {
        assert_eq!(is_json(value), expected);
    }
}
