//! `If-Match`: an edit says which version it is of, so that no update is lost (RFC 9110, section 13.1.1; RFC 6585).

use poem::Request;
use poem::http::header;

use super::problem::Problem;

/// Ends the tag of a version whose time has come: the answer is another one than before, and what is edited is the same.
const OVERDUE: &str = "-overdue";

/// The version that an edit is of: the `ETag` `"7"` of the thing as the client got it is version 7. 428 without the header;
/// 412 for what can be no version of ours, `*` included: it would match any, and updates would be lost.
pub fn if_match(request: &Request) -> Result<i32, Problem> {
    let mut values = request.headers().get_all(header::IF_MATCH).into_iter();
    let value = values.next().ok_or_else(Problem::precondition_required)?;
    let version = value.to_str().ok().and_then(version).filter(|_| values.next().is_none());
    version.ok_or_else(Problem::no_version)
}

/// The same for an act that needs no version, because nothing is lost by it: none without the header, and none for `*`,
/// which is any.
pub fn if_match_given(request: &Request) -> Result<Option<i32>, Problem> {
    match request.header(header::IF_MATCH).map(str::trim) {
        Some("*") => Ok(None),
        _ if !request.headers().contains_key(header::IF_MATCH) => Ok(None),
        _ => if_match(request).map(Some),
    }
}

/// The `ETag` of a version, which shows whether its time has come.
pub fn etag(version: i32, is_overdue: bool) -> String {
    format!("\"{version}{}\"", if is_overdue { OVERDUE } else { "" })
}

fn version(text: &str) -> Option<i32> {
    let tag = text.trim().strip_prefix('"')?.strip_suffix('"')?;
    let digits = tag.strip_suffix(OVERDUE).unwrap_or(tag);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[], Err("precondition_required"))]
    #[case(&["\"7\""], Ok(7))]
    #[case(&["\"7-overdue\""], Ok(7))]
    #[case(&["\"-overdue\""], Err("precondition_failed"))]
    #[case(&["7"], Err("precondition_failed"))]
    #[case(&["*"], Err("precondition_failed"))]
    #[case(&["W/\"7\""], Err("precondition_failed"))]
    #[case(&["\"\""], Err("precondition_failed"))]
    #[case(&["\"-7\""], Err("precondition_failed"))]
    #[case(&["\"99999999999\""], Err("precondition_failed"))]
    #[case(&["\"7\", \"8\""], Err("precondition_failed"))]
    #[case(&["\"7\"", "\"8\""], Err("precondition_failed"))]
    fn an_edit_names_one_version(#[case] headers: &[&str], #[case] expected: Result<i32, &str>) {
        let mut request = Request::builder();
        for value in headers {
            request = request.header(header::IF_MATCH, *value);
        }
        let seen = if_match(&request.finish()).map_err(|problem| problem.to_string());
        match (seen, expected) {
            (Ok(seen), Ok(expected)) => {
                let sent = etag(seen, headers[0].contains(OVERDUE));
                assert_eq!((seen, sent.as_str()), (expected, headers[0]));
            }
            (Err(seen), Err(expected)) => assert!(seen.starts_with(expected), "{seen}"),
            (seen, expected) => panic!("{seen:?}, not {expected:?}"),
        }
    }
}
