//! The envelope around every request: its id, its log line, its time limit, and one shape for whatever goes wrong.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use hyper::body::Body as _;
use poem::http::{HeaderName, HeaderValue, Method, header};
use poem::{Endpoint, IntoResponse, Request, Response};
use tokio::time::{Instant, timeout};
use tracing::Instrument;
use uuid::Uuid;

use super::problem::{self, Problem};
use super::words;
use crate::model::ApiKey;

/// Longest time for an answer, its request's body included.
const HANDLER_LIMIT: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID: usize = 64;

/// Names a request in the log and in problems.
#[derive(Debug, Clone)]
pub struct RequestId(String);

impl RequestId {
    /// The sender's own `X-Request-Id` if it is short and plain, else a fresh one.
    fn of(request: &Request) -> Self {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let given = request.header(REQUEST_ID).filter(|id| (1..=MAX_REQUEST_ID).contains(&id.len()));
        // A key that somebody has put into the wrong header is not written into the log.
        match given.filter(|id| id.bytes().all(plain) && ApiKey::parse(id).is_none()) {
            Some(id) => Self(id.to_owned()),
            None => Self::fresh(),
        }
    }

    /// One that nobody has used.
    pub fn fresh() -> Self {
        Self(Uuid::now_v7().to_string())
    }

    #[cfg(test)]
    pub(super) fn fixed(id: &str) -> Self {
        Self(id.to_owned())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Answers a request in any case: errors, panics and what takes too long become problems.
pub async fn envelope<E: Endpoint>(routes: Arc<E>, mut request: Request) -> poem::Result<Response> {
    let request_id = RequestId::of(&request);
    // For whoever writes it down (`super::auth::Key::actor`).
    request.set_data(request_id.clone());
    let is_head = *request.method() == Method::HEAD;
    let path = words::told(request.uri().path());
    let span = tracing::info_span!("request", %request_id, method = words::method(request.method()), path);
    if is_head {
        request.set_method(Method::GET);
    }
    let response = answer(routes, request, request_id, HANDLER_LIMIT).instrument(span).await;
    Ok(if is_head { without_body(response) } else { response })
}

/// What HEAD gets: the headers of a GET (RFC 9110, section 9.3.2).
fn without_body(mut response: Response) -> Response {
    let body = hyper::Response::from(Response::builder().body(response.take_body())).into_body();
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    response
}

async fn answer<E: Endpoint>(routes: Arc<E>, request: Request, request_id: RequestId, limit: Duration) -> Response {
    let started = Instant::now();
    // What is asked every few seconds tells nothing.
    let is_probe = ["/health", "/outbox/revision"].iter().any(|often| request.uri().path().contains(often));
    let outcome = AssertUnwindSafe(timeout(limit, routes.call(request))).catch_unwind().await;
    let answered = match outcome {
        Ok(Ok(Ok(output))) => Ok(output.into_response()),
        Ok(Ok(Err(error))) => Err(Problem::from(error)),
        Ok(Err(_)) => Err(Problem::timeout()),
        // The panic hook has written what it was.
        Err(_) => Err(Problem::internal()),
    };
    let mut response = answered.unwrap_or_else(|problem| problem.into_response(&request_id));
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&request_id.0) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let is_quiet = is_probe || problem::is_common(response.status());
    let (status, elapsed_ms) = (response.status().as_u16(), started.elapsed().as_millis());
    if is_quiet {
        tracing::debug!(status, elapsed_ms, "Answered.");
    } else {
        tracing::info!(status, elapsed_ms, "Answered.");
    }
    response
}

#[cfg(test)]
mod tests {
    use poem::Route;
    use poem::endpoint::make;
    use poem::http::StatusCode;
    use rstest::rstest;
    use serde_json::Value;

    use super::*;

    async fn ask(path: &str, request_id: Option<&str>) -> (Response, Value) {
        let routes = Route::new()
            .at("/fine", make(|_| async { Ok::<_, Problem>("fine") }))
            .at("/panics", make(|_| async { panic!("secret cause") as Result<(), Problem> }))
            .at("/hangs", make(|_| std::future::pending::<Result<(), Problem>>()));
        let mut request = Request::builder().uri(path.parse().unwrap());
        if let Some(id) = request_id {
            request = request.header(REQUEST_ID, id);
        }
        let request = request.finish();
        let id = RequestId::of(&request);
        let limit = if path == "/hangs" { Duration::ZERO } else { HANDLER_LIMIT };
        let mut response = answer(Arc::new(routes), request, id, limit).await;
        let body = response.take_body().into_vec().await.unwrap();
        (response, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[rstest]
    #[case("/nowhere", StatusCode::NOT_FOUND, "not_found")]
    #[case("/panics", StatusCode::INTERNAL_SERVER_ERROR, "internal")]
    #[case("/hangs", StatusCode::SERVICE_UNAVAILABLE, "timeout")]
    #[tokio::test]
    async fn whatever_goes_wrong_is_a_problem(#[case] path: &str, #[case] status: StatusCode, #[case] code: &str) {
        let (response, body) = ask(path, Some("client-1")).await;
        assert_eq!((response.status(), response.content_type()), (status, Some("application/problem+json")));
        assert_eq!((body["code"].as_str(), body["request_id"].as_str()), (Some(code), Some("client-1")));
        assert!(!body.to_string().contains("secret cause"));
    }

    #[rstest]
    #[case(Some("abc-DEF_1.2"), true)]
    #[case(Some("a b"), false)]
    #[case(Some("x\"y"), false)]
    #[case(Some(""), false)]
    #[case(None, false)]
    #[tokio::test]
    async fn sane_request_ids_are_kept(#[case] given: Option<&str>, #[case] kept: bool) {
        let (response, _) = ask("/fine", given).await;
        let id = response.header(REQUEST_ID).expect("every answer has one");
        assert_eq!(Some(id) == given, kept, "{id}");
        assert_eq!(ask("/fine", Some(&"x".repeat(65))).await.0.header(REQUEST_ID).unwrap().len(), 36);
    }
}
