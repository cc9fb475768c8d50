//! `Idempotency-Key`: a POST that comes again, because its answer was lost on the way, does not act again
//! (draft-ietf-httpapi-idempotency-key-header-07).
//!
//! The answer is written in the transaction of what it tells of: there is no moment in which one exists without the
//! other. The same key with the same request gets the same answer for 24 hours; with another request 422; while the first
//! is still under way 409. Keys belong to an API key, so that clients cannot collide. A request that failed has
//! written nothing, and is simply tried again.

use hmac::{Hmac, KeyInit as _, Mac as _};
use poem::http::{HeaderName, HeaderValue, StatusCode, header};
use poem::{Request, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::types::ToJSON;
use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::auth::Key;
use super::body::BodyHash;
use super::problem::Problem;
use crate::store::GuardedTransaction;
use crate::store::idempotent_answers::{self, Answer};

/// The request's header.
pub const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// `true` on an answer that was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const LONGEST: usize = 255;

/// A request that acts once, and the transaction in which it does.
///
/// ```ignore
/// let mut once = Once::begin(&db, &key, request).await?;
/// let item = store::actions::complete(once.transaction(), id).await?;
/// let answer = Json(Item::new(item));
/// once.finish(StatusCode::OK, &answer.0).await?;
/// Ok(answer)
/// ```
pub struct Once {
    transaction: GuardedTransaction,
    /// Where the answer is kept; `None` = the client has sent no `Idempotency-Key`.
    place: Option<Place>,
    nonce: [u8; 32],
}

struct Place {
    api_key: Uuid,
    idempotency_key: String,
    request_hash: [u8; 32],
}

impl Once {
    /// Begins the transaction of a POST. Ends the handler, as [`Interruption`], where there is nothing to do any more:
    /// with the answer that the same request got before, or with a problem. Ask for scopes first.
    pub async fn begin(db: &PgPool, key: &Key, request: &Request) -> Result<Self, Interruption> {
        let place = idempotency_key(request)?.map(|idempotency_key| Place {
            api_key: key.id(),
            request_hash: hash_of(request),
            idempotency_key,
        });
        let mut once = Self { transaction: GuardedTransaction::begin(db).await?, place, nonce: rand::random() };
        if let Some(place) = &once.place {
            let db = &mut *once.transaction;
            if !idempotent_answers::lock(db, place.api_key, &place.idempotency_key).await? {
                return Err(Problem::request_in_progress().into());
            }
            if let Some(earlier) = idempotent_answers::find(db, place.api_key, &place.idempotency_key).await? {
                let is_same = earlier.request_hash == place.request_hash;
                return Err(if is_same {
                    Interruption::Again(earlier, None)
                } else {
                    Problem::idempotency_key_reused().into()
                });
            }
        }
        Ok(once)
    }

    /// For everything that the handler writes.
    pub fn transaction(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Commits what was written together with the answer. Until then nothing has happened.
    pub async fn finish(mut self, status: StatusCode, body: &impl ToJSON) -> Result<(), Problem> {
        if let Some(place) = &self.place {
            let (status, body) = (status.as_u16() as i16, body.to_json_string());
            let answer = Answer { request_hash: place.request_hash.to_vec(), nonce: self.nonce.to_vec(), status, body };
            idempotent_answers::keep(&mut self.transaction, place.api_key, &place.idempotency_key, &answer).await?;
        }
        Ok(self.transaction.commit().await?)
    }

    /// Commits what was written, as a rule a line of the audit log, but keeps no answer: the act was refused.
    pub async fn refuse(self, problem: Problem) -> Problem {
        self.transaction.commit().await.err().map_or(problem, Problem::from)
    }

    /// Bits that nobody can guess. The same request that comes again gets the same ([`secret`]).
    pub fn secret(&self, key: &Key) -> [u8; 64] {
        secret(key, &self.nonce)
    }
}

/// Secrets are part of the first answer and of each repetition, but are kept nowhere: they come from the caller's own key,
/// of which we have a hash only, and from a number of which the caller knows nothing.
pub fn secret(key: &Key, nonce: &[u8]) -> [u8; 64] {
    let mac = Hmac::<Sha512>::new_from_slice(key.presented().expose().as_bytes());
    // A key of any length will do (RFC 2104).
    mac.map_or([0; 64], |mac| mac.chain_update(nonce).finalize().into_bytes().into())
}

/// Why a handler that acts ends early.
#[derive(Debug)]
pub enum Interruption {
    /// It must not, or cannot.
    Problem(Problem),
    /// It has acted before: this was the answer, with its `ETag` where it had one.
    Again(Answer, Option<String>),
}

impl Interruption {
    /// The earlier answer, with something in it that is not kept.
    #[must_use]
    pub fn with(self, field: &str, value: impl FnOnce(&Answer) -> String) -> Self {
        match self {
            Self::Again(mut answer, tag) => {
                let value = value(&answer);
                if let Ok(Value::Object(mut body)) = serde_json::from_str(&answer.body) {
                    body.insert(field.to_owned(), value.into());
                    answer.body = Value::Object(body).to_string();
                }
                Self::Again(answer, tag)
            }
            problem @ Self::Problem(_) => problem,
        }
    }

    /// The earlier answer, with its `ETag`, which follows from its body.
    #[must_use]
    pub fn tagged(self, tag: impl FnOnce(&Value) -> Option<String>) -> Self {
        match self {
            Self::Again(answer, None) => {
                let tag = serde_json::from_str(&answer.body).ok().and_then(|body| tag(&body));
                Self::Again(answer, tag)
            }
            other => other,
        }
    }
}

impl From<Problem> for Interruption {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<sqlx::Error> for Interruption {
    fn from(error: sqlx::Error) -> Self {
        Self::Problem(error.into())
    }
}

impl From<Interruption> for poem::Error {
    fn from(interruption: Interruption) -> Self {
        match interruption {
            Interruption::Problem(problem) => problem.into(),
            Interruption::Again(Answer { status, body, .. }, tag) => {
                // Only answers of success are kept.
                let is_it = |kept: &StatusCode| kept.as_u16() as i16 == status;
                let status =
                    [StatusCode::CREATED, StatusCode::ACCEPTED].into_iter().find(is_it).unwrap_or(StatusCode::OK);
                let response = Response::builder().status(status).content_type("application/json; charset=utf-8");
                let mut response = response.header(REPLAYED, HeaderValue::from_static("true")).body(body);
                if let Some(Ok(tag)) = tag.map(|tag| HeaderValue::from_str(&tag)) {
                    response.headers_mut().insert(header::ETAG, tag);
                }
                Self::from_response(response)
            }
        }
    }
}

/// In the document it is a problem; the earlier answer looks as the first did.
impl ApiResponse for Interruption {
    fn meta() -> MetaResponses {
        Problem::meta()
    }

    fn register(registry: &mut Registry) {
        Problem::register(registry);
    }
}

/// What the client has sent, also for what does nothing: who tries an order out hears of a bad header then. The draft wants
/// it in quotes, and few clients send them.
pub fn idempotency_key(request: &Request) -> Result<Option<String>, Problem> {
    let mut values = request.headers().get_all(HEADER).into_iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().map(str::trim).filter(|_| values.next().is_none());
    let text = text.map(|text| bare(text).unwrap_or(text));
    let fits = |text: &&str| (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    match text.filter(fits) {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(Problem::bad_header("Idempotency-Key", "one text of 1 to 255 visible ASCII characters, as a UUID")),
    }
}

fn bare(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.strip_suffix('"').filter(|text| !text.is_empty())
}

/// Method, path, query and body.
fn hash_of(request: &Request) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [request.method().as_str(), request.uri().path(), request.uri().query().unwrap_or_default()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(request.data::<BodyHash>().map(|BodyHash(hash)| *hash).unwrap_or_default());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use poem::http::Method;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[], Ok(None))]
    #[case(&["8e03978e-40d5-43dd-bc93-6894a57f9324"], Ok(Some("8e03978e-40d5-43dd-bc93-6894a57f9324")))]
    #[case(&["\"clé\""], Err(()))]
    #[case(&["\"quoted\""], Ok(Some("quoted")))]
    #[case(&["\"\""], Ok(Some("\"\"")))]
    #[case(&[""], Err(()))]
    #[case(&["two words"], Err(()))]
    #[case(&["one", "two"], Err(()))]
    fn keys_are_visible_text(#[case] headers: &[&str], #[case] expected: Result<Option<&str>, ()>) {
        let mut request = Request::builder();
        for value in headers {
            request = request.header(HEADER, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let seen = idempotency_key(&request.finish()).map_err(|_| ());
        assert_eq!(seen, expected.map(|key| key.map(str::to_owned)));
    }

    #[test]
    fn every_part_of_a_request_counts() {
        let request = |method: Method, uri: &str, body: u8| {
            let mut request = Request::builder().method(method).uri(uri.parse().unwrap()).finish();
            request.set_data(BodyHash([body; 32]));
            hash_of(&request)
        };
        let mut hashes = vec![
            request(Method::POST, "/api/a?b", 1),
            request(Method::PUT, "/api/a?b", 1),
            request(Method::POST, "/api/a", 1),
            request(Method::POST, "/api/ab", 1),
            request(Method::POST, "/api/a?b", 2),
        ];
        assert_eq!(request(Method::POST, "/api/a?b", 1), hashes[0]);
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 5);
    }
}
