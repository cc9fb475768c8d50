//! What was said, to hear: whole or in parts (RFC 9110, section 14), with a key or with a link that is its own right for a
//! short time, for players that cannot send a key. Each access is written down.

use std::io::{Seek as _, SeekFrom};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use poem::http::{HeaderMap, StatusCode, header};
use poem::{Body, IntoResponse, Request, Response};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::{ApiResponse, Object};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use sqlx::PgPool;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::super::auth;
use super::super::etag::{IfNoneMatch, REVALIDATE};
use super::super::problem::Problem;
use super::super::schema::Timestamp;
use super::super::server::Line;
use super::Means;
use crate::model::{Actor, CallId, clock, hex};
use crate::store::calls::CallRow;
use crate::store::recordings::RecordingRow;
use crate::store::{self, audit};

/// How long a link is good.
const LINK_LIFE: TimeDelta = TimeDelta::minutes(5);
/// What is read of a file at a time.
const PIECE: usize = 64 << 10;

/// A recording, or a part of it.
pub struct Audio(Response);

/// An address that plays a recording without a key.
#[derive(Debug, Object)]
pub struct RecordingLink {
    /// Where the recording is; whoever has it may hear it. Below the server's own address.
    pub path: String,
    /// Until when.
    pub expires_at: Timestamp,
}

/// Signs links and knows its own again.
#[derive(Clone)]
pub struct Links(Arc<SecretString>);

impl Links {
    /// With `SECRET_KEY`.
    pub fn new(secret: SecretString) -> Self {
        Self(Arc::new(secret))
    }

    /// A link to the recording of a call. `key` is the visible part of the API key that it is made for.
    pub fn make(&self, call: Uuid, key: &str) -> RecordingLink {
        let expires_at = clock::now() + LINK_LIFE;
        let (expires, by) = (expires_at.timestamp(), key);
        let signature = hex(&self.sign(call, expires, by).finalize().into_bytes());
        let path = format!("/recordings/{call}?expires={expires}&by={by}&signature={signature}");
        let expires_at = DateTime::from_timestamp(expires, 0).unwrap_or(expires_at);
        RecordingLink { path, expires_at: Timestamp(expires_at) }
    }

    /// The visible part of the API key for which this link was made; `None` if it was not made here, or is over.
    fn read(&self, call: Uuid, query: &str, now: DateTime<Utc>) -> Option<String> {
        let value = |name: &str| {
            let mut found = url::form_urlencoded::parse(query.as_bytes()).filter(|(given, _)| given == name);
            found.next().map(|(_, value)| value.into_owned()).filter(|_| found.next().is_none())
        };
        let (expires, by, signature) = (value("expires")?.parse::<i64>().ok()?, value("by")?, value("signature")?);
        // In constant time.
        self.sign(call, expires, &by).verify_slice(&bytes_of(&signature)?).ok()?;
        (now.timestamp() < expires).then_some(by)
    }

    fn sign(&self, call: Uuid, expires: i64, by: &str) -> Hmac<Sha256> {
        let mac =
            Hmac::<Sha256>::new_from_slice(self.0.expose_secret().as_bytes()).expect("a key of any length will do");
        mac.chain_update(format!("recording\n{call}\n{expires}\n{by}"))
    }
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some((digit(*high)? << 4) | digit(*low)?)).collect();
    if rest.is_empty() { bytes } else { None }
}

