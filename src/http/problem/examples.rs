//! One problem of each code, as readers of the OpenAPI document see it.

use std::time::Duration;

use serde_json::Value;

use super::{FieldError, Problem, ProblemCode};

const REQUEST_ID: &str = "019b8e2c-7c1b-7c3a-9f21-6d1f0c9a4e11";
const WAIT: Duration = Duration::from_secs(2);
const BYTES: usize = 1 << 20;

impl Problem {
    /// The body of an answer with this code.
    pub fn example(code: ProblemCode) -> Value {
        // A struct of texts and numbers always serializes.
        serde_json::to_value(with(code).into_body(&REQUEST_ID)).unwrap_or_default()
    }
}

fn with(code: ProblemCode) -> Problem {
    use ProblemCode as P;
    let about = |field: &str, expected: &str| vec![FieldError { field: field.into(), expected: expected.into() }];
    match code {
        P::InvalidSignature => Problem::invalid_signature(),
        P::UnsupportedMediaType => Problem::unsupported_media_type(),
        P::InvalidBody => Problem::invalid_fields(about("owner", "at most 200 characters")),
        P::BodyTooLarge => Problem::too_large(BYTES),
        P::BodyTimeout => Problem::body_timeout(),
        P::BrokenBody => Problem::broken_body(),
        P::WebhookOff => Problem::webhook_off(),
        P::DatabaseUnavailable => Problem::database_unavailable(),
        P::NotReady => Problem::not_ready("The server has just been started."),
        P::Timeout => Problem::timeout(),
        P::Overloaded => Problem::overloaded(),
        P::TooManyFailures => Problem::barred(WAIT),
        P::TooManyRequests => Problem::too_many_requests(WAIT),
        P::Internal => Problem::internal(),
        P::BadRequest => Problem::unreadable(),
        P::NotThisHost => Problem::not_this_host(),
        P::NotFound => Problem::not_found(),
        P::MethodNotAllowed => Problem::method_not_allowed("GET, HEAD"),
        P::Unauthorized => Problem::unauthorized(),
        P::Forbidden => Problem::forbidden("calls:read"),
        P::KeyInQuery => Problem::key_in_query(),
        P::BadParameter => Problem::bad_parameter("limit", "at most 200"),
        P::UnknownParameter => Problem::unknown_parameters(about("sate", "no such parameter; did you mean `state`?")),
        P::BadCursor => Problem::bad_cursor(),
        P::CallNotFound => Problem::call_not_found(),
        P::NoTranscript => Problem::no_transcript("The call was not recorded.".to_owned()),
        P::NoRecording => Problem::no_recording("The call was not recorded."),
        P::NoSuchRange => Problem::no_such_range(1_984_044),
        P::LinkOver => Problem::link_over(),
        P::CannotRerun => Problem::cannot_rerun("it has no transcript yet"),
        P::PreconditionRequired => Problem::precondition_required(),
        P::PreconditionFailed => Problem::precondition_failed(),
        P::BadHeader => Problem::bad_header("Idempotency-Key", "1 to 255 letters, digits or `_.:-`"),
        P::IdempotencyKeyReused => Problem::idempotency_key_reused(),
        P::RequestInProgress => Problem::request_in_progress(),
        P::InvalidJson => Problem::new(code, "The body is no JSON: EOF while parsing an object at line 1 column 1.")
            .about("body", "JSON (RFC 8259)"),
        P::KeyNotFound => Problem::key_not_found(),
        P::KeyNotRotatable => Problem::key_not_rotatable(),
        P::UriTooLong => Problem::uri_too_long(8_000),
        P::HeadersTooLarge => Problem::headers_too_large(16_384),
        P::ActionNotFound => Problem::action_not_found(),
        P::TooManyStreams => Problem::too_many_streams(),
        P::TooMuchAtOnce => Problem::too_much_at_once(),
        P::TooManyExports => Problem::too_many_exports(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_example() {
        for code in ProblemCode::ALL {
            let example = Problem::example(*code);
            assert_eq!((&example["code"], &example["status"]), (&code.as_str().into(), &code.status().as_u16().into()));
            assert!(example["detail"].as_str().unwrap().ends_with('.'), "{example}");
        }
    }
}
