//! What the stand-ins for Slack and mail received, for people under `/dev/outbox` and for tests as JSON.

mod mrkdwn;
mod page;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use mail_parser::{MessageParser, PartType};
use poem::error::NotFoundError;
use poem::http::StatusCode;
use poem::web::{Data, Json, Path};
use poem::{Endpoint, EndpointExt, IntoResponse, Response, Route, get, handler};
use serde::Serialize;
use serde_json::{Value, json};

use crate::model::clock;

/// Of each kind; the oldest go.
const MOST_KEPT: usize = 200;
/// Nothing may be loaded but our own style and script and our own frames.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                           frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// A mail may bring its own style; it may neither run nor load nor send anything.
const MAIL_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
                           form-action 'none'; frame-ancestors 'self'; \
                           sandbox allow-popups allow-popups-to-escape-sandbox";
/// A link in a mail opens beside the page: the product's own pages refuse to be framed.
const MAIL_LINKS: &str = "<base target=\"_blank\">";

/// The newest 200 Slack messages and mails. Copies share one content, which lives as long as the process.
#[derive(Debug, Clone, Default)]
pub struct Outbox(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    slack: VecDeque<SlackMessage>,
    mail: VecDeque<Mail>,
    /// Mails ever received, for their numbers.
    mails: u64,
    /// How many went because newer ones came.
    gone: Gone,
    /// Goes up with every change, so that a page knows when to look again.
    revision: u64,
}

/// How many messages of each kind are not kept any more.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Gone {
    slack: u64,
    mail: u64,
}

/// Which door of Slack a message came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// The incoming webhook.
    Webhook,
    /// `chat.postMessage`.
    Bot,
}

/// An accepted Slack message.
#[derive(Debug, Clone, Serialize)]
pub struct SlackMessage {
    /// When it was accepted.
    pub received_at: DateTime<Utc>,
    /// Webhook or bot.
    pub via: Via,
    /// As the bot named it; a made-up one for the webhook.
    pub channel: String,
    /// The request's body as it came.
    pub body: Value,
}

/// An accepted mail.
#[derive(Debug, Clone, Serialize)]
pub struct Mail {
    /// Identifies the mail within this run.
    #[serde(skip)]
    pub number: u64,
    /// When it was accepted.
    pub received_at: DateTime<Utc>,
    /// The envelope's sender, without angle brackets.
    pub from: String,
    /// The envelope's recipients, without angle brackets.
    pub to: Vec<String>,
    /// Header `Message-ID` without angle brackets.
    pub message_id: Option<String>,
    /// Header `Subject`, decoded.
    pub subject: Option<String>,
    /// Header `Date` as RFC 3339.
    pub date: Option<String>,
    /// The first `text/plain` part, decoded.
    pub text: Option<String>,
    /// The first `text/html` part, decoded.
    pub html: Option<String>,
    /// The whole mail as it came, dots unstuffed; what is not UTF-8 is replaced.
    pub raw: String,
}

impl Outbox {
    /// All Slack messages, oldest first.
    pub fn slack(&self) -> Vec<SlackMessage> {
        self.lock().slack.iter().cloned().collect()
    }

    /// All mails, oldest first.
    pub fn mail(&self) -> Vec<Mail> {
        self.lock().mail.iter().cloned().collect()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut content = self.lock();
        content.slack.clear();
        content.mail.clear();
        content.gone = Gone::default();
        content.revision += 1;
    }

    pub(super) fn add_slack(&self, message: SlackMessage) {
        let mut content = self.lock();
        content.revision += 1;
        content.slack.push_back(message);
        if content.slack.len() > MOST_KEPT {
            content.slack.pop_front();
            content.gone.slack += 1;
        }
    }

    /// Gives the mail its number.
    pub(super) fn add_mail(&self, mail: Mail) -> u64 {
        let mut content = self.lock();
        content.revision += 1;
        content.mails += 1;
        let number = content.mails;
        content.mail.push_back(Mail { number, ..mail });
        if content.mail.len() > MOST_KEPT {
            content.mail.pop_front();
            content.gone.mail += 1;
        }
        number
    }

    fn gone(&self) -> Gone {
        self.lock().gone
    }

