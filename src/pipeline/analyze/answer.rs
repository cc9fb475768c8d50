//! The agreed form of the model's answer, and our own check of it: no server's promise to keep a schema is trusted.

use serde::Deserialize;
use serde_json::{Value, json};

use super::said::Said;
use super::{due, evidence, urgency};
use crate::model::plain::plain;
use crate::model::{ActionItem, Analysis, Sentiment, Statement};

const MOST_STATEMENTS: usize = 12;
const MOST_ITEMS: usize = 20;
const MOST_TOPICS: usize = 10;
const LONGEST_TEXT: usize = 800;
/// Characters of a topic: it is an entry of an index, which takes 2,700 bytes at most.
const LONGEST_TOPIC: usize = 100;

/// The schema in the subset that strict mode allows: every property required, no additional ones, "optional" = null
/// (<https://platform.openai.com/docs/guides/structured-outputs>).
pub(super) fn schema() -> Value {
    let object = |properties: Value| {
        let required: Vec<&String> = properties.as_object().into_iter().flat_map(|map| map.keys()).collect();
        json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties})
    };
    let text = json!({"type": "string"});
    let maybe = json!({"type": ["string", "null"]});
    let evidence = json!({"type": "array", "items": {"type": "integer"}});
    object(json!({
        "statements": {"type": "array", "items": object(json!({"text": text, "evidence": evidence}))},
        "sentiment": {"type": "string", "enum": Sentiment::ALL.iter().map(|s| s.as_str()).collect::<Vec<_>>()},
        "urgency": {"type": "integer"},
        "topics": {"type": "array", "items": text},
        "action_items": {"type": "array", "items": object(json!({
            "text": text, "owner": maybe, "due_words": maybe, "due_date": maybe, "evidence": evidence
        }))},
    }))
}

#[derive(Deserialize)]
struct Answer {
    statements: Vec<AnswerStatement>,
    sentiment: Sentiment,
    urgency: i64,
    #[serde(default)]
    topics: Vec<String>,
    #[serde(default)]
    action_items: Vec<AnswerItem>,
}

#[derive(Deserialize)]
struct AnswerStatement {
    text: String,
    #[serde(default)]
    evidence: Vec<i64>,
}

#[derive(Deserialize)]
struct AnswerItem {
    text: String,
    #[serde(default)]
    owner: Option<String>,
    #[serde(default)]
    due_words: Option<String>,
    #[serde(default)]
    due_date: Option<String>,
    #[serde(default)]
    evidence: Vec<i64>,
}

/// Checks an answer against the agreed form and against what was said. The problem is a sentence that the model can act
/// on. What no segment supports is kept and marked, and cannot make a call urgent.
pub(super) fn check(answer: &Value, said: &Said) -> Result<Analysis, String> {
    let answer = Answer::deserialize(answer).map_err(|error| problem(answer, &error))?;
    let statements: Vec<Statement> = answer
        .statements
        .into_iter()
        .filter_map(|statement| {
            let (text, evidence) = (clean(&statement.text)?, existing(&statement.evidence, said.len()));
            Some(Statement { supported: evidence::supports(said, &text, &evidence), text, evidence })
        })
        .take(MOST_STATEMENTS)
        .collect();
    if statements.is_empty() {
        return Err("`statements` holds no text".to_owned());
    }
    if !(1..=5).contains(&answer.urgency) {
        return Err(format!("`urgency` is {}, it must be 1 to 5", answer.urgency));
    }
    Ok(Analysis {
        sentiment: answer.sentiment,
        urgency: urgency::effective(answer.urgency as i16, &statements, said),
        statements,
        topics: answer.topics.iter().filter_map(|topic| clean_topic(topic)).take(MOST_TOPICS).collect(),
        action_items: answer.action_items.into_iter().filter_map(|item| checked(item, said)).take(MOST_ITEMS).collect(),
    })
}

