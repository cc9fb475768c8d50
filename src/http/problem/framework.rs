//! What others refuse or fail with: the database, poem, poem-openapi.

use poem::error::{MethodNotAllowedError, NotFoundError, ReadBodyError};
use poem::http::StatusCode;
use poem_openapi::error::{AuthorizationError, ParseParamError, ParsePathError, ParseRequestPayloadError};

use super::{Problem, ProblemCode};
use crate::http::body;
use crate::pipeline::call_ended::Rejection;
use crate::pipeline::kpi::Unread;

/// What poem-openapi calls the type of our ids.
const UUID: &str = "string_uuid";

impl From<Rejection> for Problem {
    fn from(Rejection { field, expected }: Rejection) -> Self {
        let detail = format!("The body was kept, but not understood: `{field}` must be {expected}.");
        Self::new(ProblemCode::InvalidBody, detail).about(&field, expected)
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

impl From<Unread> for Problem {
    fn from(reason: Unread) -> Self {
        match reason {
            Unread::Busy => Self::overloaded(),
            Unread::TooMuch => Self::too_much_at_once(),
            Unread::Database(error) => error.into(),
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
        if let Some(ParseRequestPayloadError { reason }) = error.downcast_ref() {
            return Self::invalid_body(reason);
        }
        if let Some(ReadBodyError::PayloadTooLarge) = error.downcast_ref() {
            return Self::too_large(body::LIMIT);
        }
        match error.status() {
            _ if error.is::<NotFoundError>() => Self::not_found(),
            _ if error.is::<poem::error::ParsePathError>() => {
                Self::bad_parameter("path", "an address in UTF-8, its other characters written as `%C3%A9`")
            }
            // Routes with other methods name them (`http::allow`, `http::conventions`).
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
pub(super) fn readable(reason: &str) -> String {
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
            kind if kind.starts_with("integer") && why.contains("too large") => "a smaller whole number".to_owned(),
            kind if kind.starts_with("integer") && why.contains("too small") => "a larger whole number".to_owned(),
            // Of what can be none: a number of days, for example.
            kind if kind.starts_with("integer(uint") => "a whole number, without a sign".to_owned(),
            kind if kind.starts_with("integer") => "a whole number".to_owned(),
            "boolean" => "`true` or `false`".to_owned(),
            _ => why.to_owned(),
        }
    } else {
        reason.to_owned()
    }
}
