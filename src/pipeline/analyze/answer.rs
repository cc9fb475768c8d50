//! The agreed form of the model's answer, and our own check of it: no server's promise to keep a schema is trusted.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::{ActionItem, Analysis, Sentiment, Statement, Transcript};

const MOST_STATEMENTS: usize = 12;
const MOST_ITEMS: usize = 20;
const MOST_TOPICS: usize = 10;
const LONGEST_TEXT: usize = 800;

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

/// Checks an answer against the agreed form and the transcript. The problem is a sentence that the model can act on.
/// What names no segment of the transcript is kept and marked as not supported.
pub(super) fn check(answer: &Value, transcript: &Transcript, zone: Tz) -> Result<Analysis, String> {
    let answer = Answer::deserialize(answer).map_err(|error| error.to_string())?;
    let segments = transcript.segments.len();
    let statements: Vec<Statement> = answer
        .statements
        .into_iter()
        .filter_map(|statement| {
            let evidence = evidence(&statement.evidence, segments);
            Some(Statement { text: clean(&statement.text)?, supported: !evidence.is_empty(), evidence })
        })
        .take(MOST_STATEMENTS)
        .collect();
    if statements.is_empty() {
        return Err("`statements` holds no text".to_owned());
    }
    if !(1..=5).contains(&answer.urgency) {
        return Err(format!("`urgency` is {}, it must be 1 to 5", answer.urgency));
    }
    let action_items = answer.action_items.into_iter().filter_map(|item| {
        let evidence = evidence(&item.evidence, segments);
        Some(ActionItem {
            text: clean(&item.text)?,
            owner: item.owner.as_deref().and_then(clean),
            due_words: item.due_words.as_deref().and_then(clean),
            due_at: item.due_date.as_deref().and_then(|date| end_of_day(date, zone)),
            supported: !evidence.is_empty(),
            evidence,
        })
    });
    Ok(Analysis {
        statements,
        sentiment: answer.sentiment,
        urgency: answer.urgency as i16,
        topics: answer.topics.iter().filter_map(|topic| clean(&topic.to_lowercase())).take(MOST_TOPICS).collect(),
        action_items: action_items.take(MOST_ITEMS).collect(),
    })
}

/// Those that exist, each once, in order.
fn evidence(named: &[i64], segments: usize) -> Vec<i32> {
    let mut evidence: Vec<i32> =
        named.iter().filter_map(|&n| usize::try_from(n).ok()).filter(|&n| n < segments).map(|n| n as i32).collect();
    evidence.sort_unstable();
    evidence.dedup();
    evidence
}

/// Without control characters (PostgreSQL refuses NUL), trimmed, bounded; `None` when nothing is left.
fn clean(text: &str) -> Option<String> {
    let cleaned: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_TEXT).collect();
    let cleaned = cleaned.trim();
    (!cleaned.is_empty()).then(|| cleaned.to_owned())
}

/// A day without a time is over at its end.
fn end_of_day(date: &str, zone: Tz) -> Option<DateTime<Utc>> {
    let day = NaiveDate::parse_from_str(date.trim(), "%Y-%m-%d").ok()?;
    let last_minute = day.and_time(NaiveTime::from_hms_opt(23, 59, 0)?);
    zone.from_local_datetime(&last_minute).latest().map(|at| at.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Segment, Speaker, Timing};

    fn transcript() -> Transcript {
        let segment = |text: &str| Segment { speaker: Speaker::Agent, start_ms: 0, end_ms: 1, text: text.to_owned() };
        Transcript { language: None, timing: Timing::Estimated, segments: vec![segment("one"), segment("two")] }
    }

    fn answer(statements: Value, urgency: i64) -> Value {
        json!({"statements": statements, "sentiment": "mixed", "urgency": urgency, "topics": ["Billing"],
            "action_items": [{"text": "Call back", "owner": null, "due_words": "by June first", "due_date": "2026-06-01",
                "evidence": [7]}]})
    }

    #[test]
    fn what_no_segment_supports_is_kept_and_marked() {
        let answer = answer(json!([{"text": "a", "evidence": [1, 0, 1]}, {"text": "b", "evidence": [2, -1]}]), 3);
        let analysis = check(&answer, &transcript(), chrono_tz::Europe::Berlin).unwrap();
        assert_eq!(analysis.statements[0].evidence, [0, 1]);
        assert!(analysis.statements[0].supported);
        assert!(!analysis.statements[1].supported);
        assert!(!analysis.action_items[0].supported);
        assert_eq!(analysis.action_items[0].due_at.unwrap().to_rfc3339(), "2026-06-01T21:59:00+00:00");
        assert_eq!(analysis.topics, ["billing"]);
    }

    #[test]
    fn an_answer_out_of_form_is_refused_with_a_sentence_for_the_model() {
        let problem = |answer: Value| check(&answer, &transcript(), chrono_tz::UTC).unwrap_err();
        assert!(problem(answer(json!([{"text": " ", "evidence": [0]}]), 3)).contains("statements"));
        assert!(problem(answer(json!([{"text": "a", "evidence": [0]}]), 6)).contains("urgency"));
        assert!(problem(json!({"summary": ""})).contains("statements"));
        assert!(problem(json!([])).contains("struct Answer"));
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
