//! A call with what was made of it, in one statement: somebody waits for it, and every further statement is a way to the
//! database and back.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::PgExecutor;
use sqlx::types::Json;

use super::calls::CallRow;
use super::deliveries::DeliveryRow;
use super::summaries::{ActionItemRow, StoredAnalysis};
use crate::model::{CallBounds, CallId, Sentiment, Statement};

/// A call and what was made of it, but for what was said.
#[derive(Debug, Clone)]
pub struct WholeCall {
    /// The call.
    pub call: CallRow,
    /// What its runs have made, the latest first.
    pub versions: Vec<Version>,
    /// Its present action items, in the order of the analysis.
    pub action_items: Vec<ActionItemRow>,
    /// All messages about it, in the order in which they were made.
    pub deliveries: Vec<DeliveryRow>,
}

/// What a run has made.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// Number of the run.
    pub run: i32,
    /// When it had made the first of it.
    pub created_at: DateTime<Utc>,
    /// Model that made its transcript.
    pub transcribed_with: Option<String>,
    /// What that model was told.
    pub prompt_version: Option<String>,
    /// Its analysis.
    pub analysis: Option<StoredAnalysis>,
}

/// The same as its row.
#[derive(Debug, Deserialize)]
struct VersionRow {
    run: i32,
    created_at: DateTime<Utc>,
    transcribed_with: Option<String>,
    prompt_version: Option<String>,
    summary: Option<String>,
    statements: Option<Vec<Statement>>,
    sentiment: Option<String>,
    urgency: Option<i16>,
    topics: Option<Vec<String>>,
    analyzed_with: Option<String>,
    analyzed_in_parts: Option<i32>,
}

/// The call with this id, if it is within the bounds.
pub async fn whole(db: impl PgExecutor<'_>, id: CallId, bounds: &CallBounds) -> Result<Option<WholeCall>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT id, external_id, state, state_reason, waiting_until, direction, caller_name, caller_number,
               called_name, called_number, started_at, ended_at, duration_seconds, recording, recording_url, run,
               notify_round, created_at, occurred_at AS "occurred_at!",
               (SELECT json_agg(v ORDER BY run DESC)
                FROM (SELECT run, created_at, transcribed_with, prompt_version, summary, statements, sentiment, urgency,
                          topics, analyzed_with, analyzed_in_parts
                      FROM call_summaries WHERE call_id = c.id) v) AS "versions: Json<Vec<VersionRow>>",
               (SELECT json_agg(i ORDER BY position, run)
                FROM (SELECT id, text, owner, due_words, due_at, state, evidence, supported, position, run
                      FROM action_items WHERE call_id = c.id AND current) i) AS "action_items: Json<Vec<ActionItemRow>>",
               (SELECT json_agg(d ORDER BY round, id)
                FROM (SELECT id, channel, destination, state, repeated, reference, detail, message_date, updated_at, round
                      FROM deliveries WHERE call_id = c.id) d) AS "deliveries: Json<Vec<DeliveryRow>>"
           FROM calls c
           WHERE id = $1 AND call_is_within(direction, caller_number, called_number, occurred_at, $2, $3, $4, $5)"#,
        id.0,
        bounds.direction(),
        bounds.number_prefix(),
        bounds.from,
        bounds.to
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| WholeCall {
        call: CallRow {
            id: row.id,
            external_id: row.external_id,
            state: row.state,
            state_reason: row.state_reason,
            waiting_until: row.waiting_until,
            direction: row.direction,
            caller_name: row.caller_name,
            caller_number: row.caller_number,
            called_name: row.called_name,
            called_number: row.called_number,
            started_at: row.started_at,
            ended_at: row.ended_at,
            duration_seconds: row.duration_seconds,
            recording: row.recording,
            recording_url: row.recording_url,
            run: row.run,
            notify_round: row.notify_round,
            created_at: row.created_at,
            occurred_at: row.occurred_at,
        },
        versions: rows(row.versions).into_iter().map(Version::from).collect(),
        action_items: rows(row.action_items),
        deliveries: rows(row.deliveries),
    }))
}

/// Of none PostgreSQL makes no list.
fn rows<T>(rows: Option<Json<Vec<T>>>) -> Vec<T> {
    rows.map(|rows| rows.0).unwrap_or_default()
}

impl From<VersionRow> for Version {
    fn from(row: VersionRow) -> Self {
        let VersionRow { run, created_at, transcribed_with, prompt_version, .. } = row;
        let analysis = row.summary.map(|summary| StoredAnalysis {
            run,
            summary,
            statements: row.statements.unwrap_or_default(),
            // The column is checked; a word from a later version counts as neutral here.
            sentiment: row.sentiment.and_then(|word| word.parse().ok()).unwrap_or(Sentiment::Neutral),
            urgency: row.urgency.unwrap_or_default(),
            topics: row.topics.unwrap_or_default(),
            model: row.analyzed_with,
            parts: row.analyzed_in_parts,
        });
        Self { run, created_at, transcribed_with, prompt_version, analysis }
    }
}
