//! `step_answers`: answers that were paid for, kept before anything is done with them.

use serde_json::Value;
use sqlx::PgPool;

use super::{Result, bounded, fenced};
use crate::model::{CallId, Fence};

/// What identifies a question: the same one is never paid for twice in a run.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Call.
    pub call_id: CallId,
    /// Step that asks.
    pub step: &'a str,
    /// Run of the pipeline; a re-run asks anew.
    pub run: i32,
    /// SHA-256 of everything that is asked, in hex.
    pub input_hash: &'a str,
}

/// An answer that was paid for before.
#[derive(Debug)]
pub struct StoredAnswer {
    /// As it was kept.
    pub answer: Value,
    /// Token of the lease under which its cost was counted; null for those of earlier versions.
    pub counted_by: Option<i64>,
}

/// The answer, if it was paid for before.
pub async fn find(db: &PgPool, question: Question<'_>) -> std::result::Result<Option<StoredAnswer>, sqlx::Error> {
    bounded(db, async |db| {
        sqlx::query_as!(
            StoredAnswer,
            "SELECT answer, counted_by FROM step_answers
             WHERE call_id = $1 AND step = $2 AND run = $3 AND input_hash = $4",
            question.call_id.0,
            question.step,
            question.run,
            question.input_hash
        )
        .fetch_optional(db)
        .await
    })
    .await
}

/// Keeps an answer, whose cost is counted with the attempt of this fence. The first one stays if two were paid for.
pub async fn save(db: &PgPool, fence: Fence, question: Question<'_>, answer: &Value) -> Result<()> {
    let saved = bounded(db, async |db| {
        sqlx::query!(
            "WITH fence AS (SELECT 1 FROM jobs WHERE id = $1 AND lease_token = $2 FOR SHARE)
             INSERT INTO step_answers (call_id, step, run, input_hash, answer, counted_by)
             SELECT $3, $4, $5, $6, $7, $2 FROM fence
             ON CONFLICT (call_id, step, run, input_hash) DO UPDATE SET answer = step_answers.answer",
            fence.job_id.0,
            fence.token,
            question.call_id.0,
            question.step,
            question.run,
            question.input_hash,
            answer
        )
        .execute(db)
        .await
    })
    .await?;
    fenced(saved.rows_affected())
}

/// From now on the answer's cost is counted with the attempt of this fence, and no longer with the one that had the
/// lease `from`. False = somebody has done it already, or the lease has passed on.
pub async fn take_over(
    db: &PgPool,
    fence: Fence,
    question: Question<'_>,
    from: i64,
) -> std::result::Result<bool, sqlx::Error> {
    let taken = sqlx::query!(
        "WITH fence AS (SELECT 1 FROM jobs WHERE id = $1 AND lease_token = $2 FOR SHARE)
         UPDATE step_answers SET counted_by = $2 FROM fence
         WHERE call_id = $3 AND step = $4 AND run = $5 AND input_hash = $6 AND counted_by = $7",
        fence.job_id.0,
        fence.token,
        question.call_id.0,
        question.step,
        question.run,
        question.input_hash,
        from
    )
    .execute(db)
    .await?;
    Ok(taken.rows_affected() > 0)
}
