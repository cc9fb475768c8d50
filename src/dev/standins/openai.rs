//! What both `OpenAI` stand-ins share: errors in `OpenAI`'s shape, the key, the request id.

use poem::http::StatusCode;
use poem::{IntoResponse, Request, Response};
use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use super::bearer_is;

/// The name under which the stand-ins answer.
pub const MODEL: &str = "stand-in";

/// An answer of `OpenAI`: JSON or text, with the id that an operator would tell its support.
pub fn answer(response: impl IntoResponse) -> Response {
    response.with_header("x-request-id", format!("req_standin_{}", Uuid::now_v7().simple())).into_response()
}

/// A JSON answer.
pub fn json_answer(status: StatusCode, body: &Value) -> Response {
    answer(Response::builder().status(status).content_type("application/json").body(body.to_string()))
}

/// A refusal: `{"error":{"message","type","param","code"}}`, all four keys always there.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    kind: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
    message: String,
}

impl Refusal {
    /// HTTP 400, type `invalid_request_error`, param and code null.
    pub fn invalid(message: impl Into<String>) -> Self {
        let status = StatusCode::BAD_REQUEST;
        Self { status, kind: "invalid_request_error", param: None, code: None, message: message.into() }
    }

    /// The same with the parameter that is wrong.
    #[must_use]
    pub fn param(self, param: &'static str) -> Self {
        Self { param: Some(param), ..self }
    }

    /// The same with a code.
    #[must_use]
    pub fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// HTTP 413; a `server_error` that must not be retried.
    pub fn too_large(limit: usize, length: usize) -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            kind: "server_error",
            ..Self::invalid(format!("Maximum content size limit ({limit}) exceeded ({length} bytes read)"))
        }
    }

    /// HTTP 401.
    fn unauthorized(message: &str) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, ..Self::invalid(message) }
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, kind, param, code, message } = refusal;
        json_answer(status, &json!({"error": {"message": message, "type": kind, "param": param, "code": code}}))
    }
}

/// Refuses a request without the key.
pub fn authorize(request: &Request, key: &SecretString) -> Result<(), Refusal> {
    match bearer_is(request, key) {
        Some(true) => Ok(()),
        Some(false) => Err(Refusal::unauthorized("Incorrect API key provided.").code("invalid_api_key")),
        None => Err(Refusal::unauthorized(
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer \
             auth (i.e. Authorization: Bearer YOUR_KEY).",
        )),
    }
}