    fn revision(&self) -> u64 {
        self.lock().revision
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mail {
    /// Takes a mail apart. One that is no MIME still shows as it came.
    pub(super) fn read(from: String, to: Vec<String>, raw: Vec<u8>) -> Self {
        let parsed = MessageParser::default().parse(&raw);
        let header = |read: fn(&mail_parser::Message<'_>) -> Option<String>| parsed.as_ref().and_then(read);
        Self {
            number: 0,
            received_at: clock::now(),
            from,
            to,
            message_id: header(|mail| mail.message_id().map(str::to_owned)),
            subject: header(|mail| mail.subject().map(str::to_owned)),
            date: header(|mail| mail.date().map(mail_parser::DateTime::to_rfc3339)),
            text: header(|mail| part(mail, false)),
            html: header(|mail| part(mail, true)),
            raw: String::from_utf8_lossy(&raw).into_owned(),
        }
    }
}

fn part(mail: &mail_parser::Message<'_>, html: bool) -> Option<String> {
    mail.parts.iter().find_map(|part| match &part.body {
        PartType::Text(text) if !html => Some(text.to_string()),
        PartType::Html(text) if html => Some(text.to_string()),
        _ => None,
    })
}

/// The command line that sends a call.
#[derive(Clone)]
struct SimulateCommand(String);

/// The doors to the outbox. Made to be nested at `/dev` of the product's own server, on loopback only, since they ask
/// for no key. `simulate` is the command line that an empty outbox offers.
///
/// | door | does |
/// |---|---|
/// | `GET /outbox` | shows everything, newest first |
/// | `DELETE /outbox` | empties it: 204 |
/// | `GET /outbox.json` | `{"slack":[{"received_at","via","channel","body"}],"mail":[{"received_at","from","to","message_id","subject","date","text","html","raw"}],"gone":{"slack":0,"mail":0}}`, oldest first; `gone` = not kept any more |
/// | `GET /outbox/mail/N` | the HTML part of a mail, for the page's frames |
/// | `GET /outbox/revision` | a number that goes up with every change |
pub fn routes(outbox: Outbox, simulate: impl Into<String>) -> impl Endpoint<Output = Response> {
    Route::new()
        .at("/outbox", get(show).delete(clear))
        .at("/outbox.json", get(as_json))
        .at("/outbox/mail/:number", get(mail_html))
        .at("/outbox/revision", get(count_changes))
        .at("/outbox/outbox.css", get(style))
        .at("/outbox/outbox.js", get(script))
        .data(outbox)
        .data(SimulateCommand(simulate.into()))
        .map_to_response()
}

#[handler]
fn show(Data(outbox): Data<&Outbox>, Data(simulate): Data<&SimulateCommand>) -> Response {
    match page::render(outbox, &simulate.0) {
        Ok(html) => asset("text/html; charset=utf-8", html)
            .with_header("content-security-policy", PAGE_POLICY)
            .with_header("cache-control", "no-store")
            .into_response(),
        Err(error) => error.to_string().with_status(StatusCode::INTERNAL_SERVER_ERROR).into_response(),
    }
}

#[handler]
fn clear(Data(outbox): Data<&Outbox>) -> StatusCode {
    outbox.clear();
    StatusCode::NO_CONTENT
}

#[handler]
fn as_json(Data(outbox): Data<&Outbox>) -> Json<Value> {
    Json(json!({"slack": outbox.slack(), "mail": outbox.mail(), "gone": outbox.gone()}))
}

#[handler]
fn count_changes(Data(outbox): Data<&Outbox>) -> String {
    outbox.revision().to_string()
}

#[handler]
fn mail_html(Path(number): Path<u64>, Data(outbox): Data<&Outbox>) -> poem::Result<Response> {
    let html = outbox.mail().into_iter().find(|mail| mail.number == number).and_then(|mail| mail.html);
    let html = html.ok_or(NotFoundError)?;
    let answer = asset("text/html; charset=utf-8", format!("{MAIL_LINKS}{html}"));
    Ok(answer.with_header("content-security-policy", MAIL_POLICY).into_response())
}

#[handler]
fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("../../../../templates/dev/outbox.css"))
}

#[handler]
fn script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("../../../../templates/dev/outbox.js"))
}

fn asset(content_type: &'static str, body: impl Into<poem::Body>) -> Response {
    Response::builder().content_type(content_type).header("x-content-type-options", "nosniff").body(body)
}

