//! Stands in for `OpenAI`'s `POST /v1/chat/completions`: knows the analyses of the fixtures by their transcripts.

use std::sync::Arc;

use poem::http::StatusCode;
use poem::web::Data;
use poem::{Body, Endpoint, EndpointExt, Request, Response, handler, post};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::effects::Deed;
use super::fixtures::Fixtures;
use super::openai::{MODEL, Refusal, authorize, json_answer};
use super::read_body;
use super::transcript::{analyze, merge};
use crate::model::{Usage, clock};

/// A two-hour call is about 0.1 MB of text.
const MAX_BODY: usize = 16 * 1024 * 1024;
/// Rule of thumb for English.
const CHARACTERS_PER_TOKEN: usize = 4;

#[derive(Deserialize)]
struct Completion {
    model: String,
    messages: Vec<Message>,
    #[serde(default)]
    response_format: Value,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: Content,
}

/// A string, or a list of parts with a `text` each.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    text: String,
}

pub(super) fn endpoint(fixtures: Fixtures, key: Arc<SecretString>) -> impl Endpoint {
    post(completions).data(fixtures).data(key)
}

#[handler]
async fn completions(
    request: &Request,
    body: Body,
    Data(fixtures): Data<&Fixtures>,
    Data(key): Data<&Arc<SecretString>>,
) -> Response {
    complete(request, body, *fixtures, key).await.unwrap_or_else(Response::from)
}

async fn complete(request: &Request, body: Body, fixtures: Fixtures, key: &SecretString) -> Result<Response, Refusal> {
    authorize(request, key)?;
    let body = read_body(body, MAX_BODY).await.map_err(|error| Refusal::invalid(error.to_string()))?;
    let body = body.map_err(|length| Refusal::too_large(MAX_BODY, length))?;
    let body: Value = serde_json::from_slice(&body)
        .map_err(|error| Refusal::invalid(format!("We could not parse the JSON body of your request: {error}")))?;
    let completion = Completion::deserialize(body).map_err(|error| Refusal::invalid(error.to_string()))?;
    check(&completion)?;
    let answer = answer(&completion, fixtures);
    let tokens = |name: &str| answer["usage"][name].as_i64().unwrap_or_default();
    let (input_tokens, output_tokens) = (tokens("prompt_tokens"), tokens("completion_tokens"));
    let usage = Usage { model: Some(MODEL.to_owned()), input_tokens, output_tokens, ..Usage::default() };
    let asked = completion.messages.iter().map(|message| message.content.text()).collect::<Vec<_>>().join("\n");
    Ok(Deed::to_content(asked.as_bytes(), usage).on(json_answer(StatusCode::OK, &answer)))
}

fn check(completion: &Completion) -> Result<(), Refusal> {
    if completion.model.is_empty() {
        return Err(Refusal::invalid("you must provide a model parameter"));
    }
    if completion.messages.is_empty() {
        return Err(Refusal::invalid("Invalid 'messages': empty array.").param("messages").code("empty_array"));
    }
    let format = &completion.response_format;
    match format["type"].as_str() {
        None if format.is_null() => Ok(()),
        Some("text" | "json_object") => Ok(()),
        Some("json_schema") => check_schema(&format["json_schema"]),
        _ => Err(Refusal::invalid("Invalid value for 'response_format.type'.").param("response_format.type")),
    }
}

fn check_schema(format: &Value) -> Result<(), Refusal> {
    let name = format["name"].as_str().unwrap_or_default();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        return Err(Refusal::invalid("Invalid 'response_format.json_schema.name'.").param("response_format"));
    }
    let problem = match (format["strict"].as_bool(), format["schema"]["type"].as_str()) {
        (_, None) => Some("schema must have a 'type' key".to_owned()),
        (Some(true), Some("object")) => broken_rule(&format["schema"]),
        (Some(true), Some(_)) => Some("schema must be a JSON Schema of 'type: \"object\"'".to_owned()),
        _ => None,
    };
    problem.map_or(Ok(()), |problem| {
        let message = format!("Invalid schema for response_format '{name}': {problem}");
        Err(Refusal::invalid(message).param("response_format").code("invalid_json_schema"))
    })
}

