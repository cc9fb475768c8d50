//! Action items as clients see them. Field names are a promise: adding is fine, renaming is not.

use chrono::{DateTime, Utc};
use poem_openapi::types::MaybeUndefined;
use poem_openapi::{ApiResponse, Object, payload::Json};
use serde_json::Value;
use uuid::Uuid;

use super::super::csv;
use super::super::precondition::etag;
use super::super::problem::{FieldError, Problem};
use super::super::schema::{ActionState, Nullable, Timestamp, word};
use crate::model::plain::turns;
use crate::pipeline::actions::{Change, DONE, OPEN};
use crate::store::actions::ActionRow;

/// Columns of the export.
const COLUMNS: [&str; 15] = [
    "id",
    "call_id",
    "call_started_at",
    "caller_name",
    "caller_number",
    "text",
    "owner",
    "due_at",
    "due_words",
    "state",
    "overdue",
    "supported",
    "created_at",
    "edited_at",
    "completed_at",
];

/// A page of the list.
#[derive(Debug, Object)]
#[oai(rename = "ActionItemPage")]
pub struct ActionPage {
    /// Newest first.
    pub items: Vec<Action>,
    /// Send it as `cursor` to get the next page; null on the last one.
    pub next_cursor: Nullable<String>,
}

/// Something that somebody has promised to do.
#[derive(Debug, Object)]
#[oai(rename = "ActionItem")]
pub struct Action {
    /// Its id. It stays, also when the call is analyzed again.
    id: Uuid,
    /// The call in which it was promised.
    call_id: Uuid,
    /// What to do.
    text: String,
    /// Who promised; null = nobody yet.
    owner: Nullable<String>,
    /// Until when, where it could be told.
    due_at: Nullable<Timestamp>,
    /// The words of the call from which `due_at` comes, as of the call's day in the server's time zone; null where there
    /// were none, or where a person has set another time.
    due_words: Nullable<String>,
    /// Where it stands.
    state: ActionState,
    /// Whether it is open although its time has come.
    overdue: bool,
    /// Indexes of the transcript's segments that support it.
    evidence: Vec<i32>,
    /// False when no segment does.
    supported: bool,
    /// Its number, counted up with each change; as `"1"`, with the quotes, it is good for `If-Match`.
    version: i32,
    /// When an analysis first found it.
    created_at: Timestamp,
    /// When a person last changed it; from then on no analysis does. Null = nobody did.
    edited_at: Nullable<Timestamp>,
    /// When it was done.
    completed_at: Nullable<Timestamp>,
}

/// An action item with its version.
#[derive(ApiResponse)]
pub enum Versioned {
    /// The item as it is now.
    #[oai(status = 200)]
    Item(
        Json<Action>,
        /// Its version, for `If-Match`, and whether it is overdue: `"3"`, or `"3-overdue"`.
        #[oai(header = "ETag")]
        String,
    ),
}

/// What is to be changed. What is left out stays as it is.
#[derive(Debug, Object)]
#[oai(rename = "ActionItemEdit")]
pub struct ActionEdit {
    /// What to do, in one line.
    #[oai(validator(min_length = 1, max_length = 800))]
    text: Option<String>,
    /// Who does it; null = nobody yet.
    #[oai(nullable, validator(min_length = 1, max_length = 200))]
    owner: MaybeUndefined<String>,
    /// Until when; null = at any time.
    #[oai(nullable)]
    due_at: MaybeUndefined<Timestamp>,
    /// Where it stands.
    state: Option<ActionState>,
}

impl Action {
    /// An item as of `now`.
    pub fn new(row: ActionRow, now: DateTime<Utc>) -> Result<Self, Problem> {
        let overdue = is_overdue(&row, now);
        Ok(Self {
            id: row.id,
            call_id: row.call_id,
            text: row.text,
            owner: row.owner.into(),
            due_at: row.due_at.map(Timestamp).into(),
            due_words: row.due_words.into(),
            state: word(&row.state)?,
            overdue,
            evidence: row.evidence,
            supported: row.supported,
            version: row.version,
            created_at: Timestamp(row.created_at),
            edited_at: row.edited_at.map(Timestamp).into(),
            completed_at: row.completed_at.map(Timestamp).into(),
        })
    }
}

