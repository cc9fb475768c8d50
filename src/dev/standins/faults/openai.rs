//! How an OpenAI-shaped server misbehaves: what both models share, and what only a language model does
//! (platform.openai.com: "Error codes", "Rate limits", "Structured outputs", "Reasoning").

use std::sync::LazyLock;

use poem::http::StatusCode;
use poem::{IntoResponse, Response};
use serde_json::{Value, json};

use super::answer::{http_date, seconds, web_page};
use super::catalogue::{Act, Fault, Scene};
use crate::dev::standins::{Upstream, openai};

/// Nobody says this in any fixture.
const INVENTED: &str = "The customer threatened to sue for 5,000 dollars.";
/// A wrong name, amount and date, an invented quote, and a threat; nothing of it is said in any fixture.
const FALSE_CLAIMS: [&str; 5] = [
    "Zoe Quimby called about the matter.",
    "The customer was charged 7,350 dollars.",
    "It will be settled by December 24.",
    "The customer said “I shall tell everybody about this”.",
    INVENTED,
];
static FALSE_ITEM: LazyLock<Value> = LazyLock::new(|| {
    json!({"text": "Pay 7,350 dollars to the customer", "owner": "Zoe Quimby", "due_words": "by December 24",
        "due_date": "2026-12-24", "evidence": [0, 1]})
});
/// No transcript is so long.
const NO_SEGMENT: u64 = 99_999;

pub(super) fn speech() -> Vec<Fault> {
    let fault = |name, does, act| Fault { upstream: Upstream::Speech, name, does, act };
    let own = [
        fault("too_long", "400, the audio is longer than the model takes", Act::Refuse(too_long_audio)),
        fault("ten_seconds", "400 to audio of more than 10 seconds", Act::RefuseLonger(10.0, above_ten_seconds)),
        fault("bad_file", "400, the file's format is not known", Act::Refuse(bad_file)),
        fault("empty_text", "hears nothing in the audio", Act::Change(|body| body["text"] = "".into())),
    ];
    shared(Upstream::Speech).into_iter().chain(own).collect()
}

pub(super) fn language_model() -> Vec<Fault> {
    let fault = |name, does, act| Fault { upstream: Upstream::LanguageModel, name, does, act };
    let own = [
        fault("too_long", "400, above the model's context window", Act::Refuse(too_long_text)),
        fault("token_limit_field", "400, `max_completion_tokens` is not known", Act::Refuse(unknown_field)),
        fault("empty_text", "an answer without words", Act::Change(|body| *content(body) = "".into())),
        fault("refusal", "the model refuses", Act::Change(refusal)),
        fault("length", "the answer is cut off by the token limit", Act::Change(cut_by_length)),
        fault("content_filter", "a filter stops the answer", Act::Change(filtered)),
        fault("wrong_schema", "JSON of another shape", Act::Change(|body| *content(body) = WRONG_SHAPE.into())),
        fault("prose", "sentences instead of JSON", Act::Change(|body| *content(body) = "A nice call.".into())),
        fault("fenced", "the JSON inside a Markdown code fence", Act::Change(fenced)),
        fault("invented_evidence", "a statement whose evidence does not exist", Act::Change(invented)),
        fault(
            "wrong_evidence",
            "names, amounts, dates and quotes that nobody said, and true words with the wrong line",
            Act::Change(wrong),
        ),
        fault("reasoning_fields", "the fields of a reasoning model beside the answer", Act::Change(reasoning)),
        fault("thinking_aloud", "thoughts in `<think>` before the answer", Act::Change(thinking)),
    ];
    shared(Upstream::LanguageModel).into_iter().chain(own).collect()
}

const WRONG_SHAPE: &str = r#"{"summary":"A nice call.","mood":"good"}"#;

