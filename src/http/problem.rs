//! Problems: every answer that is an error, in one shape (RFC 9457). The only file that knows error status codes.
//!
//! Clients branch on `code`, which stays; `detail` is for people. Neither ever tells a cause inside of the server: that
//! stands in the log under the request id.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use poem::Response;
use poem::error::{MethodNotAllowedError, NotFoundError, ReadBodyError, ResponseError};
use poem::http::{HeaderName, HeaderValue, StatusCode};
use poem_openapi::error::{AuthorizationError, ParseParamError, ParsePathError};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, Object};
use serde::Serialize;

pub use self::code::ProblemCode;
use super::envelope::RequestId;
use crate::pipeline::call_ended::Rejection;

mod code;

/// Status of a health report that says `down`.
pub const DOWN: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// What poem-openapi calls the type of our ids.
const UUID: &str = "string_uuid";
const MEDIA_TYPE: &str = "application/problem+json";
/// Seconds after which the database may be back.
const RETRY_AFTER: &str = "5";

/// Whether strangers get such an answer as often as they like. They are told of in sum ([`super::tally`]), not one by one.
pub fn is_common(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE)
}

/// An answer that is an error.
#[derive(Debug, Clone)]
pub struct Problem {
    code: ProblemCode,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    header: Option<(&'static str, Cow<'static, str>)>,
}

/// A field or parameter that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Object)]
pub struct FieldError {
    /// Its path in the body, or the name of the parameter.
    pub field: String,
    /// What should be there.
    pub expected: String,
}

/// An error as it is sent (RFC 9457).
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Problem")]
struct ProblemBody {
    /// Always `about:blank`: the status and `code` say it all.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    kind: String,
    /// Name of the status.
    title: String,
    /// HTTP status.
    status: u16,
    /// What happened and what to do, for a person.
    detail: String,
    /// Stable word to branch on.
    code: String,
    /// Names this request in the server's log; also in the header `X-Request-Id`.
    request_id: String,
    /// The fields or parameters that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[oai(default, skip_serializing_if_is_empty)]
    errors: Vec<FieldError>,
}

