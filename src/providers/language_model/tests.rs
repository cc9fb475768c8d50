//! Completions by a server on loopback.

use rstest::rstest;

use super::*;
use crate::providers::http_client;
use crate::providers::loopback::{Loopback, Reply, http};

fn model(server: &Loopback, structured_output: StructuredOutput) -> LanguageModel {
    let config = AnalysisConfig {
        base_url: server.url("/v1/").parse().unwrap(),
        api_key: None,
        model: "gpt-6-luna".into(),
        token_limit_field: TokenLimitField::MaxCompletionTokens,
        structured_output,
        max_input_tokens: 100_000,
    };
    LanguageModel::new(&config, http_client::client().unwrap(), Duration::from_secs(20))
}

fn question() -> CompletionRequest<'static> {
    CompletionRequest {
        system: "Summarize.".into(),
        user: "customer: my card number is four two".into(),
        schema_name: "call_analysis",
        schema: json!({"type": "object"}),
        max_output_tokens: 4000,
        repair: None,
    }
}

fn answer(finish_reason: Value, message: Value) -> Value {
    json!({"id": "x", "object": "chat.completion", "created": 1, "model": "luna-2026",
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": message}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110,
            "prompt_tokens_details": {"cached_tokens": 60}}})
}

fn ok(body: &Value) -> Vec<u8> {
    http(200, &[("x-request-id", "req_1")], body.to_string().as_bytes())
}

fn said(content: &str) -> Vec<u8> {
    ok(&answer(json!("stop"), json!({"role": "assistant", "content": content})))
}

async fn complete(answers: Vec<Vec<u8>>) -> (Result<Completion, UpstreamError>, Vec<Value>) {
    let server = Loopback::script(answers).await;
    let result = model(&server, StructuredOutput::JsonSchema).complete(&question()).await;
    (result, bodies(&server))
}

fn bodies(server: &Loopback) -> Vec<Value> {
    let body = |request: &String| serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
    server.requests().iter().map(body).collect()
}

#[tokio::test]
async fn a_structured_answer() {
    let (result, bodies) = complete(vec![said("{\"summary\":\"Fine.\"}")]).await;
    let completion = result.unwrap();
    assert_eq!(completion.json, json!({"summary": "Fine."}));
    assert_eq!((completion.model.as_str(), completion.finish_reason.as_str()), ("luna-2026", "stop"));
    assert_eq!(completion.request_id.as_deref(), Some("req_1"));
    let model = Some("luna-2026".to_owned());
    let expected = Usage { model, input_tokens: 100, cached_tokens: 60, output_tokens: 10, ..Usage::default() };
    assert_eq!(completion.usage, expected);
    let expected = json!({
        "model": "gpt-6-luna",
        "messages": [{"role": "system", "content": "Summarize."},
            {"role": "user", "content": "customer: my card number is four two"}],
        "max_completion_tokens": 4000,
        "response_format": {"type": "json_schema",
            "json_schema": {"name": "call_analysis", "strict": true, "schema": {"type": "object"}}},
    });
    assert_eq!(bodies, [expected]);
}

#[rstest]
#[case(StructuredOutput::JsonObject, json!({"type": "json_object"}))]
#[case(StructuredOutput::Prompt, json!(null))]
#[tokio::test]
async fn simpler_servers_are_told_the_schema_in_words(#[case] output: StructuredOutput, #[case] format: Value) {
    let server = Loopback::script(vec![said("```json\n{\"a\":1}\n```")]).await;
    let completion = model(&server, output).complete(&question()).await.unwrap();
    assert_eq!(completion.json, json!({"a": 1}));
    let body = &bodies(&server)[0];
    assert_eq!(body["response_format"], format);
    assert!(body["messages"][0]["content"].as_str().unwrap().ends_with("{\"type\":\"object\"}"));
}

#[rstest]
#[case("{\"a\":", 4)]
#[case("", 3)]
#[tokio::test]
async fn a_repair_question_shows_what_was_wrong(#[case] previous: &str, #[case] messages: usize) {
    let server = Loopback::script(vec![said("{}")]).await;
    let request = CompletionRequest { repair: Some((previous.into(), "No JSON.".into())), ..question() };
    model(&server, StructuredOutput::JsonSchema).complete(&request).await.unwrap();
    let sent = bodies(&server)[0]["messages"].as_array().unwrap().clone();
    assert_eq!(sent.len(), messages);
    assert_eq!(sent[messages - 1], json!({"role": "user", "content": "No JSON."}));
}

