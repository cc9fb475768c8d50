//! The language model: an OpenAI-compatible `/chat/completions` that answers with one JSON object.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use reqwest::Client;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::openai_errors::quote;
use super::openai_server::{ANALYSIS, Answer, Failure, Server, tokens};
use crate::config::{AnalysisConfig, StructuredOutput, TokenLimitField};
use crate::model::{FailureClass, Fault, UpstreamError, Usage};

/// What to do about a model that refuses.
const ANOTHER_MODEL: &str = "Choose another ANALYSIS_MODEL and run the job again, or leave the call as it is.";
/// How much longer an answer may become when it was cut off.
const LONGER: u32 = 2;

/// A question to the model.
#[derive(Debug, Clone)]
pub struct CompletionRequest<'a> {
    /// What to do. Nothing confidential.
    pub system: String,
    /// What to do it with: the transcript. Never repeated in an error.
    pub user: String,
    /// Name of the answer's form, `[A-Za-z0-9_-]{1,64}`.
    pub schema_name: &'a str,
    /// The answer's form, within the rules of strict mode.
    pub schema: Value,
    /// Limit of the answer, the model's hidden reasoning included: not under 4000.
    pub max_output_tokens: u32,
    /// The answer given before and what was wrong with it, when the model is to mend it. An empty answer is left out.
    pub repair: Option<(String, String)>,
}

/// The model's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Completion {
    /// What the model answered, read as JSON: whether it keeps to the schema is for the caller to check. A text that is
    /// no JSON object is a string here, and no text is null: a repair question may mend that.
    pub json: Value,
    /// The model as the server named it, else as the settings do.
    pub model: String,
    /// What it cost, a first answer that was cut off included.
    pub usage: Usage,
    /// The upstream's id of the (last) request.
    pub request_id: Option<String>,
    /// Why the model stopped: `stop`, or what else the server calls it; empty when it does not say.
    pub finish_reason: String,
}

/// Asks the language model. Cheap to clone; the clones share connections and what they have learned of the server.
#[derive(Debug, Clone)]
pub struct LanguageModel {
    server: Server,
    model: String,
    field: TokenLimitField,
    structured_output: StructuredOutput,
    /// The server wants the other field than the settings say.
    other_field: Arc<AtomicBool>,
    /// How many forms of asking for JSON the server was found not to know, from that of the settings on.
    forms_unknown: Arc<AtomicU8>,
}

impl LanguageModel {
    /// The server and model of the settings. `timeout` bounds each request.
    pub fn new(config: &AnalysisConfig, http: Client, timeout: Duration) -> Self {
        let path = ["chat", "completions"];
        Self {
            server: Server::new(&config.base_url, path, config.api_key.as_ref(), http, timeout, &ANALYSIS),
            model: config.model.clone(),
            field: config.token_limit_field,
            structured_output: config.structured_output,
            other_field: Arc::default(),
            forms_unknown: Arc::default(),
        }
    }

    /// Fails, as [`Fault::Blocked`], while there is no key for a server that wants one.
    pub fn is_configured(&self) -> Result<(), UpstreamError> {
        self.server.configured()
    }

    /// One answer. An answer that was cut off is asked for once more with twice the tokens, then it is `cut_off` for
    /// good. A repeated request is paid for again.
    pub async fn complete(&self, request: &CompletionRequest<'_>) -> Result<Completion, UpstreamError> {
        self.is_configured()?;
        let mut usage = Usage::default();
        let mut max_tokens = request.max_output_tokens;
        let mut cut_off_id = None;
        for _ in 0..2 {
            let asked = self.ask(request, max_tokens).await;
            let Answer { json, request_id } = asked.map_err(|error| error.with_usage(usage.clone()))?;
            usage.add(&self.usage(&json));
            if json["choices"][0]["finish_reason"] != "length" {
                return match self.read(&json, &request.user) {
                    Ok(completion) => Ok(Completion { usage, request_id, ..completion }),
                    Err(error) => Err(error.with_request_id(request_id).with_usage(usage)),
                };
            }
            max_tokens = max_tokens.saturating_mul(LONGER);
            cut_off_id = request_id;
        }
        let text = "The model's answer was cut off twice, also with twice the tokens. Choose another ANALYSIS_MODEL \
                    and run the job again.";
        Err(UpstreamError::new(Fault::Permanent, FailureClass::CutOff, text)
            .with_request_id(cut_off_id)
            .with_usage(usage))
    }

    /// Sends the question, and once more with the other name of the token limit, or with a simpler form of asking for
    /// JSON, if the server does not know the one. What was learned is kept for the next question.
    async fn ask(&self, request: &CompletionRequest<'_>, max_tokens: u32) -> Result<Answer, UpstreamError> {
        let known = self.other_field.load(Ordering::Relaxed);
        let (mut other, mut unknown) = (known, self.forms_unknown.load(Ordering::Relaxed));
        loop {
            let (field, form) = (self.field_name(other), simpler(self.structured_output, unknown));
            let body = self.body(request, field, form, max_tokens);
            match self.server.send(self.server.post().json(&body)).await {
                Err(Failure::Refused(refusal)) if other == known && refusal.is_about_field(field) => other = !known,
                Err(Failure::Refused(refusal))
                    if form != StructuredOutput::Prompt && refusal.is_about_response_format() =>
                {
                    tracing::info!(
                        form = form.as_str(),
                        "The analysis server does not know this form of answer; asking for a simpler one."
                    );
                    unknown += 1;
                }
                Err(failure) => return Err(self.server.error(failure, &request.user)),
                Ok(answer) => {
                    self.other_field.store(other, Ordering::Relaxed);
                    self.forms_unknown.store(unknown, Ordering::Relaxed);
                    return Ok(answer);
                }
            }
        }
    }