fn shared(upstream: Upstream) -> Vec<Fault> {
    let fault = |name, does, act| Fault { upstream, name, does, act };
    vec![
        fault("rate_limited", "429 with Retry-After in seconds", Act::Refuse(rate_limited)),
        fault("rate_limited_date", "429 with Retry-After as a date", Act::Refuse(rate_limited_date)),
        fault("rate_limited_text", "429 that says when only in its text", Act::Refuse(rate_limited_text)),
        fault("request_too_large", "429, this one request is above the limit per minute", Act::Refuse(too_many_tokens)),
        fault("insufficient_quota", "429, no money left", Act::Refuse(no_quota)),
        fault("unauthorized", "401, the key is refused", Act::Refuse(unauthorized)),
        fault("forbidden", "403, the key may not do this", Act::Refuse(forbidden)),
        fault("model_not_found", "404, no such model", Act::Refuse(no_model)),
        fault("too_large", "413", Act::Refuse(|_| refuse(413, "server_error", None, "Maximum content size exceeded"))),
        fault("server_error", "500", Act::Refuse(|_| refuse(500, "server_error", None, "The server had an error."))),
        fault("bad_gateway", "502 with a web page", Act::Refuse(bad_gateway)),
        fault("unavailable", "503, overloaded", Act::Refuse(overloaded)),
        fault("detail", "422 in FastAPI's shape", Act::Refuse(detail)),
        fault("html", "a web page with status 200", Act::Refuse(|_| web_page())),
        fault("not_json", "answers with something that is not JSON", Act::Lose(|_| json_text("{\"text\": \"Hel"))),
        fault("cut_off", "breaks off in the middle of the answer", Act::Half),
        fault("reset", "does the work and closes without an answer", Act::Reset),
        fault("silence", "does the work and never answers", Act::Silence),
    ]
}

fn refuse(status: u16, kind: &str, code: Option<&str>, message: &str) -> Response {
    let status = StatusCode::from_u16(status).expect("a constant");
    openai::json_answer(status, &json!({"error": {"message": message, "type": kind, "param": null, "code": code}}))
}

fn rate_limited(scene: &Scene) -> Response {
    limit("Rate limit reached.").with_header("retry-after", seconds(scene.wait)).into_response()
}

fn rate_limited_date(scene: &Scene) -> Response {
    limit("Rate limit reached.").with_header("retry-after", http_date(scene.wait)).into_response()
}

fn rate_limited_text(scene: &Scene) -> Response {
    limit(&format!("Rate limit reached for requests. Please try again in {}ms.", scene.wait.as_millis()))
}

fn limit(message: &str) -> Response {
    refuse(429, "requests", Some("rate_limit_exceeded"), message)
}

fn too_many_tokens(_: &Scene) -> Response {
    refuse(429, "tokens", Some("rate_limit_exceeded"), "Request too large for the model. Limit 30000, requested 41000.")
}

fn no_quota(_: &Scene) -> Response {
    refuse(429, "insufficient_quota", Some("insufficient_quota"), "You exceeded your current quota.")
}

fn unauthorized(_: &Scene) -> Response {
    refuse(401, "invalid_request_error", Some("invalid_api_key"), "Incorrect API key provided.")
}

fn forbidden(_: &Scene) -> Response {
    refuse(403, "invalid_request_error", Some("unsupported_country_region_territory"), "Country not supported.")
}

fn no_model(_: &Scene) -> Response {
    refuse(404, "invalid_request_error", Some("model_not_found"), "The model does not exist.")
}

fn overloaded(_: &Scene) -> Response {
    refuse(503, "server_error", Some("server_is_overloaded"), "The server is overloaded.")
}

fn bad_gateway(_: &Scene) -> Response {
    web_page().with_status(StatusCode::BAD_GATEWAY).into_response()
}

fn detail(_: &Scene) -> Response {
    let body = json!({"detail": [{"loc": ["body", "model"], "msg": "unknown model", "type": "value_error"}]});
    openai::json_answer(StatusCode::UNPROCESSABLE_ENTITY, &body)
}

