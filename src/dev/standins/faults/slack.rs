//! How Slack misbehaves (docs.slack.dev: "Sending messages using incoming webhooks", "chat.postMessage").

use poem::http::StatusCode;
use poem::{IntoResponse, Response};
use serde_json::json;

use super::catalogue::{Act, Fault, Scene};
use crate::dev::standins::Upstream;

/// What tells the bot's door from the webhook's.
const BOT_PATH: &str = "chat.postMessage";

/// A word of Slack's: its HTTP status as an incoming webhook says it, if it does, and whether `chat.postMessage` says
/// it (in a 200 answer).
type Word = (&'static str, Option<u16>, bool);

const WORDS: &[Word] = &[
    ("invalid_payload", Some(400), false),
    ("invalid_blocks", Some(400), true),
    ("no_text", Some(400), true),
    ("user_not_found", Some(400), false),
    ("action_prohibited", Some(403), false),
    ("invalid_token", Some(403), false),
    ("channel_not_found", Some(404), true),
    ("no_service", Some(404), false),
    ("no_team", Some(404), false),
    ("channel_is_archived", Some(410), false),
    ("rollup_error", Some(500), false),
    ("ratelimited", None, true),
    ("rate_limited_word", None, true),
    ("service_unavailable", None, true),
    ("request_timeout", None, true),
    ("team_added_to_org", None, true),
    ("org_login_required", None, true),
    ("not_in_channel", None, true),
    ("is_archived", None, true),
    ("restricted_action", None, true),
    ("msg_too_long", None, true),
    ("msg_blocks_too_long", None, true),
    ("invalid_arguments", None, true),
    ("invalid_auth", None, true),
    ("not_authed", None, true),
    ("token_revoked", None, true),
    ("token_expired", None, true),
    ("account_inactive", None, true),
    ("missing_scope", None, true),
    ("ekm_access_denied", None, true),
    ("unheard_of", None, true),
];
/// Words after which "some part may have succeeded" (docs.slack.dev): here the message is posted.
const DONE_ALL_THE_SAME: &[Word] = &[("internal_error", None, true), ("fatal_error", None, true)];

pub(super) fn faults() -> Vec<Fault> {
    let fault = |name, does, act| Fault { upstream: Upstream::Slack, name, does, act };
    let word = |(name, webhook, bot): &Word, act| {
        let does = match (webhook, bot) {
            (Some(_), true) => "the word, with its status at the webhook and in a 200 answer to a bot",
            (Some(_), false) => "the word with its status, at the webhook only",
            (None, _) if matches!(act, Act::LoseWord) => "posts, and says the word in a 200 answer, to a bot only",
            (None, _) => "the word in a 200 answer, to a bot only",
        };
        fault(*name, does, act)
    };
    let words = WORDS.iter().map(|known| word(known, Act::Word));
    let lost = DONE_ALL_THE_SAME.iter().map(|known| word(known, Act::LoseWord));
    let rest = [
        fault("rate_limited", "429 with Retry-After in seconds", Act::Refuse(rate_limited)),
        fault("server_error", "500 without a known word, nothing posted", Act::Refuse(|_| status(500))),
        fault("bad_gateway", "posts, and answers 502", Act::Lose(|_| status(502))),
        fault("unavailable", "503, nothing posted", Act::Refuse(|_| status(503))),
        fault("gateway_timeout", "posts, and answers 504", Act::Lose(|_| status(504))),
        fault("redirect", "302 to another address", Act::Refuse(redirect)),
        fault("html", "a web page with status 200, nothing posted", Act::Refuse(|_| super::answer::web_page())),
        fault("cut_off", "posts, and breaks off in the middle of the answer", Act::Half),
        fault("reset", "posts, and closes without an answer", Act::Reset),
        fault("silence", "posts, and never answers", Act::Silence),
    ];
    words.chain(lost).chain(rest).collect()
}

/// Whether the door at this path says this word.
pub(super) fn knows(word: &str, path: &str) -> bool {
    find(word).is_some_and(|(_, webhook, bot)| if path.contains(BOT_PATH) { *bot } else { webhook.is_some() })
}

/// The answer that is one of Slack's words.
pub(super) fn word(scene: &Scene) -> Response {
    let word = scene.name.trim_end_matches("_word");
    if scene.path.contains(BOT_PATH) {
        let mut body = json!({"ok": false, "error": word});
        if word == "missing_scope" {
            body["needed"] = "chat:write".into();
            body["provided"] = "chat:read".into();
        }
        return Response::builder().content_type("application/json").body(body.to_string());
    }
    let webhook = find(scene.name).and_then(|(_, webhook, _)| *webhook).unwrap_or(400);
    word.with_status(StatusCode::from_u16(webhook).expect("a constant")).into_response()
}

fn find(word: &str) -> Option<&'static Word> {
    WORDS.iter().chain(DONE_ALL_THE_SAME).find(|(known, _, _)| *known == word)
}

fn rate_limited(scene: &Scene) -> Response {
    let seconds = super::answer::seconds(scene.wait);
    status(429).with_header("retry-after", seconds).into_response()
}

fn redirect(_: &Scene) -> Response {
    status(302).with_header("location", "https://example.com/").into_response()
}

fn status(code: u16) -> Response {
    StatusCode::from_u16(code).expect("a constant").into_response()
}