impl Problem {
    fn new(code: ProblemCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), header: None }
    }

    fn with_header(self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        Self { header: Some((name, value.into())), ..self }
    }

    /// Whole seconds, and not too few of them.
    fn with_wait(self, wait: Duration) -> Self {
        self.with_header("retry-after", wait.as_millis().div_ceil(1000).max(1).to_string())
    }

    /// A query parameter or part of the path is not as it should be.
    pub fn bad_parameter(name: &str, expected: impl Into<String>) -> Self {
        let error = FieldError { field: name.to_owned(), expected: expected.into() };
        let detail = format!("The parameter `{}` is wrong: expected {}.", error.field, error.expected);
        Self { errors: vec![error], ..Self::new(ProblemCode::BadParameter, detail) }
    }

    /// Query parameters that the resource does not have.
    pub fn unknown_parameters(errors: Vec<FieldError>) -> Self {
        let names: Vec<String> = errors.iter().map(|error| format!("`{}`", error.field)).collect();
        let detail = format!("This resource has no parameter {}.", names.join(", "));
        Self { errors, ..Self::new(ProblemCode::UnknownParameter, detail) }
    }

    /// The cursor is none of ours, or one of a list with other filters.
    pub fn bad_cursor() -> Self {
        const DETAIL: &str = "The cursor does not belong to this list. Send the `next_cursor` of an earlier answer as \
                              it came, with the same filters, or start without a cursor.";
        Self::new(ProblemCode::BadCursor, DETAIL)
    }

    /// A key stands in the address.
    pub fn key_in_query() -> Self {
        const DETAIL: &str = "API keys are accepted in the header `Authorization: Bearer KEY` only. Addresses are \
                              logged on the way: revoke the key that was sent in this one.";
        Self::new(ProblemCode::KeyInQuery, DETAIL)
    }

    /// No key, or none that counts: the same for every cause.
    pub fn unauthorized() -> Self {
        const DETAIL: &str = "A valid API key is needed in the header `Authorization: Bearer KEY`.";
        Self::new(ProblemCode::Unauthorized, DETAIL).with_header("www-authenticate", "Bearer")
    }

    /// The signature of a webhook is missing, malformed or wrong: the same for every cause.
    pub fn invalid_signature() -> Self {
        const DETAIL: &str = "The header X-GoTo-Signature must carry the HMAC-SHA256 of the body, in hex, once.";
        Self::new(ProblemCode::InvalidSignature, DETAIL).with_header("www-authenticate", "HMAC-SHA256")
    }

    /// The key is fine, but not for this.
    pub fn forbidden(scope: &str) -> Self {
        Self::new(ProblemCode::Forbidden, format!("The API key lacks the scope `{scope}`."))
    }

    /// No such route.
    pub fn not_found() -> Self {
        Self::new(ProblemCode::NotFound, "There is nothing at this address; /openapi.json lists what is.")
    }

    /// The request names another host than those that the address is for.
    pub fn not_this_host() -> Self {
        const DETAIL: &str = "This address answers to the names of this machine only: localhost, 127.0.0.1 or [::1].";
        Self::new(ProblemCode::NotThisHost, DETAIL)
    }

    /// No such call.
    pub fn call_not_found() -> Self {
        Self::new(ProblemCode::CallNotFound, "There is no call with this id.")
    }

    /// The call has no transcript, or none yet.
    pub fn no_transcript(reason: String) -> Self {
        Self::new(ProblemCode::NoTranscript, reason)
    }

    /// The route answers to other methods.
    pub fn method_not_allowed(allowed: &'static str) -> Self {
        let detail = format!("This address answers to {allowed} only.");
        Self::new(ProblemCode::MethodNotAllowed, detail).with_header("allow", allowed)
    }

    /// The body did not arrive in time.
    pub fn body_timeout() -> Self {
        Self::new(ProblemCode::BodyTimeout, "The body did not arrive in time.")
    }

    /// The body broke off.
    pub fn broken_body() -> Self {
        Self::new(ProblemCode::BrokenBody, "The body broke off before its end.")
    }

    /// The body is larger than any that is accepted here.
    pub fn too_large(limit: usize) -> Self {
        Self::new(ProblemCode::BodyTooLarge, format!("The body has more than {limit} bytes."))
    }

    /// The body is of a type that is not read here.
    pub fn unsupported_media_type() -> Self {
        const DETAIL: &str = "The Content-Type must be application/json or end in +json.";
        Self::new(ProblemCode::UnsupportedMediaType, DETAIL)
    }

    /// No webhook secret is set.
    pub fn webhook_off() -> Self {
        const DETAIL: &str = "Signed webhooks are off: GOTO_WEBHOOK_SECRET is not set on this server.";
        Self::new(ProblemCode::WebhookOff, DETAIL)
    }

    /// The database does not answer; nothing of the request was done.
    pub fn database_unavailable() -> Self {
        const DETAIL: &str = "The database does not answer. Send the same request again in a few seconds.";
        Self::new(ProblemCode::DatabaseUnavailable, DETAIL).with_header("retry-after", RETRY_AFTER)
    }

    /// The server is up, but not ready to serve.
    pub fn not_ready(reason: &'static str) -> Self {
        Self::new(ProblemCode::NotReady, reason).with_header("retry-after", RETRY_AFTER)
    }

    /// The request took longer than any may.
    pub fn timeout() -> Self {
        Self::new(ProblemCode::Timeout, "The request took too long and was given up.")
            .with_header("retry-after", RETRY_AFTER)
    }

    /// More clients than there may be. 503 and not 429 even where it is one address that has too many connections:
    /// senders of webhooks do not send again after a 4xx.
    pub fn overloaded() -> Self {
        const DETAIL: &str = "The server has more to do than it can, or this address has too many connections. Send the \
                              same request again in a few seconds.";
        Self::new(ProblemCode::Overloaded, DETAIL).with_header("retry-after", RETRY_AFTER)
    }

    /// Too many wrong keys came from the client's address.
    pub fn barred(wait: Duration) -> Self {
        const DETAIL: &str = "Too many requests with a wrong API key came from this address. Wait as long as Retry-After \
                              says; each further wrong key makes it longer.";
        Self::new(ProblemCode::TooManyFailures, DETAIL).with_wait(wait)
    }

    /// The key is used too often.
    pub fn too_many_requests(wait: Duration) -> Self {
        const DETAIL: &str = "This API key asks more often than it may. Wait as long as Retry-After says.";
        Self::new(ProblemCode::TooManyRequests, DETAIL).with_wait(wait)
    }

    /// Our mistake.
    pub fn internal() -> Self {
        const DETAIL: &str = "The server made a mistake. The log tells more under this request id.";
        Self::new(ProblemCode::Internal, DETAIL)
    }

    /// The answer to send.
    pub fn into_response(self, request_id: &RequestId) -> Response {
        let status = self.code.status();
        let body = ProblemBody {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: self.detail.into_owned(),
            code: self.code.to_string(),
            request_id: request_id.to_string(),
            errors: self.errors,
        };
        // A struct of texts and numbers always serializes.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::builder().status(status).content_type(MEDIA_TYPE).body(body);
        if let Some((name, Ok(value))) = self.header.map(|(name, value)| (name, HeaderValue::from_str(&value))) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status(&self) -> StatusCode {
        self.code.status()
    }
}