/// An action item needs evidence for what is to do, for who promised it, and for the words about when. A due time comes
/// from words that were said, or there is none.
fn checked(item: AnswerItem, said: &Said) -> Option<ActionItem> {
    let evidence = existing(&item.evidence, said.len());
    let (text, owner) = (clean(&item.text)?, item.owner.as_deref().and_then(clean));
    let due_words = item.due_words.as_deref().and_then(clean);
    let when = due_words.as_deref().filter(|words| evidence::says(said, words, &evidence));
    let due_at = when.and_then(|words| {
        due::due(words, said.call, said.zone).or_else(|| {
            let date = item.due_date.as_deref()?;
            due::as_the_model_says(words, date, said.call, said.zone)
        })
    });
    let supported = evidence::supports(said, &text, &evidence)
        && owner.as_deref().is_none_or(|owner| evidence::names_owner(said, owner, &evidence))
        && when.is_some() == due_words.is_some();
    Some(ActionItem { text, owner, due_words, due_at, evidence, supported })
}

/// What is wrong with an answer's form, without the answer's words: they may be the caller's.
fn problem(answer: &Value, error: &serde_json::Error) -> String {
    if !answer.is_object() {
        return "the answer is not one JSON object".to_owned();
    }
    let text = error.to_string();
    if text.starts_with("unknown variant") {
        let words: Vec<_> = Sentiment::ALL.iter().map(|word| word.as_str()).collect();
        return format!("`sentiment` is none of {}", words.join(", "));
    }
    match (text.find('"'), text.rfind('"')) {
        (Some(start), Some(end)) => format!("{}...{}", &text[..start], &text[end + 1..]),
        _ => text,
    }
}

/// Those that exist, each once, in order.
fn existing(named: &[i64], segments: usize) -> Vec<i32> {
    let mut evidence: Vec<i32> =
        named.iter().filter_map(|&n| usize::try_from(n).ok()).filter(|&n| n < segments).map(|n| n as i32).collect();
    evidence.sort_unstable();
    evidence.dedup();
    evidence
}

/// Without control characters (PostgreSQL refuses NUL) and what turns the direction of writing, trimmed, bounded; `None`
/// when nothing is left.
fn clean_topic(text: &str) -> Option<String> {
    clean(&text.to_lowercase().chars().take(LONGEST_TOPIC).collect::<String>())
}

