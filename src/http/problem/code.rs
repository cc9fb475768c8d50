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
        /// The body is not as it should be.
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
        /// The call has no recording to hear.
        NoRecording = "no_recording",
        /// The recording has no such part.
        NoSuchRange = "no_such_range",
        /// A link to a recording is over, or was never made.
        LinkOver = "link_over",
        /// The call cannot be run again from there.
        CannotRerun = "cannot_rerun",
        /// An edit does not say which version it is of.
        PreconditionRequired = "precondition_required",
        /// What is edited has changed since.
        PreconditionFailed = "precondition_failed",
        /// A header is not as it should be.
        BadHeader = "bad_header",
        /// An `Idempotency-Key` belongs to another request.
        IdempotencyKeyReused = "idempotency_key_reused",
        /// The same request is under way.
        RequestInProgress = "request_in_progress",
        /// The body is no JSON.
        InvalidJson = "invalid_json",
        /// There is no such API key.
        KeyNotFound = "key_not_found",
        /// The API key cannot be rotated.
        KeyNotRotatable = "key_not_rotatable",
        /// The address is too long.
        UriTooLong = "uri_too_long",
        /// The headers are too large.
        HeadersTooLarge = "headers_too_large",
        /// There is no such action item.
        ActionNotFound = "action_not_found",
        /// The key, or the server, has too many event streams.
        TooManyStreams = "too_many_streams",
        /// The database would need too long for so much.
        TooMuchAtOnce = "too_much_at_once",
        /// The key, or the server, has too many exports under way.
        TooManyExports = "too_many_exports",
    }
);

impl ProblemCode {
    /// The status of every answer with this code.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidSignature | Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidBody | Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RequestInProgress | Self::KeyNotRotatable | Self::CannotRerun => StatusCode::CONFLICT,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BrokenBody
            | Self::BadRequest
            | Self::KeyInQuery
            | Self::BadHeader
            | Self::InvalidJson
            | Self::BadParameter
            | Self::UnknownParameter
            | Self::BadCursor => StatusCode::BAD_REQUEST,
            Self::WebhookOff
            | Self::DatabaseUnavailable
            | Self::NotReady
            | Self::Timeout
            | Self::Overloaded
            | Self::TooMuchAtOnce => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooManyFailures | Self::TooManyRequests | Self::TooManyStreams | Self::TooManyExports => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotThisHost => StatusCode::MISDIRECTED_REQUEST,
            Self::NoRecording
            | Self::LinkOver
            | Self::NotFound
            | Self::CallNotFound
            | Self::NoTranscript
            | Self::ActionNotFound
            | Self::KeyNotFound => StatusCode::NOT_FOUND,
            Self::NoSuchRange => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        }
    }
}