/// The recording of a call that the client may hear.
pub async fn play(
    db: &PgPool,
    means: &Means,
    request: &Request,
    call: &CallRow,
    actor: &Actor,
) -> Result<Audio, Problem> {
    let recording = of_call(db, call).await?;
    let size = recording.bytes as u64;
    let tag = etag(&recording);
    // Who has it already gets nothing again, whatever part is asked for (RFC 9110, section 13.2.2).
    let is_known = IfNoneMatch::of(request.headers()).names(&tag);
    let part = if is_known { None } else { part(request.headers(), &tag, size)? };
    let (start, length) = part.unwrap_or((0, size));
    let mut file = means.recordings.open(&recording.path).await.map_err(|error| {
        tracing::warn!(%error, "A recording could not be opened.");
        Problem::no_recording("The recording is no longer in the store. An operator can fetch it again with a re-run.")
    })?;
    file.seek(SeekFrom::Start(start)).map_err(|error| {
        tracing::error!(%error, "A recording could not be read.");
        Problem::internal()
    })?;
    audit::note(db, actor, "recordings.view", &format!("call {}", call.id), 1).await?;
    if is_known {
        let unchanged = Response::builder().status(StatusCode::NOT_MODIFIED).header(header::ETAG, tag);
        return Ok(Audio(unchanged.header(header::CACHE_CONTROL, REVALIDATE).finish()));
    }
    let pieces = ReaderStream::with_capacity(tokio::fs::File::from_std(file).take(length), PIECE);
    let body = Body::from_bytes_stream(Line::of(request).carry(pieces));
    Ok(Audio(answer(call, &recording, part).body(body)))
}

/// A link to the recording of a call, if it has one.
pub async fn link(db: &PgPool, means: &Means, call: &CallRow, key: &str) -> Result<RecordingLink, Problem> {
    of_call(db, call).await?;
    Ok(means.links.make(call.id, key))
}

async fn of_call(db: &PgPool, call: &CallRow) -> Result<RecordingRow, Problem> {
    let recording = store::recordings::of_call(db, CallId(call.id)).await?.filter(|_| call.recording == "available");
    recording.ok_or_else(|| Problem::no_recording(why_no_recording(call)))
}

/// The same, for whoever has a link.
pub async fn play_link(db: &PgPool, means: &Means, request: &Request, id: Uuid) -> Result<Audio, Problem> {
    let query = request.uri().query().unwrap_or_default();
    let by = means.links.read(id, query, clock::now()).ok_or_else(Problem::link_over)?;
    // A link can do no more than its key, and ends with it.
    let key = auth::in_name_of(db, &by).await?.ok_or_else(Problem::link_over)?;
    let call = store::bounded(db, async |db| store::calls::get_within(db, CallId(id), &key.bounds).await).await?;
    let call = call.ok_or_else(Problem::link_over)?;
    let actor = Actor { name: format!("link of {by}"), ..auth::nobody(request) };
    play(db, means, request, &call, &actor).await
}

fn answer(call: &CallRow, recording: &RecordingRow, part: Option<(u64, u64)>) -> poem::ResponseBuilder {
    let size = recording.bytes as u64;
    let length = part.map_or(size, |(_, length)| length);
    let extension = recording.path.rsplit('.').next().unwrap_or_default();
    let builder = Response::builder()
        .content_type(&recording.media_type)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_LENGTH, length)
        .header(header::ETAG, etag(recording))
        .header(header::CONTENT_DISPOSITION, format!("inline; filename=\"call-{}.{extension}\"", call.id));
    match part {
        None => builder,
        Some((start, length)) => builder
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", start + length - 1)),
    }
}

/// The content's hash: it never changes under the same.
fn etag(recording: &RecordingRow) -> String {
    format!("\"{}\"", recording.sha256)
}

/// Start and length of the part that is asked for; `None` = the whole, also where several are asked for, or the part of
/// another recording (If-Range), or the header is none of ours.
fn part(headers: &HeaderMap, etag: &str, size: u64) -> Result<Option<(u64, u64)>, Problem> {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let of_this = text(header::IF_RANGE).is_none_or(|wanted| wanted == etag);
    let Some(range) = text(header::RANGE).filter(|_| of_this).and_then(|range| range.strip_prefix("bytes=")) else {
        return Ok(None);
    };
    let Some((first, last)) = range.split_once('-').filter(|_| !range.contains(',')) else { return Ok(None) };
    let (first, last) = (first.trim(), last.trim());
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().unwrap_or(u64::MAX));
    let (start, end) = match (number(first), number(last)) {
        (Some(_), Some(suffix)) if first.is_empty() && !last.is_empty() => (size.saturating_sub(suffix), size),
        (Some(start), Some(_)) if last.is_empty() && !first.is_empty() => (start, size),
        (Some(start), Some(last)) if !first.is_empty() && start <= last => (start, last.saturating_add(1).min(size)),
        _ => return Ok(None),
    };
    if start >= size || end <= start { Err(Problem::no_such_range(size)) } else { Ok(Some((start, end - start))) }
}

