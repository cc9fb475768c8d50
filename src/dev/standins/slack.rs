//! Stands in for Slack: an incoming webhook, and `chat.postMessage` for bots.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use poem::http::StatusCode;
use poem::web::{Data, Json};
use poem::{Body, Endpoint, EndpointExt, IntoResponse, Request, Response, Route, handler, post};
use regex::Regex;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::effects::Deed;
use super::outbox::{Outbox, SlackMessage, Via};
use super::{bearer_is, blocks, read_body};
use crate::model::clock;

/// Slack's own limit is not told; messages are far smaller.
const MAX_BODY: usize = 1024 * 1024;
/// `chat.postMessage` refuses more characters over all blocks (reported by users: 12,000 to 13,000).
const MAX_ALL_BLOCKS: usize = 13_000;
/// Channel of the webhook, which is fixed when a real one is made.
const WEBHOOK_CHANNEL: &str = "#stand-in";

static UUID: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").expect("a constant"));

/// What a bot shows as bearer.
pub(super) fn bot_token(key: &SecretString) -> SecretString {
    SecretString::from(format!("xoxb-{}", key.expose_secret()))
}

/// `POST webhook` without a key, as at Slack, where the URL itself is the secret; `POST api/chat.postMessage` with a
/// bot token.
pub(super) fn routes(outbox: Outbox, key: Arc<SecretString>) -> impl Endpoint {
    Route::new()
        .at("/webhook", post(webhook))
        .at("/api/chat.postMessage", post(post_message))
        .data(outbox)
        .data(Arc::new(bot_token(&key)))
}

#[handler]
async fn webhook(body: Body, Data(outbox): Data<&Outbox>) -> Response {
    let checked = parse(body).await.and_then(|body| check(&body).map(|()| body).map_err(|(error, _)| error));
    match checked {
        Ok(body) => {
            let deed = Deed::to(call_in(&body));
            keep(outbox, Via::Webhook, WEBHOOK_CHANNEL, body);
            deed.on("ok".into_response())
        }
        Err(error) => error.with_status(StatusCode::BAD_REQUEST).into_response(),
    }
}

#[handler]
async fn post_message(
    request: &Request,
    body: Body,
    Data(outbox): Data<&Outbox>,
    Data(token): Data<&Arc<SecretString>>,
) -> Response {
    let refuse = |error: &str, messages: &[String]| {
        Json(json!({"ok": false, "error": error, "response_metadata": {"messages": messages}})).into_response()
    };
    match bearer_is(request, token) {
        Some(true) => {}
        Some(false) => return refuse("invalid_auth", &[]),
        None => return refuse("not_authed", &[]),
    }
    let Ok(body) = parse(body).await else { return refuse("invalid_json", &[]) };
    let Some(channel) = body["channel"].as_str().filter(|channel| !channel.is_empty()).map(str::to_owned) else {
        return refuse("channel_not_found", &[]);
    };
    if let Err((error, messages)) = check(&body) {
        return refuse(error, &messages);
    }
    if blocks::characters(&body["blocks"]) > MAX_ALL_BLOCKS {
        return refuse("msg_blocks_too_long", &[]);
    }
    let message = body.clone();
    let deed = Deed::to(call_in(&message));
    let ts = keep(outbox, Via::Bot, &channel, body);
    deed.on(Json(json!({"ok": true, "channel": channel, "ts": ts, "message": message})).into_response())
}

async fn parse(body: Body) -> Result<Value, &'static str> {
    let body: Bytes = read_body(body, MAX_BODY).await.ok().and_then(Result::ok).ok_or("invalid_payload")?;
    serde_json::from_slice(&body).ok().filter(Value::is_object).ok_or("invalid_payload")
}

