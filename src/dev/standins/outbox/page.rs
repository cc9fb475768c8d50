//! The page of the outbox: Slack messages drawn as Slack would, mails beside them.

use askama::Template;
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::mrkdwn::{self, Span};
use super::{Gone, Mail, Outbox, SlackMessage, Via};

#[derive(Template)]
#[template(path = "dev/outbox.html")]
struct Page<'a> {
    /// The command line that sends a call.
    simulate: &'a str,
    revision: u64,
    gone: Gone,
    slack: Vec<MessageView>,
    mail: Vec<MailView>,
}

struct MessageView {
    time: String,
    via: &'static str,
    channel: String,
    /// The top-level text: what a notification shows, and the whole message when there are no blocks.
    text: Vec<Span>,
    blocks: Vec<Block>,
    source: String,
}

struct MailView {
    number: u64,
    time: String,
    from: String,
    to: String,
    subject: String,
    date: String,
    text: Option<String>,
    has_html: bool,
    raw: String,
}

enum Block {
    Header(Vec<Span>),
    Section {
        text: Vec<Span>,
        fields: Vec<Vec<Span>>,
        buttons: Vec<Button>,
    },
    Context(Vec<Vec<Span>>),
    Actions(Vec<Button>),
    Divider,
    /// A kind that is not drawn, by its name.
    Other(String),
}

struct Button {
    text: String,
    style: String,
    link: Option<String>,
}

/// The whole page, newest first.
pub(super) fn render(outbox: &Outbox, simulate: &str) -> askama::Result<String> {
    let slack = outbox.slack().iter().rev().map(MessageView::of).collect();
    let mail = outbox.mail().into_iter().rev().map(MailView::of).collect();
    Page { simulate, revision: outbox.revision(), gone: outbox.gone(), slack, mail }.render()
}

impl MessageView {
    fn of(message: &SlackMessage) -> Self {
        let blocks = message.body["blocks"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            time: clock_time(message.received_at),
            via: match message.via {
                Via::Webhook => "incoming webhook",
                Via::Bot => "chat.postMessage",
            },
            channel: message.channel.clone(),
            text: mrkdwn::spans(message.body["text"].as_str().unwrap_or_default()),
            blocks: blocks.iter().map(Block::of).collect(),
            source: serde_json::to_string_pretty(&message.body).unwrap_or_default(),
        }
    }
}

impl MailView {
    fn of(mail: Mail) -> Self {
        Self {
            number: mail.number,
            time: clock_time(mail.received_at),
            from: mail.from,
            to: mail.to.join(", "),
            subject: mail.subject.unwrap_or_else(|| "(no subject)".to_owned()),
            date: mail.date.unwrap_or_else(|| "(no date)".to_owned()),
            text: mail.text,
            has_html: mail.html.is_some(),
            raw: mail.raw,
        }
    }
}

impl Block {
    fn of(block: &Value) -> Self {
        let all = |name: &str| block[name].as_array().map(Vec::as_slice).unwrap_or_default();
        match block["type"].as_str().unwrap_or_default() {
            "header" => Self::Header(text(&block["text"])),
            "section" => Self::Section {
                text: text(&block["text"]),
                fields: all("fields").iter().map(text).collect(),
                buttons: Button::of(&block["accessory"]).into_iter().collect(),
            },
            "context" => Self::Context(all("elements").iter().map(text).collect()),
            "actions" => Self::Actions(all("elements").iter().filter_map(Button::of).collect()),
            "divider" => Self::Divider,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl Button {
    fn of(element: &Value) -> Option<Self> {
        let style = element["style"].as_str().filter(|style| ["primary", "danger"].contains(style)).unwrap_or_default();
        (element["type"] == "button").then(|| Self {
            text: text(&element["text"]).into_iter().map(|span| span.text).collect(),
            style: style.to_owned(),
            link: element["url"].as_str().and_then(mrkdwn::safe_link),
        })
    }
}

/// A text object, or the alternative text of an image: pictures are not loaded.
fn text(object: &Value) -> Vec<Span> {
    let content = object["text"].as_str().unwrap_or_default();
    match object["type"].as_str() {
        Some("mrkdwn") => mrkdwn::spans(content),
        Some("image") => mrkdwn::plain(&format!("[{}]", object["alt_text"].as_str().unwrap_or("image"))),
        _ => mrkdwn::plain(content),
    }
}

fn clock_time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
