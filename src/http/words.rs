//! What the log tells of an address: its path as far as it is made of our own words and ids. Whatever else somebody puts
//! there may be a key, or a telephone number.

use std::collections::HashSet;
use std::sync::LazyLock;

use poem::http::Method;
use uuid::Uuid;

use super::openapi::{Api, Paths};

/// The words of routes that are no operations of the API.
const OTHERS: &[&str] = &[
    "webhooks",
    "goto",
    "call-ended",
    "health",
    "live",
    "ready",
    "openapi.json",
    "docs",
    "redoc",
    "recordings",
    // Of `make dev`.
    "dev",
    "outbox",
    "outbox.json",
    "outbox.css",
    "outbox.js",
    "mail",
    "revision",
];
/// Stands for what is not told.
const ELLIPSIS: &str = "\u{2026}";
/// The log has no use for more of a path.
const MOST_SEGMENTS: usize = 10;

static KNOWN: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let others = OTHERS.iter().map(|word| (*word).to_owned());
    Paths::of::<Api>().words().map(str::to_owned).chain(others).collect()
});

/// A method, and an ellipsis for one that nobody knows: it is any word of its sender's.
pub fn method(method: &Method) -> &str {
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PATCH, Method::PUT, Method::DELETE, Method::OPTIONS];
    if known.contains(method) { method.as_str() } else { ELLIPSIS }
}

/// A path with an ellipsis for each part that is neither a word of ours nor an id.
pub fn told(path: &str) -> String {
    let is_id = |segment: &str| segment.len() == 36 && Uuid::parse_str(segment).is_ok();
    let segment = |segment| if KNOWN.contains(segment) || is_id(segment) { segment } else { ELLIPSIS };
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    segments.take(MOST_SEGMENTS).fold(String::new(), |told, part| told + "/" + segment(part))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/api/calls/", "/api/calls")]
    #[case("/api/calls.csv", "/api/calls.csv")]
    #[case("/api/keys/gta_4hT0zQ7a_SECRET/revoke", "/api/keys/\u{2026}/revoke")]
    #[case("/api/calls/+15550100002", "/api/calls/\u{2026}")]
    #[case("/api/calls/{id}", "/api/calls/\u{2026}")]
    #[case(
        "/api/calls/019b8e2c-7c1b-7c3a-9f21-6d1f0c9a4e11/transcript",
        "/api/calls/019b8e2c-7c1b-7c3a-9f21-6d1f0c9a4e11/transcript"
    )]
    #[case("/health/live", "/health/live")]
    #[case("/outbox/mail/7", "/outbox/mail/\u{2026}")]
    fn only_words_and_ids_are_told(#[case] path: &str, #[case] expected: &str) {
        assert_eq!(told(path), expected);
    }

    #[test]
    fn methods_that_are_none_are_not_told() {
        assert_eq!(method(&Method::PATCH), "PATCH");
        assert_eq!(method(&Method::from_bytes(b"gta_4hT0zQ7a_SECRET").unwrap()), ELLIPSIS);
    }

    #[test]
    fn a_long_path_is_cut() {
        assert!(told(&"/x".repeat(10_000)).len() < 100);
    }
}
