//! `call_summaries` and `action_items`: transcript and analysis, one version per run. Readers see the latest version
//! that is there, so a re-run shows the earlier results until it has new ones.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::types::Json;
use sqlx::{Connection as _, PgExecutor, PgPool};
use uuid::Uuid;

use super::{Result, bounded, fenced};
use crate::model::{Analysis, CallId, Fence, Sentiment, Statement, Transcript};

/// Keeps the transcript of a run.
pub async fn save_transcript(
    db: &PgPool,
    fence: Fence,
    call_id: CallId,
    run: i32,
    transcript: &Transcript,
    model: &str,
) -> Result<()> {
    let saved = bounded(db, async |db| {
        sqlx::query!(
            "WITH fence AS (SELECT 1 FROM jobs WHERE id = $1 AND lease_token = $2 FOR SHARE)
         INSERT INTO call_summaries (call_id, run, transcript, transcribed_with)
         SELECT $3, $4, $5, $6 FROM fence
         ON CONFLICT (call_id, run) DO UPDATE
         SET transcript = excluded.transcript, transcribed_with = excluded.transcribed_with, updated_at = now()",
            fence.job_id.0,
            fence.token,
            call_id.0,
            run,
            Json(transcript) as _,
            model
        )
        .execute(db)
        .await
    })
    .await?;
    fenced(saved.rows_affected())
}

/// The latest transcript.
pub async fn transcript(db: &PgPool, call_id: CallId) -> std::result::Result<Option<Transcript>, sqlx::Error> {
    let found = bounded(db, async |db| {
        sqlx::query_scalar!(
            r#"SELECT transcript AS "transcript!: Json<Transcript>" FROM call_summaries
           WHERE call_id = $1 AND transcript IS NOT NULL ORDER BY run DESC LIMIT 1"#,
            call_id.0
        )
        .fetch_optional(db)
        .await
    })
    .await?;
    Ok(found.map(|json| json.0))
}

/// The latest transcripts of the given calls; calls without one are missing.
pub async fn transcripts(
    db: impl PgExecutor<'_>,
    call_ids: &[Uuid],
) -> std::result::Result<Vec<(Uuid, Transcript)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT DISTINCT ON (call_id) call_id, transcript AS "transcript!: Json<Transcript>"
       FROM call_summaries WHERE call_id = ANY ($1) AND transcript IS NOT NULL ORDER BY call_id, run DESC"#,
        call_ids
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.call_id, row.transcript.0)).collect())
}

/// The segments of the latest transcript on which the analysis of a call and its action items are founded. What was made of
/// an earlier transcript says nothing of this one.
pub async fn cited(db: &PgPool, call_id: CallId) -> std::result::Result<Vec<i32>, sqlx::Error> {
    bounded(db, async |db| {
        sqlx::query_scalar!(
            r#"WITH spoken AS (SELECT max(run) AS run FROM call_summaries WHERE call_id = $1 AND transcript IS NOT NULL),
                latest AS (SELECT run, statements FROM call_summaries
                           WHERE call_id = $1 AND summary IS NOT NULL AND run >= (SELECT run FROM spoken)
                           ORDER BY run DESC LIMIT 1)
           SELECT evidence::integer AS "segment!"
           FROM latest, jsonb_array_elements(statements) statement, jsonb_array_elements_text(statement -> 'evidence') evidence
           UNION
           SELECT unnest(a.evidence) FROM action_items a
           WHERE a.call_id = $1 AND a.current AND a.run >= (SELECT run FROM spoken)"#,
            call_id.0
        )
        .fetch_all(db)
        .await
    })
    .await
}

/// How an analysis came about.
#[derive(Debug, Clone, Copy)]
pub struct MadeWith<'a> {
    /// Model that made it.
    pub model: &'a str,
    /// What the model was told.
    pub prompt_version: &'a str,
    /// In how many parts the transcript was read; `None` = in one piece.
    pub parts: Option<i32>,
}

