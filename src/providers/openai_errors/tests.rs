//! The table of refusals, with bodies as they were seen.

use reqwest::header::HeaderValue;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::providers::openai_server::{ANALYSIS, TRANSCRIPTION};

fn refusal(status: u16, headers: &[(&'static str, &'static str)], body: &[u8]) -> Refusal {
    let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
    Refusal::read(StatusCode::from_u16(status).unwrap(), &headers.collect(), body)
}

fn error_body(kind: &str, code: Value, message: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

const fn seconds(seconds: u64) -> Fault {
    Fault::RetryAfter(Duration::from_secs(seconds))
}

#[rstest]
#[case(400, error_body("invalid_request_error", json!("unsupported_value"), "x"), Fault::Permanent, "bad_request")]
#[case(400, error_body("invalid_request_error", json!(null), "Invalid file format."), Fault::Permanent, "bad_request")]
#[case(400, error_body("x", json!("context_length_exceeded"), "x"), Fault::Permanent, "context_too_long")]
#[case(400, error_body("exceed_context_size_error", json!(400), "x"), Fault::Permanent, "context_too_long")]
#[case(400, error_body("x", json!(null), "input exceeds the context window"), Fault::Permanent, "context_too_long")]
#[case(400, error_body("x", json!("json_validate_failed"), "x"), Fault::Transient, "bad_answer")]
#[case(401, error_body("invalid_request_error", json!("invalid_api_key"), "x"), Fault::Blocked, "key_refused")]
#[case(402, json!({"error": "Payment required"}), Fault::Blocked, "quota")]
#[case(403, error_body("x", json!("unsupported_country_region_territory"), "x"), Fault::Blocked, "not_permitted")]
#[case(403, error_body("insufficient_quota", json!(null), "x"), Fault::Blocked, "quota")]
#[case(404, error_body("invalid_request_error", json!("model_not_found"), "x"), Fault::Blocked, "not_found")]
#[case(501, error_body("not_supported_error", json!(501), "x"), Fault::Blocked, "not_found")]
#[case(307, json!(null), Fault::Blocked, "redirected")]
#[case(408, json!(null), Fault::Transient, "server_error")]
#[case(409, json!(null), Fault::Transient, "server_error")]
#[case(413, error_body("server_error", json!(null), "Maximum content size limit"), Fault::Permanent, "too_large")]
#[case(422, json!({"detail": [{"loc": ["body"], "msg": "Field required"}]}), Fault::Permanent, "bad_request")]
#[case(429, error_body("requests", json!("rate_limit_exceeded"), "x"), Fault::Transient, "rate_limited")]
#[case(429, error_body("throttling_error", json!("429"), "x"), Fault::Transient, "rate_limited")]
#[case(429, error_body("requests", json!("x"), "Rate limit reached. Please try again in 18.6s."),
    Fault::RetryAfter(Duration::from_millis(18_600)), "rate_limited")]
#[case(429, error_body("requests", json!("slow_down"), "Please try again in 6m0s."), seconds(360), "rate_limited")]
#[case(429, error_body("requests", json!("x"), "Please try again in 120ms."), seconds(1), "rate_limited")]
#[case(429, error_body("requests", json!("x"), "Please try again in a while."), Fault::Transient, "rate_limited")]
#[case(429, error_body("tokens", json!("rate_limit_exceeded"), "Request too large for gpt-x on tokens per min"),
    Fault::Permanent, "request_too_large")]
#[case(429, error_body("insufficient_quota", json!("insufficient_quota"), "x"), Fault::Blocked, "quota")]
#[case(429, error_body("x", json!("credit_balance_exhausted"), "x"), Fault::Blocked, "quota")]
#[case(429, error_body("x", json!("organization_spend_limit_exceeded"), "x"), Fault::Blocked, "quota")]
#[case(429, error_body("x", json!("project_spend_limit_exceeded"), "x"), Fault::Blocked, "quota")]
#[case(429, error_body("x", json!("organization_usage_limit_exceeded"), "x"), Fault::Blocked, "quota")]
#[case(500, json!(null), Fault::Transient, "server_error")]
#[case(502, json!(null), Fault::Transient, "server_error")]
#[case(503, error_body("server_error", json!("server_is_overloaded"), "x"), Fault::Transient, "server_error")]
#[case(504, json!(null), Fault::Transient, "server_error")]
fn each_refusal_has_its_consequence(
    #[case] status: u16,
    #[case] body: Value,
    #[case] fault: Fault,
    #[case] class: &str,
) {
    let error = refusal(status, &[], body.to_string().as_bytes()).into_error(&TRANSCRIPTION, "");
    assert_eq!((error.fault, error.class.as_str()), (fault, class), "{error}");
    assert!(error.message.starts_with(char::is_uppercase), "{error}");
}