impl Versioned {
    /// An item as of `now`, with its `ETag`.
    pub fn new(row: ActionRow, now: DateTime<Utc>) -> Result<Self, Problem> {
        let etag = etag(row.version, is_overdue(&row, now));
        Action::new(row, now).map(|item| Self::Item(Json(item), etag))
    }
}

/// The `ETag` of an item that was answered before.
pub fn tag_of(item: &Value) -> Option<String> {
    let version = item["version"].as_i64().and_then(|version| version.try_into().ok())?;
    Some(etag(version, item["overdue"].as_bool()?))
}

impl ActionEdit {
    /// The change, if its texts are such as can be shown in one line.
    pub fn change(self) -> Result<Change, Problem> {
        let mut errors = Vec::new();
        let mut line = |field: &str, text: String| {
            let text = text.replace(turns, "").trim().to_owned();
            if text.is_empty() || text.chars().any(char::is_control) {
                errors.push(FieldError {
                    field: field.to_owned(),
                    expected: "text in one line that is not blank".to_owned(),
                });
            }
            text
        };
        let change = Change {
            text: self.text.map(|text| line("text", text)),
            owner: given(self.owner).map(|owner| owner.map(|owner| line("owner", owner))),
            due_at: given(self.due_at).map(|due_at| due_at.map(|time| time.0)),
            state: self.state.map(|state| if state == ActionState::Done { DONE } else { OPEN }),
        };
        if errors.is_empty() { Ok(change) } else { Err(Problem::invalid_fields(errors)) }
    }
}

/// None = left out, so it stays; the inner one = null, so it is cleared.
#[expect(clippy::option_option, reason = "two different absences")]
fn given<T>(value: MaybeUndefined<T>) -> Option<Option<T>> {
    match value {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(value)),
    }
}

fn is_overdue(row: &ActionRow, now: DateTime<Utc>) -> bool {
    row.state == OPEN && row.due_at.is_some_and(|due_at| due_at <= now)
}

/// First line of the export.
pub fn csv_head() -> String {
    csv::line(COLUMNS)
}

/// An item's line of the export.
pub fn csv_line(row: &ActionRow, now: DateTime<Utc>) -> String {
    let time = |time: Option<DateTime<Utc>>| time.map(|time| Timestamp(time).text()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let cells: [String; COLUMNS.len()] = [
        row.id.to_string(),
        row.call_id.to_string(),
        time(Some(row.call_occurred_at)),
        text(&row.caller_name),
        text(&row.caller_number),
        row.text.clone(),
        text(&row.owner),
        time(row.due_at),
        text(&row.due_words),
        row.state.clone(),
        is_overdue(row, now).to_string(),
        row.supported.to_string(),
        time(Some(row.created_at)),
        time(row.edited_at),
        time(row.completed_at),
    ];
    csv::line(cells.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::super::super::json_body;
    use super::*;

    fn text(problem: Problem) -> String {
        problem.to_string()
    }

    fn change(body: serde_json::Value) -> Result<Change, String> {
        let edit: ActionEdit = json_body::read(body.to_string().as_bytes(), Some("application/json")).map_err(text)?;
        edit.change().map_err(text)
    }

    #[test]
    fn what_is_left_out_stays_and_null_clears() {
        assert_eq!(change(json!({})), Ok(Change::default()));
        let all = json!({"text": " Call back ", "owner": null, "due_at": "2026-01-06T12:00:00+01:00", "state": "done"});
        let due_at = "2026-01-06T11:00:00Z".parse().ok();
        let expected =
            Change { text: Some("Call back".into()), owner: Some(None), due_at: Some(due_at), state: Some(DONE) };
        assert_eq!(change(all), Ok(expected));
    }

    #[rstest]
    #[case(json!({"text": "  "}))]
    #[case(json!({"text": "two\nlines"}))]
    #[case(json!({"text": "nul\u{0}"}))]
    #[case(json!({"owner": " "}))]
    #[case(json!({"owner": "\u{202E} "}))]
    #[case(json!({"owner": 7}))]
    #[case(json!({"due_at": "tomorrow"}))]
    #[case(json!({"due_at": "2026-02-30T00:00:00Z"}))]
    #[case(json!({"state": "finished"}))]
    #[case(json!([]))]
    fn others_are_refused(#[case] body: serde_json::Value) {
        assert!(change(body.clone()).is_err(), "{body}");
    }
}
