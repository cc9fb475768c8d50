//! `ETag` and `If-None-Match`: whoever has an answer already hears that nothing has changed (RFC 9110, sections 8.8.3 and
//! 13.1.2).

use std::fmt::Write as _;

use poem::error::ReadBodyError;
use poem::http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::{Body, Response};
use sha2::{Digest, Sha256};

/// Bytes of the hash; two answers of one address with the same 128 bits will not come up.
const BYTES: usize = 16;
/// Who has stored it asks before using it again: rights may have ended.
pub const REVALIDATE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// Gives a good JSON answer to a GET an `ETag` by its content, unless it has one already, and takes its body away if the
/// client has the same one.
pub async fn tagged(mut response: Response, if_none_match: &IfNoneMatch) -> Result<Response, ReadBodyError> {
    if response.status() != StatusCode::OK {
        return Ok(response);
    }
    if !response.headers().contains_key(header::ETAG) {
        let is_json = response.content_type().is_some_and(|kind| kind.starts_with("application/json"));
        if !is_json {
            return Ok(response);
        }
        let bytes = response.take_body().into_bytes().await?;
        response.headers_mut().insert(header::ETAG, tag_of(&bytes));
        response.headers_mut().insert(header::CONTENT_LENGTH, bytes.len().into());
        response.set_body(bytes);
    }
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(REVALIDATE);
    let tag = headers.get(header::ETAG).cloned();
    if tag.and_then(|tag| tag.to_str().map(|tag| if_none_match.names(tag)).ok()).unwrap_or(false) {
        response.set_status(StatusCode::NOT_MODIFIED);
        response.set_body(Body::empty());
        for gone in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
            response.headers_mut().remove(gone);
        }
    }
    Ok(response)
}

/// The tag of an answer with these bytes.
pub fn tag_of(bytes: &[u8]) -> HeaderValue {
    let hash = Sha256::digest(bytes);
    let text = hash[..BYTES].iter().fold(String::from("\""), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    // Hexadecimal digits in quotes are a header's value.
    HeaderValue::from_str(&(text + "\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// The tags of answers that a client has.
#[derive(Debug, Clone, Default)]
pub struct IfNoneMatch(String);

impl IfNoneMatch {
    /// As the request says.
    pub fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
        Self(values.collect::<Vec<_>>().join(","))
    }

    /// Whether this is one of them. Weak or strong makes no difference here. No tag of ours has a comma in it.
    pub fn names(&self, tag: &str) -> bool {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        self.0.split(',').any(|named| named.trim() == "*" || opaque(named) == opaque(tag))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn asked(if_none_match: &str) -> IfNoneMatch {
        IfNoneMatch(if_none_match.to_owned())
    }

    fn json(body: &str) -> Response {
        Response::builder().content_type("application/json; charset=utf-8").body(body.to_owned())
    }

    #[tokio::test]
    async fn who_has_it_gets_no_body() {
        let first = tagged(json("{}"), &IfNoneMatch::default()).await.unwrap();
        let tag = first.header("etag").unwrap().to_owned();
        assert!(tag.len() == 34 && tag.starts_with('"'), "{tag}");
        assert_eq!(first.header("content-length"), Some("2"));
        for header in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let again = tagged(json("{}"), &asked(&header)).await.unwrap();
            assert_eq!((again.status(), again.header("etag")), (StatusCode::NOT_MODIFIED, Some(tag.as_str())));
            assert_eq!(again.header("cache-control"), Some("private, no-cache"));
            assert!(again.into_body().into_vec().await.unwrap().is_empty());
        }
        let changed = tagged(json("{\"a\":1}"), &asked(&tag)).await.unwrap();
        assert_eq!(changed.into_body().into_vec().await.unwrap(), b"{\"a\":1}");
    }

    #[tokio::test]
    async fn a_tag_of_the_handler_stays() {
        let versioned = || Response::builder().header("etag", "\"7\"").content_type("application/json").body("{}");
        assert_eq!(tagged(versioned(), &IfNoneMatch::default()).await.unwrap().header("etag"), Some("\"7\""));
        assert_eq!(tagged(versioned(), &asked("\"7\"")).await.unwrap().status(), StatusCode::NOT_MODIFIED);
        assert_eq!(tagged(versioned(), &asked("\"8\"")).await.unwrap().status(), StatusCode::OK);
    }

    #[rstest]
    #[case(Response::builder().content_type("text/csv").body("a"))]
    #[case(Response::builder().status(StatusCode::CREATED).content_type("application/json").body("{}"))]
    #[tokio::test]
    async fn other_answers_have_none(#[case] response: Response) {
        let status = response.status();
        let response = tagged(response, &asked("*")).await.unwrap();
        assert_eq!((response.status(), response.header("etag")), (status, None));
    }
}