    fn field_name(&self, other: bool) -> &'static str {
        match (self.field, other) {
            (TokenLimitField::MaxCompletionTokens, false) | (TokenLimitField::MaxTokens, true) => {
                "max_completion_tokens"
            }
            (TokenLimitField::MaxTokens, false) | (TokenLimitField::MaxCompletionTokens, true) => "max_tokens",
        }
    }

    /// No temperature (reasoning models refuse it), no seed: only what every compatible server understands.
    fn body(&self, request: &CompletionRequest<'_>, field: &str, form: StructuredOutput, max_tokens: u32) -> Value {
        let schema = &request.schema;
        let mut system = request.system.clone();
        if form != StructuredOutput::JsonSchema {
            system.push_str("\n\nAnswer with one JSON object and nothing else. It keeps to this JSON schema:\n");
            system.push_str(&schema.to_string());
        }
        let mut messages = vec![message("system", &system), message("user", &request.user)];
        if let Some((answer, problem)) = &request.repair {
            if !answer.is_empty() {
                messages.push(message("assistant", answer));
            }
            messages.push(message("user", problem));
        }
        let mut body = json!({"model": self.model, "messages": messages, field: max_tokens});
        match form {
            StructuredOutput::JsonSchema => {
                let form = json!({"name": request.schema_name, "strict": true, "schema": schema});
                body["response_format"] = json!({"type": "json_schema", "json_schema": form});
            }
            StructuredOutput::JsonObject => body["response_format"] = json!({"type": "json_object"}),
            StructuredOutput::Prompt => {}
        }
        body
    }

    /// Reads a whole answer; usage and request id are the caller's.
    fn read(&self, json: &Value, sent: &str) -> Result<Completion, UpstreamError> {
        let choice = &json["choices"][0];
        let finish_reason = choice["finish_reason"].as_str().unwrap_or_default().to_owned();
        if finish_reason == "content_filter" {
            return Err(refused(format!("The analysis server's content filter stopped the answer. {ANOTHER_MODEL}")));
        }
        if let Some(words) = choice["message"]["refusal"].as_str().filter(|words| !words.is_empty()) {
            let words = quote(words, sent).map(|words| format!(" (\"{words}\")")).unwrap_or_default();
            return Err(refused(format!("The model refused to analyze the call{words}. {ANOTHER_MODEL}")));
        }
        if !choice["message"].is_object() {
            return Err(self.server.bad_answer("without a message"));
        }
        let content = content(&choice["message"]["content"]);
        let model = json["model"].as_str().unwrap_or(&self.model).to_owned();
        Ok(Completion {
            json: content.map_or(Value::Null, object),
            model,
            usage: Usage::default(),
            request_id: None,
            finish_reason,
        })
    }

    /// Nothing where there is no answer of a model in it.
    fn usage(&self, json: &Value) -> Usage {
        let usage = &json["usage"];
        let (input, output) = (tokens(&usage["prompt_tokens"]), tokens(&usage["completion_tokens"]));
        let measured = input.is_some() && output.is_some();
        if !measured && !json["choices"][0].is_object() {
            return Usage::default();
        }
        Usage {
            model: Some(json["model"].as_str().unwrap_or(&self.model).to_owned()),
            input_tokens: input.unwrap_or(0),
            cached_tokens: tokens(&usage["prompt_tokens_details"]["cached_tokens"]).unwrap_or(0),
            output_tokens: output.unwrap_or(0),
            unmeasured: !measured,
            ..Usage::default()
        }
    }
}

fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

fn refused(text: String) -> UpstreamError {
    UpstreamError::new(Fault::Permanent, FailureClass::Refused, text)
}

/// A message's content: a string, or at some servers a list of parts.
fn content(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => Some(parts.iter().filter_map(|part| part["text"].as_str()).collect()),
        _ => None,
    }
}

/// The JSON object in a text, whatever stands around it (the thoughts that some servers leave before it, a Markdown code
/// fence, a friendly word); else the text.
fn object(text: String) -> Value {
    let thought = text.trim_start().strip_prefix("<think>").and_then(|text| text.split_once("</think>"));
    let text = thought.map_or(text.as_str(), |(_, answer)| answer);
    let inner = text.find('{').zip(text.rfind('}')).and_then(|(start, end)| text.get(start..=end));
    let object = inner.and_then(|inner| serde_json::from_str(inner).ok());
    object.filter(Value::is_object).unwrap_or(Value::String(text.to_owned()))
}

/// The form of asking for JSON that is left when the server does not know so many.
fn simpler(form: StructuredOutput, unknown: u8) -> StructuredOutput {
    match (form, unknown) {
        (form, 0) => form,
        (StructuredOutput::JsonSchema, 1) => StructuredOutput::JsonObject,
        _ => StructuredOutput::Prompt,
    }
}

#[cfg(test)]
mod tests;
