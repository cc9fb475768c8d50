//! Cross-origin requests: pages of other sites may use the API if `API_CORS_ORIGINS` names them (the CORS protocol of
//! the Fetch standard). Keys are sent in a header by the page itself, never by the browser, so no credentials.

use std::sync::Arc;

use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PATCH");
const SENT: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Range, X-Request-Id",
);
const SHOWN: HeaderValue = HeaderValue::from_static(
    "Content-Disposition, Content-Range, ETag, Idempotent-Replayed, Location, RateLimit, RateLimit-Policy, Retry-After, \
     X-Request-Id",
);
/// Seconds for which a browser need not ask again.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
const ANY: &str = "*";

/// Around what other sites may use: answers the question of a browser whether they may. `origins` as browsers write them,
/// or `*`.
pub async fn preflight<E: Endpoint>(
    routes: Arc<E>,
    request: Request,
    origins: Arc<[String]>,
) -> poem::Result<Response> {
    let is_preflight = *request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        && allowed(&request, &origins).is_some();
    if !is_preflight {
        return routes.call(request).await.map(IntoResponse::into_response);
    }
    let mut response = Response::builder().status(StatusCode::NO_CONTENT).finish();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, SENT);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    Ok(response)
}

/// Around everything, the envelope too: lets other sites read what the routes for them answer, whatever it is.
pub async fn cors<E: Endpoint>(routes: Arc<E>, request: Request, origins: Arc<[String]>) -> poem::Result<Response> {
    let path = request.uri().path();
    let is_for_others = path.starts_with("/api/") || path.trim_end_matches('/') == "/openapi.json";
    let allowed = allowed(&request, &origins);
    let mut response = routes.call(request).await?.into_response();
    if is_for_others && !origins.is_empty() {
        tell(response.headers_mut(), allowed);
    }
    Ok(response)
}

fn tell(headers: &mut HeaderMap, allowed: Option<HeaderValue>) {
    // What is stored for one origin must not be shown to another.
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, SHOWN);
    }
}

/// The site that asks, if it may.
fn allowed(request: &Request, origins: &[String]) -> Option<HeaderValue> {
    request.headers().get(header::ORIGIN).filter(|origin| is_allowed(origin, origins)).cloned()
}

fn is_allowed(origin: &HeaderValue, origins: &[String]) -> bool {
    origins.iter().any(|known| known == ANY || known.as_bytes() == origin.as_bytes())
}

#[cfg(test)]
mod tests {
    use poem::EndpointExt as _;
    use poem::endpoint::make_sync;
    use poem::http::Uri;
    use rstest::rstest;

    use super::*;

    async fn ask(method: Method, origin: Option<&str>, origins: &[&str]) -> Response {
        let routes = Arc::new(make_sync(|_| "fine"));
        let mut request = Request::builder()
            .method(method)
            .uri(Uri::from_static("/api/calls"))
            .header("access-control-request-method", "PATCH");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let origins: Arc<[String]> = origins.iter().map(|origin| (*origin).to_owned()).collect();
        let within = origins.clone();
        let routes = routes.around(move |routes, request| preflight(routes, request, within.clone()));
        cors(Arc::new(routes), request.finish(), origins).await.unwrap()
    }

    #[rstest]
    #[case(Some("https://app.example.com"), &["https://app.example.com"], true)]
    #[case(Some("https://app.example.com"), &["*"], true)]
    #[case(Some("https://app.example.com.evil.example"), &["https://app.example.com"], false)]
    #[case(Some("null"), &["https://app.example.com"], false)]
    #[case(Some("https://app.example.com"), &[], false)]
    #[case(None, &["*"], false)]
    #[tokio::test]
    async fn only_named_origins_may_read(
        #[case] origin: Option<&str>,
        #[case] origins: &[&str],
        #[case] allowed: bool,
    ) {
        let answer = ask(Method::GET, origin, origins).await;
        assert_eq!(answer.header("access-control-allow-origin"), origin.filter(|_| allowed));
        assert_eq!(answer.header("vary").is_some(), !origins.is_empty());
        assert_eq!(answer.status(), StatusCode::OK);
        let preflight = ask(Method::OPTIONS, origin, origins).await;
        assert_eq!(preflight.status() == StatusCode::NO_CONTENT, allowed);
        assert_eq!(preflight.header("access-control-allow-methods").is_some(), allowed);
        assert_eq!(preflight.header("access-control-allow-credentials"), None);
    }
}
