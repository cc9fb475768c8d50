//! The doors: the route table.
//!
//! | route | who answers |
//! |---|---|
//! | `POST /webhooks/goto/call-ended` | [`webhook`]: signed bodies come in |
//! | `GET /webhooks/health`, `/health`, `/health/live`, `/health/ready` | [`health`] |
//! | `GET /api/calls/...` | [`calls`], behind API keys ([`auth`]) |
//! | `GET /openapi.json` | [`openapi`] |
//!
//! Doors are thin: a handler parses, authorises, calls once and answers. Whatever goes wrong becomes a [`problem`] in the
//! [`envelope`], which is around every request. [`server`] lets clients in, [`throttle`] those with keys.

pub mod auth;
pub mod body;
pub mod calls;
pub mod cursor;
pub mod envelope;
pub mod health;
pub mod openapi;
pub mod problem;
pub mod query;
pub mod schema;
pub mod server;
pub mod signature;
pub mod tally;
pub mod throttle;
pub mod webhook;

use std::sync::Arc;

use poem::endpoint::make_sync;
use poem::error::MethodNotAllowedError;
use poem::http::Uri;
use poem::http::uri::PathAndQuery;
use poem::{Endpoint, EndpointExt, Request, Response, Route, RouteMethod, get, post};
use secrecy::SecretString;
use sqlx::PgPool;

use crate::pipeline::intake::Intake;
use problem::Problem;
pub use server::{Limits, serve};
use throttle::Throttle;

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
}

/// THE route table.
pub fn routes(doors: Doors) -> impl Endpoint + 'static {
    let Doors { db, intake, secrets, parts, limits } = doors;
    let call_ended = webhook::CallEnded { intake, secrets, body_limit: limits.body };
    let throttle = Arc::new(Throttle::new(&limits.visitors));
    let api =
        openapi::service().data(db.clone()).data(throttle).before(move |request| body::bounded(request, limits.body));
    let document = openapi::document();
    Route::new()
        .at("/webhooks/goto/call-ended", allow("POST", post(call_ended)))
        .at("/webhooks/health", allow("GET, HEAD", get(make_sync(|_| health::fine()))))
        .at("/health", allow("GET, HEAD", get(health::Health { db: db.clone(), parts })))
        .at("/health/live", allow("GET, HEAD", get(make_sync(|_| health::fine()))))
        .at("/health/ready", allow("GET, HEAD", get(health::Ready(db))))
        .at("/openapi.json", allow("GET, HEAD", get(make_sync(move |_| json(&document)))))
        .nest_no_strip("/api", api)
        .before(without_slash)
        .around(envelope::envelope)
}

fn json(text: &str) -> Response {
    Response::builder().content_type("application/json").body(text.to_owned())
}

/// Names the methods that a route answers to, as an answer 405 must (RFC 9110, section 15.5.6).
fn allow(methods: &'static str, route: RouteMethod) -> impl Endpoint<Output = Response> {
    route.after(move |answer: poem::Result<Response>| async move {
        let named = |_| Problem::method_not_allowed(methods).into();
        answer.map_err(|error| error.downcast::<MethodNotAllowedError>().map_or_else(|other| other, named))
    })
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