#[cfg(test)]
mod tests {
    use poem::Request;
    use poem::http::{Method, Uri};

    use super::*;

    async fn ask(outbox: &Outbox, method: Method, path: &'static str) -> Response {
        let doors = Route::new().nest("/dev", routes(outbox.clone(), "./goto-automation simulate"));
        let request = Request::builder().method(method).uri(Uri::from_static(path)).finish();
        doors.get_response(request).await
    }

    fn mail(subject: &str) -> Mail {
        let raw =
            format!("Subject: {subject}\r\nContent-Type: text/html\r\n\r\n<p onclick=alert(1)>&lt;Hello&gt;</p>\r\n");
        Mail::read("calls@example.com".to_owned(), vec!["dana@example.com".to_owned()], raw.into_bytes())
    }

    fn message(text: &str) -> SlackMessage {
        let body = json!({"text": text});
        SlackMessage { received_at: clock::now(), via: Via::Webhook, channel: "#calls".to_owned(), body }
    }

    #[tokio::test]
    async fn the_list_is_stable_and_can_be_emptied() {
        let outbox = Outbox::default();
        outbox.add_slack(message("A call"));
        outbox.add_mail(mail("A call"));
        let list = ask(&outbox, Method::GET, "/dev/outbox.json").await.into_body().into_json::<Value>().await.unwrap();
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&list["slack"][0]), ["body", "channel", "received_at", "via"]);
        let expected = ["date", "from", "html", "message_id", "raw", "received_at", "subject", "text", "to"];
        assert_eq!(names(&list["mail"][0]), expected);
        assert_eq!((&list["slack"][0]["via"], &list["mail"][0]["text"]), (&json!("webhook"), &Value::Null));

        assert_eq!(ask(&outbox, Method::DELETE, "/dev/outbox").await.status(), 204);
        assert!(outbox.slack().is_empty() && outbox.mail().is_empty());
        let revision = ask(&outbox, Method::GET, "/dev/outbox/revision").await.into_body().into_string().await;
        assert_eq!(revision.unwrap(), "3");
    }

    #[tokio::test]
    async fn only_the_newest_are_kept() {
        let outbox = Outbox::default();
        for number in 0..MOST_KEPT + 5 {
            outbox.add_slack(message(&number.to_string()));
            outbox.add_mail(mail(&number.to_string()));
        }
        assert_eq!((outbox.slack().len(), outbox.mail().len()), (MOST_KEPT, MOST_KEPT));
        assert_eq!(outbox.slack()[0].body["text"], "5");
        assert_eq!(outbox.mail()[0].subject.as_deref(), Some("5"));
        let told = "The newest 200. 5 older ones are not kept.";
        let page = ask(&outbox, Method::GET, "/dev/outbox").await.into_body().into_string().await.unwrap();
        assert_eq!(page.matches(told).count(), 2);
        outbox.clear();
        outbox.add_slack(message("A call"));
        let page = ask(&outbox, Method::GET, "/dev/outbox").await.into_body().into_string().await.unwrap();
        assert!(!page.contains("not kept"));
    }

    #[tokio::test]
    async fn nothing_in_the_outbox_can_run_on_its_pages() {
        let outbox = Outbox::default();
        outbox.add_slack(message("<script>alert(1)</script> <javascript:alert(1)|click> <https://example.com|site>"));
        let number = outbox.add_mail(mail("<img src=x onerror=alert(1)>"));
        assert_eq!(number, 1);
        let page = ask(&outbox, Method::GET, "/dev/outbox").await;
        assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("script-src 'self'"));
        let page = page.into_body().into_string().await.unwrap();
        for forbidden in ["<script>alert", "<img src=x", "href=\"javascript:", "<p onclick"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert!(page.contains("href=\"https://example.com\"") && page.contains("<iframe sandbox="), "{page}");
        let mail = ask(&outbox, Method::GET, "/dev/outbox/mail/1").await;
        assert!(mail.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    }

    #[tokio::test]
    async fn an_empty_outbox_says_how_to_fill_it() {
        let page = ask(&Outbox::default(), Method::GET, "/dev/outbox").await.into_body().into_string().await.unwrap();
        assert!(page.contains("<pre>./goto-automation simulate</pre>"), "{page}");
    }
}