fn why_no_recording(call: &CallRow) -> String {
    let reason = call.state_reason.as_deref().unwrap_or("the reason is not known");
    match (call.recording.as_str(), call.state.as_str()) {
        ("none", _) => "The call was not recorded.".to_owned(),
        ("expired", _) => "The recording was deleted because of its age.".to_owned(),
        ("erased", _) => "The recording was erased on request.".to_owned(),
        ("pending", "failed") => format!("The call failed before its recording was downloaded: {reason}"),
        ("pending", "waiting") => format!("The recording is not downloaded yet; the call waits: {reason}"),
        ("pending", _) => "The recording is not downloaded yet; ask again later.".to_owned(),
        _ => "The recording is not there.".to_owned(),
    }
}

impl IntoResponse for Audio {
    fn into_response(self) -> Response {
        self.0
    }
}

impl ApiResponse for Audio {
    fn meta() -> MetaResponses {
        let schema = || MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", "binary")));
        let answer = |status, description| MetaResponse {
            description,
            status: Some(status),
            status_range: None,
            content: vec![MetaMediaType { content_type: "audio/*", schema: schema() }],
            headers: vec![],
        };
        MetaResponses { responses: vec![answer(200, "The recording."), answer(206, "The part that `Range` names.")] }
    }

    fn register(_: &mut Registry) {}
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("bytes=0-9", Some((0, 10)))]
    #[case("bytes=90-", Some((90, 10)))]
    #[case("bytes=-30", Some((70, 30)))]
    #[case("bytes=-300", Some((0, 100)))]
    #[case("bytes=0-99999999999999999999", Some((0, 100)))]
    #[case("bytes=50-40", None)]
    #[case("bytes=0-1,5-6", None)]
    #[case("bytes=a-b", None)]
    #[case("bytes=-", None)]
    #[case("lines=0-9", None)]
    fn parts(#[case] range: &str, #[case] expected: Option<(u64, u64)>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        assert_eq!(part(&headers, "\"x\"", 100).unwrap(), expected);
        headers.insert(header::IF_RANGE, "\"other\"".parse().unwrap());
        assert_eq!(part(&headers, "\"x\"", 100).unwrap(), None);
    }

    #[rstest]
    #[case("bytes=100-")]
    #[case("bytes=-0")]
    fn what_is_not_there_is_no_part(#[case] range: &str) {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        assert!(part(&headers, "\"x\"", 100).is_err());
    }

    #[test]
    fn a_link_is_good_for_its_call_and_its_time() {
        let links = Links::new("a secret of the tests with more than thirty-two bytes".into());
        let (call, now) = (Uuid::now_v7(), clock::now());
        let path = links.make(call, "abcd1234").path;
        let query = path.split_once('?').unwrap().1;
        assert_eq!(links.read(call, query, now).as_deref(), Some("abcd1234"));
        assert_eq!(links.read(Uuid::now_v7(), query, now), None);
        assert_eq!(links.read(call, query, now + LINK_LIFE), None);
        assert_eq!(links.read(call, &query.replace("abcd1234", "abcd1235"), now), None);
        assert_eq!(links.read(call, &query[..query.len() - 1], now), None);
        assert_eq!(links.read(call, &format!("{query}&by=abcd1234"), now), None);
        assert_eq!(Links::new("another".into()).read(call, query, now), None);
    }
}
