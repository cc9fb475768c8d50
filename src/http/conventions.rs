//! What every operation of the API does alike: problems, tags, limits, compression. Handlers know nothing of it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use poem::error::MethodNotAllowedError;
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use poem::{Endpoint, IntoResponse, Request, Response};

use super::envelope::RequestId;
use super::etag::IfNoneMatch;
use super::openapi::Paths;
use super::problem::Problem;
use super::throttle::Quota;
use super::turns::Turns;
use super::{body, compression, etag};

/// What the key may still do (draft-ietf-httpapi-ratelimit-headers-10).
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// What it may do at all.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Where the check of the key leaves what the answer's headers will say of its limits.
#[derive(Debug, Clone, Default)]
pub struct QuotaSlot(Arc<OnceLock<Quota>>);

impl QuotaSlot {
    /// Each request has one key, so this is done once.
    pub fn fill(&self, quota: Quota) {
        self.0.get_or_init(|| quota);
    }

    fn tell(&self, headers: &mut HeaderMap) {
        let Some(quota) = self.0.get() else { return };
        let (window, reset) = (quota.window.as_secs(), quota.reset.as_millis().div_ceil(1000));
        let told = [
            (RATE_LIMIT_POLICY, format!("\"key\";q={};w={window}", quota.limit)),
            (RATE_LIMIT, format!("\"key\";r={};t={reset}", quota.remaining)),
        ];
        for (name, value) in told {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}

/// Around the whole API.
pub async fn conventions<E: Endpoint>(
    api: Arc<E>,
    mut request: Request,
    paths: Arc<Paths>,
    turns: Turns,
    body_limit: Duration,
) -> poem::Result<Response> {
    let request_id = request.data::<RequestId>().cloned().ok_or_else(Problem::internal)?;
    let (quota, is_get) = (QuotaSlot::default(), *request.method() == Method::GET);
    let (if_none_match, gzip) = (IfNoneMatch::of(request.headers()), compression::is_accepted(request.headers()));
    let path = request.uri().path().to_owned();
    request.set_data(quota.clone());
    let answered = match body::bounded(request, body_limit).await {
        Ok(request) => {
            // Whoever changes something holds locks, for which others wait.
            let _turn = if is_get { turns.take().await } else { None };
            api.call(request).await.map(IntoResponse::into_response)
        }
        Err(error) => Err(error),
    };
    let mut response = answered.unwrap_or_else(|error| of_error(error, &request_id, &paths, &path));
    let is_versioned = response.headers().contains_key(header::ETAG);
    if is_get {
        response = etag::tagged(response, &if_none_match).await?;
    }
    quota.tell(response.headers_mut());
    // Others are short, and some have a secret in them, which a length that depends on it could give away (BREACH).
    Ok(if is_get { compression::compressed(response, gzip, is_versioned) } else { response })
}

fn of_error(error: poem::Error, request_id: &RequestId, paths: &Paths, path: &str) -> Response {
    // An answer that was given before (`super::idempotency`).
    if error.is_from_response() {
        return error.into_response();
    }
    let problem = match paths.methods(path).filter(|_| error.is::<MethodNotAllowedError>()) {
        Some(methods) => Problem::method_not_allowed(methods),
        None => Problem::from(error),
    };
    problem.into_response(request_id)
}