fn too_long_audio(_: &Scene) -> Response {
    let message = "audio duration 1500.5 seconds is longer than 1400 seconds which is the maximum for this model";
    refuse(400, "invalid_request_error", Some("invalid_value"), message)
}

fn above_ten_seconds(_: &Scene) -> Response {
    refuse(400, "invalid_request_error", Some("invalid_value"), "audio duration is longer than 10 seconds")
}

fn bad_file(_: &Scene) -> Response {
    refuse(400, "invalid_request_error", None, "Unrecognized file format.")
}

fn too_long_text(_: &Scene) -> Response {
    let message = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.";
    refuse(400, "invalid_request_error", Some("context_length_exceeded"), message)
}

fn unknown_field(_: &Scene) -> Response {
    let message = "Unsupported parameter: 'max_completion_tokens' is not supported with this model.";
    let error = json!({"message": message, "type": "invalid_request_error", "param": "max_completion_tokens",
        "code": "unsupported_parameter"});
    openai::json_answer(StatusCode::BAD_REQUEST, &json!({"error": error}))
}

fn json_text(text: &'static str) -> Response {
    openai::answer(Response::builder().content_type("application/json").body(text))
}

fn content(body: &mut Value) -> &mut Value {
    &mut body["choices"][0]["message"]["content"]
}

fn refusal(body: &mut Value) {
    body["choices"][0]["message"]["refusal"] = "I'm sorry, I cannot help with that.".into();
    *content(body) = Value::Null;
}

fn cut_by_length(body: &mut Value) {
    body["choices"][0]["finish_reason"] = "length".into();
    edit(body, |text| text.chars().take(text.chars().count() / 2).collect());
}

fn filtered(body: &mut Value) {
    body["choices"][0]["finish_reason"] = "content_filter".into();
    *content(body) = "".into();
}

fn fenced(body: &mut Value) {
    edit(body, |text| format!("```json\n{text}\n```"));
}

fn thinking(body: &mut Value) {
    edit(body, |text| format!("<think>\nThe caller {{sounds}} friendly.\n</think>\n\n{text}"));
}

fn reasoning(body: &mut Value) {
    body["choices"][0]["message"]["reasoning_content"] = "The caller sounds friendly.".into();
    let hidden = 640;
    let visible = body["usage"]["completion_tokens"].as_u64().unwrap_or_default();
    body["usage"]["completion_tokens"] = (visible + hidden).into();
    body["usage"]["completion_tokens_details"] = json!({"reasoning_tokens": hidden});
}

fn invented(body: &mut Value) {
    claim(body, NO_SEGMENT);
}

/// Claims of every kind that the call does not bear out, the last one true words with the wrong line.
fn wrong(body: &mut Value) {
    edit_findings(body, |findings| {
        if let Some(statements) = findings["statements"].as_array_mut() {
            let misplaced = statements.last().map(|last| json!({"text": last["text"], "evidence": [0]}));
            let false_claims = FALSE_CLAIMS.iter().map(|text| json!({"text": text, "evidence": [0, 1]}));
            statements.splice(0..0, false_claims.chain(misplaced).collect::<Vec<_>>());
        }
        if let Some(items) = findings["action_items"].as_array_mut() {
            items.insert(0, FALSE_ITEM.clone());
        }
    });
}

/// Puts an invented statement before the others.
fn claim(body: &mut Value, evidence: u64) {
    edit_findings(body, |findings| {
        if let Some(statements) = findings["statements"].as_array_mut() {
            statements.insert(0, json!({"text": INVENTED, "evidence": [evidence]}));
        }
    });
}

fn edit_findings(body: &mut Value, edit_json: impl FnOnce(&mut Value)) {
    edit(body, |text| {
        let mut findings: Value = serde_json::from_str(text).unwrap_or_default();
        edit_json(&mut findings);
        findings.to_string()
    });
}

fn edit(body: &mut Value, edit: impl FnOnce(&str) -> String) {
    let content = content(body);
    *content = edit(content.as_str().unwrap_or_default()).into();
}
