//! Compression of answers with gzip, which every client knows (RFC 9110, section 12.5.3).

use std::io;

use async_compression::Level;
use async_compression::tokio::bufread::GzipEncoder;
use hyper::body::Body as _;
use poem::http::{HeaderMap, HeaderValue, header};
use poem::{Body, Response};
use tokio::io::{AsyncReadExt as _, BufReader};

/// What is shorter fits into one packet anyway.
const LEAST: u64 = 1_024;
/// Types that get much smaller. Not sound, which is compressed already, and not events, which must leave at once.
const TYPES: &[&str] =
    &["application/json", "application/problem+json", "text/csv", "text/plain", "text/html", "text/vtt"];

/// Whether a client takes answers in gzip: it says so, and not with `q=0`.
pub fn is_accepted(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    let codings = values.flat_map(|value| value.split(','));
    let weight = |coding: &str| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let q = parameters.trim().strip_prefix("q=").map_or(1.0, |q| q.trim().parse().unwrap_or(0.0));
        (name.trim().to_ascii_lowercase(), q)
    };
    let weights: Vec<(String, f32)> = codings.map(weight).collect();
    let of = |name: &str| weights.iter().find(|(known, _)| known == name).map(|(_, q)| *q);
    of("gzip").or_else(|| of("x-gzip")).or_else(|| of("*")).unwrap_or(0.0) > 0.0
}

/// Compresses an answer that gains by it, for a client that takes it so.
///
/// The tag of a compressed answer is a weak one: its bytes are others. A handler's own tag names a version for edits,
/// for which weak ones are no good, so its answer, a short one, stays as it is.
pub fn compressed(mut response: Response, is_accepted: bool, is_versioned: bool) -> Response {
    let kind = response.content_type().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
    let gains = TYPES.contains(&kind.as_str()) && length(&mut response).is_none_or(|length| length >= LEAST);
    let is_whole = !response.headers().contains_key(header::CONTENT_RANGE);
    if !gains || !is_whole || is_versioned || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if !is_accepted {
        return response;
    }
    let body = BufReader::new(response.take_body().into_async_read());
    response.set_body(Body::from_async_read(GzipEncoder::with_quality(body, Level::Fastest)));
    response.headers_mut().remove(header::CONTENT_LENGTH);
    told(response)
}

/// An answer whose body is compressed, with the headers that say so.
pub fn told(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    let strong = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).filter(|tag| tag.starts_with('"'));
    if let Some(Ok(weak)) = strong.map(|tag| HeaderValue::from_str(&format!("W/{tag}"))) {
        headers.insert(header::ETAG, weak);
    }
    response
}

/// Bytes in gzip, for what is sent often.
pub async fn packed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = Vec::new();
    GzipEncoder::new(bytes).read_to_end(&mut packed).await?;
    Ok(packed)
}

/// Bytes of the body, if that is known; most answers get their `Content-Length` only when they are sent.
fn length(response: &mut Response) -> Option<u64> {
    let body = hyper::Response::from(Response::builder().body(response.take_body())).into_body();
    let length = body.size_hint().exact();
    response.set_body(body);
    length
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("gzip", true)]
    #[case("gzip, deflate, br", true)]
    #[case("br;q=1.0, gzip;q=0.8", true)]
    #[case("*", true)]
    #[case("gzip;q=0", false)]
    #[case("gzip;q=0, *", false)]
    #[case("identity", false)]
    #[case("br", false)]
    #[case("", false)]
    fn what_clients_take(#[case] header: &str, #[case] expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, header.parse().unwrap());
        assert_eq!(is_accepted(&headers), expected);
    }

    fn answer(kind: &str, bytes: usize) -> Response {
        let body = "x".repeat(bytes);
        Response::builder().content_type(kind).header("etag", "\"abc\"").body(body)
    }

    #[tokio::test]
    async fn long_text_gets_shorter_and_its_tag_weak() {
        let sent = compressed(answer("application/json; charset=utf-8", 10_000), true, false);
        assert_eq!(sent.header("content-encoding"), Some("gzip"));
        assert_eq!((sent.header("etag"), sent.header("vary")), (Some("W/\"abc\""), Some("Accept-Encoding")));
        assert_eq!(sent.header("content-length"), None);
        let bytes = sent.into_body().into_vec().await.unwrap();
        assert!(bytes.starts_with(&[0x1f, 0x8b]) && bytes.len() < 200, "{}", bytes.len());
    }

    #[rstest]
    #[case(answer("audio/wav", 10_000), true, false)]
    #[case(answer("text/event-stream", 10_000), true, false)]
    #[case(answer("application/json", 100), true, false)]
    #[case(answer("application/json", 10_000), false, false)]
    #[case(answer("application/json", 10_000), true, true)]
    fn other_answers_stay(#[case] response: Response, #[case] accepted: bool, #[case] versioned: bool) {
        let sent = compressed(response, accepted, versioned);
        assert_eq!((sent.header("content-encoding"), sent.header("etag")), (None, Some("\"abc\"")));
    }
}