#[rstest]
#[case("retry-after", "30", "", seconds(30))]
#[case("retry-after-ms", "2000", "", seconds(2))]
#[case("retry-after", "30", "Please try again in 5s.", seconds(30))]
#[case("retry-after", "x", "Please try again in 5s.", seconds(5))]
fn the_header_counts_before_the_words(
    #[case] name: &'static str,
    #[case] value: &'static str,
    #[case] message: &str,
    #[case] fault: Fault,
) {
    let body = error_body("requests", json!("rate_limit_exceeded"), message).to_string();
    let refusal = refusal(429, &[(name, value), ("x-request-id", "req_1")], body.as_bytes());
    let error = refusal.into_error(&TRANSCRIPTION, "");
    assert_eq!((error.fault, error.request_id.as_deref()), (fault, Some("req_1")));
}

#[rstest]
#[case(b"")]
#[case(b"null")]
#[case(b"[]")]
#[case(b"\"no\"")]
#[case(b"{\"error\":null}")]
#[case(b"{\"error\":[1,2]}")]
#[case(b"{\"error\":{\"message\":{\"a\":1},\"type\":7,\"code\":[]}}")]
#[case(b"{\"detail\":[1,{\"msg\":2}]}")]
#[case(b"<html>Bad gateway</html>")]
#[case(b"\xFF\xFE\x00")]
fn odd_bodies_are_survived(#[case] body: &[u8]) {
    assert_eq!(refusal(502, &[], body).into_error(&TRANSCRIPTION, "").class.as_str(), "server_error");
    assert_eq!(refusal(400, &[], body).into_error(&TRANSCRIPTION, "").class.as_str(), "bad_request");
}

#[rstest]
#[case(400, error_body("invalid_request_error", json!("audio_too_short"), "x"), true)]
#[case(400, error_body("x", json!(null), "Audio file is too short. Minimum audio length is 0.1 seconds."), true)]
#[case(400, error_body("x", json!("invalid_value"), "x"), false)]
#[case(500, error_body("x", json!("audio_too_short"), "x"), false)]
fn too_short_is_told_apart(#[case] status: u16, #[case] body: Value, #[case] expected: bool) {
    assert_eq!(refusal(status, &[], body.to_string().as_bytes()).is_audio_too_short(), expected);
}

#[rstest]
#[case(json!({"error": {"param": "max_tokens", "message": "x"}}), true)]
#[case(json!({"error": {"message": "Unsupported parameter: 'max_tokens' is not supported"}}), true)]
#[case(json!({"error": {"param": "messages", "message": "max_tokens"}}), false)]
fn the_refused_field_is_found(#[case] body: Value, #[case] expected: bool) {
    assert_eq!(refusal(400, &[], body.to_string().as_bytes()).is_about_field("max_tokens"), expected);
}

#[rstest]
#[case("The model `gpt-x` does not exist", Some("The model `gpt-x` does not exist"))]
#[case("a\n b\u{0}\tc", Some("a b c"))]
#[case("Incorrect API key provided: sk-proj-abc", Some("Incorrect API key provided: [...]"))]
#[case("call +15550100002 now", Some("call [...] now"))]
#[case("see https://host/x?signature=1", Some("see [...]"))]
#[case("cannot parse: my card number is four two", None)]
#[case("", None)]
fn quotations_are_safe(#[case] message: &str, #[case] expected: Option<&str>) {
    assert_eq!(quote(message, "customer: my card number is four two").as_deref(), expected);
}

#[test]
fn quotations_are_short_and_a_refused_key_is_never_quoted() {
    assert_eq!(quote(&"é".repeat(5000), "").unwrap().chars().count(), MAX_QUOTE);
    let body = error_body("x", json!(null), "Incorrect API key provided: abc").to_string();
    let error = refusal(401, &[], body.as_bytes()).into_error(&TRANSCRIPTION, "");
    assert!(!error.message.contains("abc") && error.message.contains("OPENAI_API_KEY"), "{error}");
}

/// What an operator reads in `calls show`.
#[test]
fn sentences() {
    let told = |status: u16, code: &str, message: &str| {
        let body = error_body(code, json!(code), message);
        refusal(status, &[], body.to_string().as_bytes()).into_error(&ANALYSIS, "").message
    };
    let sentences = [
        told(429, "insufficient_quota", "You exceeded your current quota."),
        told(401, "invalid_api_key", "Incorrect API key provided: sk-abc."),
        told(403, "x", "Country not supported."),
        told(404, "model_not_found", "The model does not exist."),
        told(302, "x", ""),
        told(413, "x", "Maximum content size exceeded"),
        told(429, "tokens", "Request too large for the model."),
        told(429, "requests", "Rate limit reached."),
        told(503, "x", "The server is overloaded."),
        told(400, "json_validate_failed", ""),
        told(400, "context_length_exceeded", ""),
        told(400, "x", "No."),
    ];
    insta::assert_snapshot!(sentences.join("\n"));
}
