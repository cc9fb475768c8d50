//! The Slack message: answer first, then what to do, then the facts.
//!
//! Words of callers and models stand in `plain_text` objects only, because `*`, `_`, `~` and backticks cannot be escaped
//! in `mrkdwn` (docs.slack.dev, "Formatting message text"). `mrkdwn` holds our own words and our own link.

use serde_json::{Value, json};

use crate::channels::text;
use crate::channels::wording::{Line, NOT_CONFIRMED, Task, Wording};
use crate::model::{CallBrief, Envelope};

/// Characters of a header, after escaping (docs.slack.dev, Block Kit reference: 150).
const HEADER_LIMIT: usize = 150;
/// Characters of the summary, after escaping. Slack takes 3000 a section; nobody reads them in a channel.
const SUMMARY_LIMIT: usize = 2_400;
/// Characters of all action items, after escaping. With the summary and the rest it stays under 9,000: Slack refuses
/// messages of somewhere above 11,000 (`msg_blocks_too_long`, undocumented).
const ACTION_ITEMS_LIMIT: usize = 2_400;
/// Characters of one fact, after escaping.
const FACT_LIMIT: usize = 400;
/// Characters of the line for notifications and screen readers, after escaping.
const HEADLINE_LIMIT: usize = 300;
/// A line that would show less than this of its text is left out.
const LEAST_TEXT: usize = 24;

/// The message for both ways in; `channel` is added by the bot. Pure: the same brief and envelope give the same message.
pub fn message(brief: &CallBrief, envelope: &Envelope) -> Value {
    let wording = Wording::of(brief, envelope);
    let (summary, summary_cut) = lines(wording.statements.iter().map(statement_line), SUMMARY_LIMIT);
    let (action_items, action_items_cut) = lines(wording.action_items.iter().map(task_line), ACTION_ITEMS_LIMIT);
    let shortened = wording.shortened || summary_cut || action_items_cut;

    let mut blocks =
        vec![json!({"type": "header", "text": plain(text::slack_escape_cut(&wording.title, HEADER_LIMIT))})];
    if wording.possible_repeat {
        let notice = "*Possible repeat:* an earlier try may have arrived already.";
        blocks.push(json!({"type": "context", "elements": [markdown(notice)]}));
    }
    if let Some(judgement) = wording.judgement {
        let sign = if judgement.urgent { "🔴 " } else { "" };
        let judged = format!("{sign}Urgency (AI): *{}*  ·  Mood (AI): *{}*", judgement.urgency, judgement.mood);
        blocks.push(json!({"type": "context", "elements": [markdown(&judged)]}));
    }
    let summary = wording.instead.map_or(summary, str::to_owned);
    blocks.push(json!({"type": "section", "text": plain(summary)}));
    if !action_items.is_empty() {
        blocks.push(json!({"type": "section", "text": markdown("*Action items*")}));
        blocks.push(json!({"type": "section", "text": plain(action_items)}));
    }
    blocks.push(json!({"type": "section", "fields": facts(&wording)}));
    blocks.push(json!({"type": "section", "text": markdown(&link(&wording, shortened))}));
    let ids = format!("{} · {}", text::slack_escape(&wording.external_id), wording.call_id);
    blocks.push(json!({"type": "context", "elements": [plain(ids)]}));

    json!({
        "text": text::slack_escape_markup_cut(&wording.headline(), HEADLINE_LIMIT),
        "blocks": blocks,
        "unfurl_links": false,
        "unfurl_media": false,
        "link_names": false,
    })
}

/// Text around a line that is never cut, and the text between that may be.
struct Parts<'a> {
    before: &'static str,
    text: &'a str,
    after: String,
}

fn statement_line(line: &Line) -> Parts<'_> {
    let after = if line.confirmed { String::new() } else { format!(" {NOT_CONFIRMED}") };
    Parts { before: "", text: &line.text, after }
}

fn task_line(task: &Task) -> Parts<'_> {
    let doubt = if task.confirmed { String::new() } else { format!(" {NOT_CONFIRMED}") };
    Parts { before: "• ", text: &task.text, after: format!(" · {}{doubt}", task.who_and_when) }
}