/// Keeps the analysis of a run and its action items, in one transaction. A second run of the step writes the same rows;
/// items that a person has changed stay as they are.
pub async fn save_analysis(
    db: &PgPool,
    fence: Fence,
    call_id: CallId,
    run: i32,
    analysis: &Analysis,
    made_with: MadeWith<'_>,
) -> Result<()> {
    bounded(db, async |db| {
        let mut transaction = db.begin().await?;
        let saved = sqlx::query!(
            "WITH fence AS (SELECT 1 FROM jobs WHERE id = $1 AND lease_token = $2 FOR SHARE)
         INSERT INTO call_summaries (call_id, run, summary, statements, sentiment, urgency, topics, analyzed_with,
             prompt_version, analyzed_in_parts)
         SELECT $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 FROM fence
         ON CONFLICT (call_id, run) DO UPDATE
         SET summary = excluded.summary, statements = excluded.statements, sentiment = excluded.sentiment,
             urgency = excluded.urgency, topics = excluded.topics, analyzed_with = excluded.analyzed_with,
             prompt_version = excluded.prompt_version, analyzed_in_parts = excluded.analyzed_in_parts, updated_at = now()",
            fence.job_id.0,
            fence.token,
            call_id.0,
            run,
            analysis.summary(),
            Json(&analysis.statements) as _,
            analysis.sentiment.as_str(),
            analysis.urgency,
            &analysis.topics,
            made_with.model,
            made_with.prompt_version,
            made_with.parts
        )
        .execute(&mut *transaction)
        .await?;
        fenced(saved.rows_affected())?;
        super::actions::replace(&mut transaction, call_id, run, &analysis.action_items).await?;
        transaction.commit().await?;
        Ok(())
    })
    .await
}

/// An analysis as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredAnalysis {
    /// Run that made it.
    pub run: i32,
    /// The statements as one text.
    pub summary: String,
    /// The statements.
    pub statements: Vec<Statement>,
    /// Mood.
    pub sentiment: Sentiment,
    /// 1 to 5.
    pub urgency: i16,
    /// Keywords.
    pub topics: Vec<String>,
    /// Model that made it.
    pub model: Option<String>,
    /// In how many parts the transcript was read; `None` = in one piece.
    pub parts: Option<i32>,
}

/// The latest analysis.
pub async fn analysis(db: &PgPool, call_id: CallId) -> std::result::Result<Option<StoredAnalysis>, sqlx::Error> {
    let row = bounded(db, async |db| {
        sqlx::query!(
            r#"SELECT run, summary AS "summary!", statements AS "statements!: Json<Vec<Statement>>",
               sentiment AS "sentiment!", urgency AS "urgency!", topics AS "topics!", analyzed_with, analyzed_in_parts
           FROM call_summaries WHERE call_id = $1 AND summary IS NOT NULL ORDER BY run DESC LIMIT 1"#,
            call_id.0
        )
        .fetch_optional(db)
        .await
    })
    .await?;
    Ok(row.map(|row| StoredAnalysis {
        run: row.run,
        summary: row.summary,
        statements: row.statements.0,
        // The column is checked; a word from a later version counts as neutral here.
        sentiment: row.sentiment.parse().unwrap_or(Sentiment::Neutral),
        urgency: row.urgency,
        topics: row.topics,
        model: row.analyzed_with,
        parts: row.analyzed_in_parts,
    }))
}

/// An action item's row.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ActionItemRow {
    /// Id.
    pub id: Uuid,
    /// What to do.
    pub text: String,
    /// Who promised.
    pub owner: Option<String>,
    /// The words from which the due time comes.
    pub due_words: Option<String>,
    /// Until when.
    pub due_at: Option<DateTime<Utc>>,
    /// `open` or `done`.
    pub state: String,
    /// Segments that support it.
    pub evidence: Vec<i32>,
    /// False when no segment does.
    pub supported: bool,
}

/// The present action items of a call, in the order of the analysis: those of its latest one, and those of earlier ones that
/// a person has changed.
pub async fn action_items(
    db: impl PgExecutor<'_>,
    call_id: CallId,
) -> std::result::Result<Vec<ActionItemRow>, sqlx::Error> {
    sqlx::query_as!(
        ActionItemRow,
        "SELECT id, text, owner, due_words, due_at, state, evidence, supported FROM action_items
     WHERE call_id = $1 AND current ORDER BY position, run",
        call_id.0
    )
    .fetch_all(db)
    .await
}
