//! The doors: the route table.
//!
//! | route | who answers |
//! |---|---|
//! | `POST /webhooks/goto/call-ended` | [`webhook`]: signed bodies come in |
//! | `GET /webhooks/health`, `/health`, `/health/live`, `/health/ready` | [`health`] |
//! | `/api/calls/...` | [`calls`], behind API keys ([`auth`]), as all that follows |
//! | `GET /recordings/ID` | [`calls`]: what a signed link leads to |
//! | `/api/keys/...` | [`keys`] |
//! | `/api/actions/...`, `/api/actions.csv` | [`actions`] |
//! | `GET /api/kpi/...` | [`kpi`] |
//! | `GET /api/events` | [`events`] |
//! | `GET /openapi.json`, `/docs`, `/redoc` | [`docs`]: the document ([`openapi`]) and pages that show it |
//!
//! Doors are thin: a handler parses, authorises, calls once and answers. What all of the API does alike is
//! [`conventions`](mod@conventions). Whatever goes wrong becomes a [`problem`] in the [`envelope`], which is around every
//! request. [`server`] lets clients in, [`throttle`] those with keys, and [`turns`] says how many answers are made at a time.

pub mod actions;
pub mod auth;
pub mod body;
pub mod calls;
mod compression;
pub mod conventions;
mod cors;
pub mod csv;
pub mod cursor;
mod docs;
pub mod envelope;
mod etag;
pub mod events;
mod export;
pub mod health;
pub mod idempotency;
pub mod json_body;
pub mod keys;
pub mod kpi;
pub mod openapi;
pub mod precondition;
pub mod problem;
pub mod query;
pub mod schema;
mod seats;
pub mod server;
pub mod signature;
pub mod tally;
pub mod throttle;
mod turns;
pub mod webhook;
mod words;
mod written;

use std::sync::Arc;

use poem::endpoint::{make, make_sync};
use poem::error::MethodNotAllowedError;
use poem::http::Uri;
use poem::http::uri::PathAndQuery;
use poem::{Endpoint, EndpointExt, Request, Response, Route, RouteMethod, get, post};
use secrecy::SecretString;
use sqlx::PgPool;

use crate::model::Days;
use crate::pipeline::intake::Intake;
use conventions::conventions;
use cors::{cors, preflight};
use openapi::{Api, Paths};
use problem::Problem;
pub use server::{Limits, serve};
use throttle::Throttle;
use turns::Turns;

/// What stands behind the doors.
#[derive(Clone)]
pub struct Doors {
    /// Database.
    pub db: PgPool,
    /// Where webhooks go.
    pub intake: Intake,
    /// Secrets of the signed webhook; none = it is off.
    pub secrets: Vec<SecretString>,
    /// What `/health` tells of the parts that it does not look at by itself.
    pub parts: health::Parts,
    /// What a client may use up.
    pub limits: Limits,
    /// What the operations on calls need.
    pub calls: calls::Means,
    /// The days of the numbers.
    pub days: Days,
}

/// THE route table.
pub fn routes(doors: Doors) -> impl Endpoint + 'static {
    let Doors { db, intake, secrets, parts, limits, calls, days } = doors;
    let call_ended = webhook::CallEnded { intake, secrets, body_limit: limits.body };
    let (throttle, turns) = (Arc::new(Throttle::new(&limits.visitors)), Turns::new());
    let (paths, origins) = (Arc::new(Paths::of::<Api>()), Arc::<[String]>::from(limits.visitors.cors_origins.clone()));
    let (for_document, for_all) = (origins.clone(), origins.clone());
    let recording = calls::LinkedRecording { db: db.clone(), means: calls.clone() };
    let api = openapi::service()
        .data(calls)
        .data(db.clone())
        .data(throttle)
        .data(days)
        .around(move |api, request| conventions(api, request, paths.clone(), turns.clone(), limits.body))
        .around(move |api, request| preflight(api, request, origins.clone()));
    Route::new()
        .at("/webhooks/goto/call-ended", allow("POST", post(call_ended)))
        .at("/webhooks/health", allow("GET, HEAD", get(make_sync(|_| health::fine()))))
        .at("/health", allow("GET, HEAD", get(health::Health { db: db.clone(), parts })))
        .at("/health/live", allow("GET, HEAD", get(make_sync(|_| health::fine()))))
        .at("/health/ready", allow("GET, HEAD", get(health::Ready(db))))
        .at(
            "/openapi.json",
            allow("GET, HEAD", get(make(docs::document)))
                .around(move |page, request| preflight(page, request, for_document.clone())),
        )
        .at("/docs", allow("GET, HEAD", get(make(docs::swagger_ui))))
        .at("/redoc", allow("GET, HEAD", get(make(docs::redoc))))
        .at("/recordings/:id", allow("GET, HEAD", get(recording)))
        .nest_no_strip("/api", api)
        .before(without_slash)
        .before(of_bearable_length)
        .around(envelope::envelope)
        .around(move |routes, request| cors(routes, request, for_all.clone()))
}

/// Names the methods that a route answers to, as an answer 405 must (RFC 9110, section 15.5.6).
fn allow(methods: &'static str, route: RouteMethod) -> impl Endpoint<Output = Response> {
    route.after(move |answer: poem::Result<Response>| async move {
        let named = |_| Problem::method_not_allowed(methods).into();
        answer.map_err(|error| error.downcast::<MethodNotAllowedError>().map_or_else(|other| other, named))
    })
}

/// Most bytes of an address: browsers and proxies bear no longer ones (RFC 9110, section 4.1).
const LONGEST_URI: usize = 8_000;

async fn of_bearable_length(request: Request) -> poem::Result<Request> {
    let uri = request.uri();
    let length = uri.path().len() + uri.query().map_or(0, str::len);
    if length > LONGEST_URI { Err(Problem::uri_too_long(LONGEST_URI).into()) } else { Ok(request) }
}

/// Paths answer with and without a slash at their end: the routes above have none.
async fn without_slash(mut request: Request) -> poem::Result<Request> {
    if let Some(uri) = trimmed(request.uri()) {
        *request.uri_mut() = uri;
    }
    Ok(request)
}

/// The same address without slashes at the end of its path; `None` if there are none.
fn trimmed(uri: &Uri) -> Option<Uri> {
    let path = uri.path().trim_end_matches('/');
    let path = if path.is_empty() { "/" } else { path };
    if path == uri.path() || uri.path().is_empty() {
        return None;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{path}{query}")).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/health/", "/health")]
    #[case("/health//?a=b", "/health?a=b")]
    #[case("/health", "/health")]
    #[case("/api/calls/1/", "/api/calls/1")]
    #[case("/", "/")]
    #[case("//", "/")]
    #[case("*", "*")]
    #[case("http://host/health/", "http://host/health")]
    fn slashes_at_the_end_do_not_matter(#[case] given: &str, #[case] expected: &str) {
        let uri: Uri = given.parse().unwrap();
        let seen = trimmed(&uri).unwrap_or(uri);
        assert_eq!(seen.to_string(), expected);
    }
}