#[tokio::test]
async fn the_other_token_field_is_learned_once() {
    let server = Loopback::start(|request| {
        let body =
            json!({"error": {"message": "x", "param": "max_completion_tokens", "code": "unsupported_parameter"}});
        let refused = request.contains("max_completion_tokens");
        Reply::Bytes(if refused { http(400, &[], body.to_string().as_bytes()) } else { said("{}") })
    })
    .await;
    let model = model(&server, StructuredOutput::JsonSchema);
    for _ in 0..2 {
        model.complete(&question()).await.unwrap();
    }
    let fields: Vec<bool> = bodies(&server).iter().map(|body| body["max_tokens"] == 4000).collect();
    assert_eq!(fields, [false, true, true]);
}

#[tokio::test]
async fn the_token_field_is_changed_no_more_than_once() {
    let body = json!({"error": {"message": "max_completion_tokens too large", "param": "max_completion_tokens"}});
    let refusal = http(400, &[], body.to_string().as_bytes());
    let (result, bodies) = complete(vec![refusal]).await;
    assert_eq!((result.unwrap_err().class.as_str(), bodies.len()), ("bad_request", 2));
}

#[tokio::test]
async fn a_cut_answer_gets_twice_the_room_once() {
    let cut = ok(&answer(json!("length"), json!({"content": "{\"a\":"})));
    let (result, bodies) = complete(vec![cut.clone(), said("{}")]).await;
    assert_eq!(result.unwrap().usage.input_tokens, 200);
    assert_eq!(bodies[1]["max_completion_tokens"], 8000);

    let (result, bodies) = complete(vec![cut]).await;
    let error = result.unwrap_err();
    assert_eq!((error.fault, error.class.as_str(), bodies.len()), (Fault::Permanent, "cut_off", 2));
    assert_eq!(error.request_id.as_deref(), Some("req_1"));
    assert_eq!(used(error), Some((200, false)));

    let (result, _) = complete(vec![ok(&answer(json!("length"), json!({}))), http(500, &[], b"")]).await;
    assert_eq!(used(result.unwrap_err()), Some((100, false)), "the cut answer was paid for");
}

/// Tokens read, and whether the server did not say.
fn used(error: UpstreamError) -> Option<(i64, bool)> {
    error.usage.map(|usage| (usage.input_tokens, usage.unmeasured))
}

#[rstest]
#[case(answer(json!("content_filter"), json!({"content": null})), Some((100, false)))]
#[case(answer(json!("stop"), json!({"refusal": "I cannot."})), Some((100, false)))]
#[case(answer(json!("stop"), json!({"content": "Sure!"})), Some((100, false)))]
#[case(json!({"choices": [{"message": {"content": "Sure!"}}]}), Some((0, true)))]
#[case(json!({"choices": [{}], "usage": {"prompt_tokens": -1, "completion_tokens": "7"}}), Some((0, true)))]
#[case(json!({"choices": [{}], "usage": {"prompt_tokens": 9e18, "completion_tokens": 7}}), Some((0, true)))]
#[case(json!({"choices": []}), None)]
#[case(json!(null), None)]
#[tokio::test]
async fn useless_answers_of_a_model_are_paid_for(#[case] body: Value, #[case] expected: Option<(i64, bool)>) {
    // What is no JSON is an answer all the same: whoever asked may have it mended.
    let of_answer = |answer: Completion| Some((answer.usage.input_tokens, answer.usage.unmeasured));
    assert_eq!(complete(vec![ok(&body)]).await.0.map_or_else(used, of_answer), expected);
}

#[rstest]
#[case(answer(json!("content_filter"), json!({"content": null})), Fault::Permanent, "refused")]
#[case(answer(json!("stop"), json!({"content": null, "refusal": "I cannot."})), Fault::Permanent, "refused")]
#[case(json!({"choices": []}), Fault::Transient, "bad_answer")]
#[case(json!({"error": {"message": "x"}}), Fault::Transient, "bad_answer")]
#[case(json!(null), Fault::Transient, "bad_answer")]
#[case(json!([1]), Fault::Transient, "bad_answer")]
#[tokio::test]
async fn unusable_answers(#[case] body: Value, #[case] fault: Fault, #[case] class: &str) {
    let error = complete(vec![ok(&body)]).await.0.unwrap_err();
    assert_eq!(
        (error.fault, error.class.as_str(), error.request_id.as_deref()),
        (fault, class, Some("req_1")),
        "{error}"
    );
}

