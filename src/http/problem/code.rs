//! THE list of codes that an answer may carry when it is a problem.

use poem::http::StatusCode;

use crate::text_enum;

text_enum!(
    /// What went wrong with a request: the stable word that clients branch on. `docs/failures.md` has a row for each.
    ProblemCode {
        /// A signature is missing, malformed or wrong.
        InvalidSignature = "invalid_signature",
        /// The body is not read in this type.
        UnsupportedMediaType = "unsupported_media_type",
        /// The body was kept, but not understood.
        InvalidBody = "invalid_body",
        /// The body has too many bytes.
        BodyTooLarge = "body_too_large",
        /// The body did not arrive in time.
        BodyTimeout = "body_timeout",
        /// The body broke off.
        BrokenBody = "broken_body",
        /// No webhook secret is set.
        WebhookOff = "webhook_off",
        /// The database does not answer.
        DatabaseUnavailable = "database_unavailable",
        /// The server is up, but cannot serve yet.
        NotReady = "not_ready",
        /// The request took too long.
        Timeout = "timeout",
        /// The server, or the client's address, has too many connections.
        Overloaded = "overloaded",
        /// Too many wrong keys came from the address.
        TooManyFailures = "too_many_failures",
        /// The key is used too often.
        TooManyRequests = "too_many_requests",
        /// Our mistake.
        Internal = "internal",
        /// The request cannot be read.
        BadRequest = "bad_request",
        /// The request names another host.
        NotThisHost = "not_this_host",
        /// There is nothing at this address.
        NotFound = "not_found",
        /// The address answers to other methods.
        MethodNotAllowed = "method_not_allowed",
        /// No key, or none that counts.
        Unauthorized = "unauthorized",
        /// The key is good, but not for this.
        Forbidden = "forbidden",
        /// A key stands in the address.
        KeyInQuery = "key_in_query",
        /// A parameter is not as it should be.
        BadParameter = "bad_parameter",
        /// There is no such parameter.
        UnknownParameter = "unknown_parameter",
        /// The cursor is none of this list's.
        BadCursor = "bad_cursor",
        /// There is no such call.
        CallNotFound = "call_not_found",
        /// The call has no transcript.
        NoTranscript = "no_transcript",
    }
);

impl ProblemCode {
    /// The status of every answer with this code.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidSignature | Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidBody => StatusCode::UNPROCESSABLE_ENTITY,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BrokenBody
            | Self::BadRequest
            | Self::KeyInQuery
            | Self::BadParameter
            | Self::UnknownParameter
            | Self::BadCursor => StatusCode::BAD_REQUEST,
            Self::WebhookOff | Self::DatabaseUnavailable | Self::NotReady | Self::Timeout | Self::Overloaded => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::TooManyFailures | Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotThisHost => StatusCode::MISDIRECTED_REQUEST,
            Self::NotFound | Self::CallNotFound | Self::NoTranscript => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Forbidden => StatusCode::FORBIDDEN,
        }
    }
}