/// Slack's word for what is wrong, and sentences for the one who sent it.
fn check(body: &Value) -> Result<(), (&'static str, Vec<String>)> {
    let text = body["text"].as_str().unwrap_or_default();
    let has_blocks = body["blocks"].as_array().is_some_and(|blocks| !blocks.is_empty());
    if text.is_empty() && !has_blocks {
        return Err(("no_text", Vec::new()));
    }
    let problems = blocks::problems(&body["blocks"]);
    if problems.is_empty() { Ok(()) } else { Err(("invalid_blocks", problems)) }
}

/// The first UUID in a message: the product names the call's id. Empty when there is none.
fn call_in(body: &Value) -> String {
    UUID.find(&body.to_string()).map_or_else(String::new, |found| found.as_str().to_owned())
}

/// Puts the message into the outbox and gives its `ts`: the time in microseconds, unique per channel at Slack.
fn keep(outbox: &Outbox, via: Via, channel: &str, body: Value) -> String {
    let received_at = clock::now();
    outbox.add_slack(SlackMessage { received_at, via, channel: channel.to_owned(), body });
    let micros = received_at.timestamp_micros();
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::standins::{Fixtures, Standins, http_client};

    async fn hook(standins: &Standins, body: &str) -> (u16, String) {
        let request = http_client().post(standins.slack_webhook_url.clone()).body(body.to_owned());
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn call(standins: &Standins, token: Option<&str>, body: &Value) -> Value {
        let request = http_client().post(format!("{}/chat.postMessage", standins.slack_api_url)).json(body);
        let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
        request.send().await.unwrap().json().await.unwrap()
    }

    #[tokio::test]
    async fn the_webhook_answers_in_slacks_words() {
        let standins = Standins::start(Fixtures::embedded()).await.unwrap();
        let refused = |text: &str| (400, text.to_owned());
        assert_eq!(hook(&standins, r#"{"text":"A call"}"#).await, (200, "ok".to_owned()));
        assert_eq!(hook(&standins, "text=A call").await, refused("invalid_payload"));
        assert_eq!(hook(&standins, r#"["text"]"#).await, refused("invalid_payload"));
        assert_eq!(hook(&standins, r#"{"text":""}"#).await, refused("no_text"));
        assert_eq!(hook(&standins, r#"{"blocks":[{"type":"header"}]}"#).await, refused("invalid_blocks"));
        let kept = standins.outbox.slack();
        assert_eq!((kept.len(), kept[0].via, &kept[0].body), (1, Via::Webhook, &json!({"text": "A call"})));
        assert_eq!(standins.requests("slack"), 5);
    }

    #[tokio::test]
    async fn a_bot_needs_its_token_and_learns_channel_and_ts() {
        let standins = Standins::start(Fixtures::embedded()).await.unwrap();
        let token = standins.slack_bot_token();
        let token = Some(token.expose_secret());
        let message = json!({"channel": "C01", "text": "A call"});
        assert_eq!(call(&standins, None, &message).await["error"], "not_authed");
        assert_eq!(call(&standins, Some("xoxb-wrong"), &message).await["error"], "invalid_auth");
        assert_eq!(call(&standins, token, &json!({"text": "A call"})).await["error"], "channel_not_found");
        let long = json!({"type": "section", "text": {"type": "mrkdwn", "text": "x".repeat(3000)}});
        let long = json!({"channel": "C01", "text": "A call", "blocks": [long, long, long, long, long]});
        assert_eq!(call(&standins, token, &long).await["error"], "msg_blocks_too_long");
        let broken = json!({"channel": "C01", "text": "A call", "blocks": [{"type": "dividers"}]});
        let answer = call(&standins, token, &broken).await;
        assert_eq!(answer["error"], "invalid_blocks");
        assert!(answer["response_metadata"]["messages"][0].as_str().unwrap().contains("dividers"));

        let answer = call(&standins, token, &message).await;
        assert_eq!((&answer["ok"], &answer["channel"]), (&json!(true), &json!("C01")));
        assert!(answer["ts"].as_str().unwrap().contains('.'));
        assert_eq!(standins.outbox.slack().len(), 1);
    }
}