#[rstest]
#[case(json!({"content": null, "refusal": null}), json!(null))]
#[case(json!({"tool_calls": []}), json!(null))]
#[case(json!({"content": "Sure! Here it is"}), json!("Sure! Here it is"))]
#[case(json!({"content": "[1]"}), json!("[1]"))]
#[case(json!({"content": ""}), json!(""))]
#[case(json!({"content": "Sure! ```json\n{\"a\": \"}\"}\n``` Anything else?"}), json!({"a": "}"}))]
#[tokio::test]
async fn what_is_no_object_is_left_to_a_repair_question(#[case] message: Value, #[case] expected: Value) {
    let completion = complete(vec![ok(&answer(json!("stop"), message))]).await.0.unwrap();
    assert_eq!((completion.json, completion.usage.input_tokens), (expected, 100));
}

#[rstest]
#[case(&["json_schema"], &["json_schema", "json_object", "json_object"])]
#[case(&["json_schema", "json_object"], &["json_schema", "json_object", "", ""])]
#[tokio::test]
async fn a_server_that_knows_no_schema_is_asked_more_simply(#[case] unknown: &'static [&str], #[case] asked: &[&str]) {
    let server = Loopback::start(move |request| {
        let refused = unknown.iter().any(|form| {
            request.contains(&format!("{{\"type\":\"{form}\"")) || request.contains(&format!("\"type\":\"{form}\"}}"))
        });
        let body =
            json!({"error": {"message": "response_format type is unavailable now", "type": "invalid_request_error"}});
        Reply::Bytes(if refused { http(400, &[], body.to_string().as_bytes()) } else { said("{}") })
    })
    .await;
    let model = model(&server, StructuredOutput::JsonSchema);
    for _ in 0..2 {
        model.complete(&question()).await.unwrap();
    }
    let forms: Vec<String> = bodies(&server)
        .iter()
        .map(|body| body["response_format"]["type"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(forms, asked, "learned once, remembered");
}

#[tokio::test]
async fn other_refusals_change_no_form() {
    let body = json!({"error": {"message": "The prompt is not welcome.", "type": "invalid_request_error"}});
    let (result, bodies) = complete(vec![http(400, &[], body.to_string().as_bytes())]).await;
    assert_eq!((result.unwrap_err().class.as_str(), bodies.len()), ("bad_request", 1));
}

#[tokio::test]
async fn a_refusal_is_shown_but_not_the_callers_words() {
    let refusal = |words: &str| ok(&answer(json!("stop"), json!({"refusal": words})));
    let error = complete(vec![refusal("I cannot help with that.")]).await.0.unwrap_err();
    assert!(error.message.contains("I cannot help with that."), "{error}");
    let error = complete(vec![refusal("I see: my card number is four two")]).await.0.unwrap_err();
    assert!(!error.message.contains("card"), "{error}");
}

#[rstest]
#[case(json!({"choices": [{"message": {"content": "{\"a\":1}"}}]}))]
#[case(json!({"choices": [{"finish_reason": null, "message": {"content": [{"type": "text", "text": "{\"a\":1}"}]}}]}))]
#[tokio::test]
async fn frugal_servers_are_understood(#[case] body: Value) {
    let completion = complete(vec![ok(&body)]).await.0.unwrap();
    assert_eq!((completion.json, completion.model.as_str()), (json!({"a": 1}), "gpt-6-luna"));
    assert!(completion.usage.input_tokens == 0 && completion.usage.unmeasured);
}

#[tokio::test]
async fn refusals_go_through_the_common_table() {
    let headers = [("retry-after", "7"), ("x-request-id", "req_2")];
    let error = complete(vec![http(429, &headers, b"{}")]).await.0.unwrap_err();
    assert_eq!(error.fault, Fault::RetryAfter(Duration::from_secs(7)));
    assert!(error.message.starts_with("The analysis server"), "{error}");
}
