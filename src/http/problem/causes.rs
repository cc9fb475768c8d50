//! What may be wrong, each with its words: what happened, and what to do.

use std::borrow::Cow;
use std::time::Duration;

use super::{FieldError, Problem, ProblemCode, framework};

/// Seconds after which the database may be back.
const RETRY_AFTER: &str = "5";

impl Problem {
    /// A query parameter or part of the path is not as it should be.
    pub fn bad_parameter(name: &str, expected: impl Into<String>) -> Self {
        let expected = expected.into();
        let detail = format!("The parameter `{name}` is wrong: expected {expected}.");
        Self::new(ProblemCode::BadParameter, detail).about(name, expected)
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
        Self::new(ProblemCode::BadCursor, DETAIL).about("cursor", "the `next_cursor` of this list")
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
        let problem = Self::new(ProblemCode::Unauthorized, DETAIL).about("Authorization", "`Bearer KEY`");
        problem.with_header("www-authenticate", "Bearer")
    }

    /// The signature of a webhook is missing, malformed or wrong: the same for every cause.
    pub fn invalid_signature() -> Self {
        const DETAIL: &str = "The header X-GoTo-Signature must carry the HMAC-SHA256 of the body, in hex, once.";
        Self::new(ProblemCode::InvalidSignature, DETAIL).with_header("www-authenticate", "HMAC-SHA256")
    }

    /// The key is fine, but not for this.
    pub fn forbidden(scope: &str) -> Self {
        let problem = Self::new(ProblemCode::Forbidden, format!("The API key lacks the scope `{scope}`."));
        problem.about("Authorization", format!("a key with the scope `{scope}`"))
    }

    /// No such route.
    pub fn not_found() -> Self {
        Self::new(ProblemCode::NotFound, "There is nothing at this address; /openapi.json lists what is.")
    }

    /// The request is no HTTP.
    pub fn unreadable() -> Self {
        Self::new(ProblemCode::BadRequest, "The request cannot be read. Check its first line and its headers.")
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

    /// No such action item.
    pub fn action_not_found() -> Self {
        const DETAIL: &str = "There is no action item with this id. When a call is analyzed again, items that nobody has \
                              edited may go: list those of the call.";
        Self::new(ProblemCode::ActionNotFound, DETAIL)
    }

    /// More event streams than a key, or the server, may have.
    pub fn too_many_streams() -> Self {
        const DETAIL: &str = "Too many event streams are open. Close one that is not needed any more; one stream tells of \
                              all calls.";
        Self::new(ProblemCode::TooManyStreams, DETAIL).with_header("retry-after", RETRY_AFTER)
    }

    /// More exports than a key, or the server, may have at the same time.
    pub fn too_many_exports() -> Self {
        const DETAIL: &str = "Too many exports are under way. Send the same request again when one of yours has ended, or \
                              in a few seconds.";
        Self::new(ProblemCode::TooManyExports, DETAIL).with_header("retry-after", RETRY_AFTER)
    }

    /// The call has no transcript, or none yet.
    pub fn no_transcript(reason: String) -> Self {
        Self::new(ProblemCode::NoTranscript, reason)
    }

    /// The call has nothing to hear.
    pub fn no_recording(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemCode::NoRecording, reason)
    }

    /// The recording is shorter.
    pub fn no_such_range(size: u64) -> Self {
        Self::new(
            ProblemCode::NoSuchRange,
            format!("The recording has {size} bytes, and none in the range that is asked for."),
        )
        .with_header("content-range", format!("bytes */{size}"))
    }

    /// A link is over, or is none of ours: the same for every cause.
    pub fn link_over() -> Self {
        Self::new(ProblemCode::LinkOver, "The link has ended. Ask for a new one: it is good for five minutes.")
    }

    /// Nothing to start from.
    pub fn cannot_rerun(reason: &str) -> Self {
        Self::new(ProblemCode::CannotRerun, format!("The call does not run again: {reason}."))
    }

    /// The route answers to other methods.
    pub fn method_not_allowed(allowed: impl Into<Cow<'static, str>>) -> Self {
        let allowed = allowed.into();
        let detail = format!("This address answers to {allowed} only.");
        Self::new(ProblemCode::MethodNotAllowed, detail).with_header("allow", allowed)
    }

    /// The body is no JSON.
    pub fn invalid_json(error: &serde_json::Error) -> Self {
        // It names the place and never quotes the body.
        Self::new(ProblemCode::InvalidJson, format!("The body is no JSON: {error}.")).about("body", "JSON (RFC 8259)")
    }

