//! Problems: every answer that is an error, in one shape (RFC 9457). The only file that knows error status codes.
//!
//! Clients branch on `code`, which stays; `detail` is for people. Neither ever tells a cause inside of the server: that
//! stands in the log under the request id.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use poem::Response;
use poem::error::ResponseError;
use poem::http::{HeaderName, HeaderValue, StatusCode};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, Object};
use serde::Serialize;

pub use self::code::ProblemCode;
use super::envelope::RequestId;

mod causes;
mod code;
mod examples;
mod framework;

/// Status of a health report that says `down`.
pub const DOWN: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

const MEDIA_TYPE: &str = "application/problem+json";

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

/// A field, parameter or header that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Object)]
pub struct FieldError {
    /// Its path in the body, or the name of the parameter or header.
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
    /// The fields, parameters or headers that are wrong; empty if it is about none of them.
    errors: Vec<FieldError>,
}

impl Problem {
    fn new(code: ProblemCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), header: None }
    }

    fn about(mut self, field: &str, expected: impl Into<String>) -> Self {
        self.errors.push(FieldError { field: field.to_owned(), expected: expected.into() });
        self
    }

    fn with_header(self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        Self { header: Some((name, value.into())), ..self }
    }

    /// What has not been read of the request ends the connection, and its client must not send another one on it: it would
    /// be lost (RFC 9112, section 9.6).
    fn closing(self) -> Self {
        self.with_header("connection", "close")
    }

    /// Whole seconds, and not too few of them.
    fn with_wait(self, wait: Duration) -> Self {
        self.with_header("retry-after", wait.as_millis().div_ceil(1000).max(1).to_string())
    }

    /// The answer to send.
    pub fn into_response(mut self, request_id: &RequestId) -> Response {
        let (status, header) = (self.code.status(), self.header.take());
        // A struct of texts and numbers always serializes.
        let body = serde_json::to_vec(&self.into_body(request_id)).unwrap_or_default();
        let mut response = Response::builder().status(status).content_type(MEDIA_TYPE).body(body);
        if let Some((name, Ok(value))) = header.map(|(name, value)| (name, HeaderValue::from_str(&value))) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
        response
    }

    fn into_body(self, request_id: &dyn fmt::Display) -> ProblemBody {
        let status = self.code.status();
        ProblemBody {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: self.detail.into_owned(),
            code: self.code.to_string(),
            request_id: request_id.to_string(),
            errors: self.errors,
        }
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
