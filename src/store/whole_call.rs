//! A call with what was made of it, in one statement: somebody waits for it, and every further statement is a way to the
//! database and back.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::{FromRow, PgExecutor, QueryBuilder};

use super::calls::{COLUMNS, CallRow};
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

/// A [`WholeCall`] as it is read. Of nothing PostgreSQL makes no list.
#[derive(FromRow)]
struct Row {
    #[sqlx(flatten)]
    call: CallRow,
    #[sqlx(json(nullable))]
    versions: Option<Vec<VersionRow>>,
    #[sqlx(json(nullable))]
    action_items: Option<Vec<ActionItemRow>>,
    #[sqlx(json(nullable))]
    deliveries: Option<Vec<DeliveryRow>>,
}

/// A [`Version`] as it is read.
#[derive(Deserialize)]
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
    let mut query = QueryBuilder::new("SELECT ");
    query.push(COLUMNS).push(
        ", (SELECT json_agg(v ORDER BY run DESC)
            FROM (SELECT run, created_at, transcribed_with, prompt_version, summary, statements, sentiment, urgency, topics,
                      analyzed_with, analyzed_in_parts
                  FROM call_summaries WHERE call_id = c.id) v) AS versions,
           (SELECT json_agg(i ORDER BY position, run)
            FROM (SELECT id, text, owner, due_words, due_at, state, evidence, supported, position, run
                  FROM action_items WHERE call_id = c.id AND current) i) AS action_items,
           (SELECT json_agg(d ORDER BY round, id)
            FROM (SELECT id, channel, destination, state, repeated, reference, detail, message_date, updated_at, round
                  FROM deliveries WHERE call_id = c.id) d) AS deliveries
         FROM calls c
         WHERE c.id = ",
    );
    query.push_bind(id.0);
    query.push(" AND call_is_within(c.direction, c.caller_number, c.called_number, c.occurred_at, ");
    query.push_bind(bounds.direction()).push(", ").push_bind(bounds.number_prefix()).push(", ");
    query.push_bind(bounds.from).push(", ").push_bind(bounds.to).push(")");
    let row: Option<Row> = query.build_query_as().fetch_optional(db).await?;
    Ok(row.map(|row| WholeCall {
        call: row.call,
        versions: row.versions.unwrap_or_default().into_iter().map(Version::from).collect(),
        action_items: row.action_items.unwrap_or_default(),
        deliveries: row.deliveries.unwrap_or_default(),
    }))
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