    /// Fields of the body are not as they should be.
    pub fn invalid_fields(errors: Vec<FieldError>) -> Self {
        let told: Vec<String> =
            errors.iter().take(10).map(|error| format!("`{}`: expected {}", error.field, error.expected)).collect();
        let detail = format!("The body is wrong: {}.", told.join("; "));
        Self { errors, ..Self::new(ProblemCode::InvalidBody, detail) }
    }

    /// A body is not as it should be, in the words of poem-openapi.
    pub fn invalid_body(reason: &str) -> Self {
        Self::invalid_fields(vec![FieldError { field: "body".to_owned(), expected: framework::readable(reason) }])
    }

    /// No such key.
    pub fn key_not_found() -> Self {
        Self::new(ProblemCode::KeyNotFound, "There is no API key with this id.")
    }

    /// The key is not good any more, or was rotated before.
    pub fn key_not_rotatable() -> Self {
        const DETAIL: &str = "This API key is revoked, has expired, or was rotated before. Rotate the key that took its \
                              place, or create a new one.";
        Self::new(ProblemCode::KeyNotRotatable, DETAIL)
    }

    /// A header is not as it should be.
    pub fn bad_header(name: &'static str, expected: &'static str) -> Self {
        let detail = format!("The header `{name}` is wrong: expected {expected}.");
        Self::new(ProblemCode::BadHeader, detail).about(name, expected)
    }

    /// An edit must say which version it is of.
    pub fn precondition_required() -> Self {
        const DETAIL: &str = "Send the ETag of the version that you edit in the header `If-Match`, so that nobody's \
                              change is lost.";
        Self::new(ProblemCode::PreconditionRequired, DETAIL).about("If-Match", "the ETag of what is edited")
    }

    /// The header names no version, or not just one.
    pub fn no_version() -> Self {
        const DETAIL: &str = "`If-Match` must be one ETag as it came with what is edited, such as \"3\": no list, no `*` and \
                              no weak one, so that nobody's change is lost.";
        Self::new(ProblemCode::PreconditionFailed, DETAIL).about("If-Match", "the ETag of what is edited, as it came")
    }

    /// What is edited has changed since.
    pub fn precondition_failed() -> Self {
        const DETAIL: &str = "It has changed since the version that `If-Match` names. Get it again, look at what has \
                              changed, and send your edit with its new ETag.";
        Self::new(ProblemCode::PreconditionFailed, DETAIL).about("If-Match", "the ETag of what is edited, as it is now")
    }

    /// The same `Idempotency-Key` came with another request before.
    pub fn idempotency_key_reused() -> Self {
        const DETAIL: &str = "Another request was sent with this `Idempotency-Key` before. Send each new request with a \
                              new one, and only a repetition with the old one.";
        Self::new(ProblemCode::IdempotencyKeyReused, DETAIL).about("Idempotency-Key", "one that was not used before")
    }

    /// The first request with this `Idempotency-Key` is not answered yet.
    pub fn request_in_progress() -> Self {
        const DETAIL: &str = "The same request is being answered at this moment. Send it again in a second, with the same \
                              `Idempotency-Key`.";
        Self::new(ProblemCode::RequestInProgress, DETAIL).with_wait(Duration::from_secs(1))
    }

    /// The address is longer than any that is read.
    pub fn uri_too_long(limit: usize) -> Self {
        let detail = format!("The address has more than {limit} bytes. Ask for less at once, or in several requests.");
        Self::new(ProblemCode::UriTooLong, detail)
    }

    /// The headers, or the address with them, are larger than any that are read.
    pub fn headers_too_large(limit: usize) -> Self {
        let detail = format!("The request's address and headers have more than {limit} bytes. Send shorter ones.");
        Self::new(ProblemCode::HeadersTooLarge, detail)
    }

    /// The body did not arrive in time.
    pub fn body_timeout() -> Self {
        Self::new(ProblemCode::BodyTimeout, "The body did not arrive in time.").closing()
    }

    /// The body broke off.
    pub fn broken_body() -> Self {
        Self::new(ProblemCode::BrokenBody, "The body broke off before its end.")
    }

    /// The body is larger than any that is accepted here.
    pub fn too_large(limit: usize) -> Self {
        Self::new(ProblemCode::BodyTooLarge, format!("The body has more than {limit} bytes.")).closing()
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

    /// The database has stopped the question at its time limit.
    pub fn too_much_at_once() -> Self {
        const DETAIL: &str = "There is more to add up than the database can within its time limit. Ask for less at once: \
                              fewer days, or one after the other.";
        Self::new(ProblemCode::TooMuchAtOnce, DETAIL)
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
}