/// The rules of strict mode for objects: every property required, none added.
fn broken_rule(schema: &Value) -> Option<String> {
    if let Some(properties) = schema["properties"].as_object() {
        if schema["additionalProperties"] != json!(false) {
            return Some("'additionalProperties' is required to be supplied and to be false.".to_owned());
        }
        let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some((name, _)) = properties.iter().find(|(name, _)| !required.contains(&json!(name))) {
            return Some(format!("'required' must be an array including every key in properties. Missing '{name}'."));
        }
    }
    match schema {
        Value::Object(members) => members.values().find_map(broken_rule),
        Value::Array(members) => members.iter().find_map(broken_rule),
        _ => None,
    }
}

fn answer(completion: &Completion, fixtures: Fixtures) -> Value {
    let texts = |user_only: bool| -> Vec<String> {
        let wanted = completion.messages.iter().filter(|message| !user_only || message.role == "user");
        wanted.map(|message| message.content.text()).collect()
    };
    let asked = texts(true).join("\n");
    let findings = merge(&asked).unwrap_or_else(|| analyze(fixtures.calls(), &asked));
    let content = serde_json::to_string(&findings).expect("strings and numbers");
    let tokens = |characters: usize| characters.div_ceil(CHARACTERS_PER_TOKEN);
    let input = tokens(texts(false).iter().map(|text| text.chars().count()).sum());
    let output = tokens(content.chars().count());
    json!({
        "id": format!("chatcmpl-standin-{}", Uuid::now_v7().simple()),
        "object": "chat.completion",
        "created": clock::now().timestamp(),
        "model": MODEL,
        "choices": [{
            "index": 0, "finish_reason": "stop", "logprobs": null,
            "message": {"role": "assistant", "content": content, "refusal": null},
        }],
        "usage": {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output},
    })
}

impl Content {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join("\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::super::fixtures::Findings;
    use super::*;
    use crate::dev::standins::{Standins, http_client};

    async fn send(standins: &Standins, key: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/chat/completions", standins.openai_url);
        let response = http_client().post(url).bearer_auth(key).json(body).send().await.unwrap();
        assert!(response.headers().contains_key("x-request-id"));
        (response.status().as_u16(), response.json().await.unwrap())
    }

    fn request(transcript: &str, schema: &Value) -> Value {
        json!({
            "model": "gpt-6-luna",
            "messages": [{"role": "system", "content": "Summarise."}, {"role": "user", "content": transcript}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": true, "schema": schema}},
        })
    }

    #[tokio::test]
    async fn a_fixture_is_analyzed_as_a_good_model_would() {
        let standins = Standins::start(Fixtures::embedded()).await.unwrap();
        let call = Fixtures::embedded().call("delivery-late").unwrap();
        let lines =
            call.segments.iter().enumerate().map(|(at, turn)| format!("[{at}] {} 0:00: {}", turn.channel, turn.text));
        let schema = json!({"type": "object", "additionalProperties": false, "required": [], "properties": {}});
        let body = request(&lines.collect::<Vec<_>>().join("\n"), &schema);
        let (status, answer) = send(&standins, standins.key.expose_secret(), &body).await;
        assert_eq!((status, &answer["model"]), (200, &json!("stand-in")));
        let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Findings>(content).unwrap(), call.analysis);
        assert!(answer["usage"]["prompt_tokens"].as_u64().unwrap() > 50);
        assert_eq!(standins.requests("language_model"), 1);
        let (usage, bill) = (&answer["usage"], standins.bill());
        assert_eq!((usage["prompt_tokens"].as_i64(), bill.audio_seconds), (Some(bill.input_tokens), 0.0));
        assert_eq!(usage["completion_tokens"].as_i64(), Some(bill.output_tokens));
    }

    #[tokio::test]
    async fn refusals_have_the_shape_of_openai() {
        let standins = Standins::start(Fixtures::embedded()).await.unwrap();
        let key = standins.key.expose_secret();
        let loose = json!({"type": "object", "properties": {"list": {"type": "array", "items": {
            "type": "object", "additionalProperties": false, "required": ["a"], "properties": {"a": {}, "b": {}}}}},
            "additionalProperties": false, "required": ["list"]});
        let cases = [
            (send(&standins, "wrong", &json!({})).await, 401, "Incorrect API key"),
            (send(&standins, key, &json!({"messages": []})).await, 400, "model"),
            (send(&standins, key, &json!({"model": "m", "messages": []})).await, 400, "empty array"),
            (send(&standins, key, &request("Hello.", &loose)).await, 400, "Missing 'b'"),
        ];
        for ((status, body), expected, message) in cases {
            assert_eq!(status, expected);
            assert!(body["error"]["message"].as_str().unwrap().contains(message), "{body}");
        }
    }
}