impl From<Rejection> for Problem {
    fn from(Rejection { field, expected }: Rejection) -> Self {
        let detail = format!("The body was kept, but not understood: `{field}` must be {expected}.");
        let errors = vec![FieldError { field, expected }];
        Self { errors, ..Self::new(ProblemCode::InvalidBody, detail) }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        // Connections (08), a standby (25), logins (28), a missing database (3D), conflicts (40), resources (53), shutdown
        // (57): the same request may succeed later. Any other verdict of the server, or an answer that we cannot read,
        // is our mistake.
        let passing = match &error {
            sqlx::Error::Database(verdict) => verdict.code().is_some_and(|code| {
                ["08", "25", "28", "3D", "40", "53", "57"].iter().any(|class| code.starts_with(class))
            }),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            _ => false,
        };
        if passing {
            tracing::warn!(%error, "The database does not answer.");
            Self::database_unavailable()
        } else {
            tracing::error!(%error, "A query failed. This is a bug; please report it.");
            Self::internal()
        }
    }
}

/// What poem and poem-openapi refuse by themselves.
impl From<poem::Error> for Problem {
    fn from(error: poem::Error) -> Self {
        if let Some(problem) = error.downcast_ref::<Problem>() {
            return problem.clone();
        }
        if let Some(ParseParamError { name, reason }) = error.downcast_ref() {
            return Self::bad_parameter(name, readable(reason));
        }
        if let Some(ParsePathError { reason, .. }) = error.downcast_ref() {
            // It calls the parts of a path `param0`, `param1`, ...; those of ours that are UUIDs are named `id`.
            let name = if reason.contains(UUID) { "id" } else { "path" };
            return Self::bad_parameter(name, readable(reason));
        }
        if let Some(ReadBodyError::PayloadTooLarge) = error.downcast_ref() {
            return Self::too_large(super::body::LIMIT);
        }
        match error.status() {
            _ if error.is::<NotFoundError>() => Self::not_found(),
            // Routes with other methods name them (`super::allow`).
            _ if error.is::<MethodNotAllowedError>() => Self::method_not_allowed("GET, HEAD"),
            _ if error.is::<AuthorizationError>() => Self::unauthorized(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::unsupported_media_type(),
            status if status.is_client_error() => Self::new(ProblemCode::BadRequest, "The request cannot be read."),
            _ => {
                tracing::error!(%error, "A request failed. This is a bug; please report it.");
                Self::internal()
            }
        }
    }
}

/// The reasons of poem-openapi in the words of a person.
fn readable(reason: &str) -> String {
    // Of a parameter that may be missing it names its inner type, too.
    let reason = reason.split(" (occurred while parsing ").next().unwrap_or(reason);
    let number = |text: &str| text.split([',', ')']).next().unwrap_or_default().to_owned();
    if let Some((_, rest)) = reason.split_once("maximum(") {
        format!("at most {}", number(rest))
    } else if let Some((_, rest)) = reason.split_once("minimum(") {
        format!("at least {}", number(rest))
    } else if let Some(rest) = reason.strip_prefix("failed to parse \"") {
        let (kind, why) = rest.split_once("\": ").unwrap_or((rest, ""));
        match kind {
            UUID => "an id such as 019b8e2c-7c1b-7c3a-9f21-6d1f0c9a4e11".to_owned(),
            kind if kind.starts_with("integer") => "a whole number".to_owned(),
            _ => why.to_owned(),
        }
    } else {
        reason.to_owned()
    }
}

/// In the OpenAPI document every operation may answer with a problem.
impl ApiResponse for Problem {
    fn meta() -> MetaResponses {
        let schema = ProblemBody::schema_ref();
        MetaResponses {
            responses: vec![MetaResponse {
                description: "A problem (RFC 9457). Branch on `code`.",
                status: None,
                status_range: None,
                content: vec![MetaMediaType { content_type: MEDIA_TYPE, schema }],
                headers: vec![],
            }],
        }
    }

    fn register(registry: &mut Registry) {
        ProblemBody::register(registry);
    }
}

#[cfg(test)]
mod tests;