fn clean(text: &str) -> Option<String> {
    let cleaned: String = plain(text).chars().take(LONGEST_TEXT).collect();
    let cleaned = cleaned.trim();
    (!cleaned.is_empty()).then(|| cleaned.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Segment, Speaker, Timing, Transcript};

    /// A call on Thursday, 2026-05-28.
    fn said() -> Said {
        let segment = |text: &str| Segment { speaker: Speaker::Agent, start_ms: 0, end_ms: 1, text: text.to_owned() };
        let segments = vec![segment("This is Dana. Your router is broken."), segment("I call you back by June first.")];
        let transcript = Transcript { language: None, timing: Timing::Estimated, segments, ends_early: None };
        Said::new(&transcript, "2026-05-28T08:00:00Z".parse().unwrap(), chrono_tz::Europe::Berlin)
    }

    fn answer(statements: Value, urgency: i64) -> Value {
        json!({"statements": statements, "sentiment": "mixed", "urgency": urgency, "topics": ["Billing"],
            "action_items": [{"text": "Call back", "owner": null, "due_words": "by June first", "due_date": "2026-06-01",
                "evidence": [7]}]})
    }

    #[test]
    fn what_no_segment_supports_is_kept_and_marked() {
        let statements = json!([{"text": "The router is broken.", "evidence": [1, 0, 1]},
            {"text": "The router is broken.", "evidence": [2, -1]}, {"text": "The router is new.", "evidence": [1]}]);
        let analysis = check(&answer(statements, 3), &said()).unwrap();
        assert_eq!(analysis.statements[0].evidence, [0, 1]);
        let supported: Vec<_> = analysis.statements.iter().map(|statement| statement.supported).collect();
        assert_eq!(supported, [true, false, false]);
        assert!(!analysis.action_items[0].supported);
        assert_eq!(analysis.action_items[0].due_at, None, "nobody says so");
        assert_eq!(analysis.topics, ["billing"]);
    }

    #[test]
    fn a_long_topic_is_cut() {
        let mut answer = answer(json!([{"text": "The router is broken.", "evidence": [0]}]), 3);
        answer["topics"] = json!(["É".repeat(101), " "]);
        assert_eq!(check(&answer, &said()).unwrap().topics, ["é".repeat(100)]);
    }

    #[test]
    fn a_due_time_comes_from_words_that_were_said() {
        let item = |due_words: &str, due_date: Option<&str>| {
            let item = json!({"text": "Call back", "owner": "Dana", "due_words": due_words, "due_date": due_date, "evidence": [1]});
            let answer = json!({"statements": [{"text": "The router is broken.", "evidence": [0]}], "sentiment": "mixed",
                "urgency": 2, "action_items": [item]});
            let item = check(&answer, &said()).unwrap().action_items.remove(0);
            (item.due_at.map(|at| at.to_rfc3339()), item.supported)
        };
        let first = Some("2026-06-01T21:59:00+00:00".to_owned());
        assert_eq!(item("by June first", None), (first.clone(), true));
        assert_eq!(item("by June first", Some("2031-01-01")), (first, true));
        assert_eq!(item("by June second", Some("2026-06-02")), (None, false));
        assert_eq!(item("back", Some("2026-06-02")), (None, true));
    }

    #[test]
    fn only_supported_statements_alarm() {
        let urgency = |text: &str, evidence: i64, urgency| {
            check(&answer(json!([{"text": text, "evidence": [evidence]}]), urgency), &said()).unwrap().urgency
        };
        assert_eq!(urgency("The router is broken.", 0, 5), 5);
        assert_eq!(urgency("The router is broken.", 0, 2), 2);
        assert_eq!(urgency("The router is broken.", 1, 5), 3, "its evidence says something else");
        assert_eq!(urgency("Dana calls back by June first.", 1, 4), 3, "supported, but no reason to hurry");
    }

    #[test]
    fn an_answer_out_of_form_is_refused_with_a_sentence_for_the_model() {
        let problem = |answer: Value| check(&answer, &said()).unwrap_err();
        assert!(problem(answer(json!([{"text": " ", "evidence": [0]}]), 3)).contains("statements"));
        assert!(problem(answer(json!([{"text": "a", "evidence": [0]}]), 6)).contains("urgency"));
        assert!(problem(json!({"summary": ""})).contains("statements"));
        assert!(problem(json!([])).contains("not one JSON object"));
        assert!(problem(json!("My card is four two")).contains("not one JSON object"));
        let mut words = answer(json!("my card is \"four\" two"), 3);
        assert_eq!(problem(words.clone()), "invalid type: string ..., expected a sequence");
        words["statements"] = json!([{"text": "a", "evidence": [0]}]);
        words["sentiment"] = json!("my card");
        assert_eq!(problem(words), "`sentiment` is none of positive, neutral, negative, mixed");
    }

    #[test]
    fn the_schema_keeps_the_rules_of_strict_mode() {
        fn walk(schema: &Value) {
            if schema["type"] == "object" {
                assert_eq!(schema["additionalProperties"], false);
                let required: Vec<_> =
                    schema["required"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
                assert_eq!(required, schema["properties"].as_object().unwrap().keys().collect::<Vec<_>>());
                schema["properties"].as_object().unwrap().values().for_each(walk);
            } else if schema["type"] == "array" {
                walk(&schema["items"]);
            }
        }
        walk(&schema());
    }
}