/// One escaped line each, within `limit` characters, and whether something had to go. A line that is cut keeps its end:
/// a claim must not lose its "not confirmed".
fn lines<'a>(parts: impl Iterator<Item = Parts<'a>>, limit: usize) -> (String, bool) {
    let mut result = String::new();
    for Parts { before, text, after } in parts {
        let start = if result.is_empty() { before.to_owned() } else { format!("\n{before}") };
        let after = text::slack_escape(&after);
        let whole = text::slack_escape(text);
        let left = limit.saturating_sub(text::length(&result) + text::length(&start) + text::length(&after));
        let fits = text::length(&whole) <= left;
        if !fits && left < LEAST_TEXT {
            return (result, true);
        }
        let shown = if fits { whole } else { text::slack_escape_cut(text, left) };
        result.extend([start, shown, after]);
        if !fits {
            return (result, true);
        }
    }
    (result, false)
}

fn facts(wording: &Wording) -> Vec<Value> {
    let fact = |(name, value): &(&str, String)| plain(text::slack_escape_cut(&format!("{name}: {value}"), FACT_LIMIT));
    wording.facts.iter().map(fact).collect()
}

fn link(wording: &Wording, shortened: bool) -> String {
    let url = text::slack_escape(&wording.link);
    if shortened {
        format!("This message was shortened to fit. <{url}|Read the rest on the call's page>")
    } else if wording.judgement.is_some() {
        format!("<{url}|Open the call> to listen and read along")
    } else {
        format!("<{url}|Open the call>")
    }
}

/// `emoji: false`, so that a caller named `:fire:` is not one.
fn plain(text: String) -> Value {
    json!({"type": "plain_text", "text": text, "emoji": false})
}

/// Our own words only. `verbatim` stops Slack from making links of its own.
fn markdown(text: &str) -> Value {
    json!({"type": "mrkdwn", "text": text, "verbatim": true})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::examples;

    #[test]
    fn a_friendly_call() {
        insta::assert_json_snapshot!(message(&examples::friendly(), &examples::envelope("#calls")));
    }

    #[test]
    fn an_urgent_call_with_doubts_that_may_be_a_repeat() {
        insta::assert_json_snapshot!(message(&examples::urgent(), &examples::repeated("#calls")));
    }

    #[test]
    fn a_missed_call_without_recording() {
        insta::assert_json_snapshot!(message(&examples::no_recording(), &examples::envelope("#calls")));
    }

    #[test]
    fn a_hostile_call_stays_text_within_the_limits() {
        let message = message(&examples::hostile(), &examples::envelope("#calls"));
        let blocks = message["blocks"].as_array().unwrap();
        let mut texts = Vec::new();
        collect_texts(&message["blocks"], &mut texts);
        let total: usize = texts.iter().map(|(_, text)| text::length(text)).sum();
        assert!(blocks.len() <= 50 && total <= 9_000, "{} blocks, {total} characters", blocks.len());
        for (kind, text) in texts {
            assert!((1..=3_000).contains(&text::length(&text)), "{text}");
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
            assert!(kind == "mrkdwn" || !text.contains(['<', '>']), "{text}");
            assert!(!text.contains("https://evil") && !text.contains("www.evil"), "{text}");
            let entities = ["&amp;", "&lt;", "&gt;"];
            assert!(
                text.match_indices('&').all(|(at, _)| entities.iter().any(|e| text[at..].starts_with(e))),
                "{text}"
            );
        }
        insta::assert_json_snapshot!(message);
    }

    fn collect_texts(value: &Value, texts: &mut Vec<(String, String)>) {
        match value {
            Value::Object(map) => {
                if let (Some(kind), Some(text)) = (map.get("type"), map.get("text").and_then(Value::as_str)) {
                    texts.push((kind.as_str().unwrap().to_owned(), text.to_owned()));
                }
                map.values().for_each(|value| collect_texts(value, texts));
            }
            Value::Array(values) => values.iter().for_each(|value| collect_texts(value, texts)),
            _ => {}
        }
    }
}
