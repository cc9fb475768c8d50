//! `idempotent_answers`: what requests with an `Idempotency-Key` were answered, for a day.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::bounded;

/// An answer that was given.
#[derive(Debug, Clone)]
pub struct Answer {
    /// SHA-256 of the request.
    pub request_hash: Vec<u8>,
    /// What the secrets of the answer were made from.
    pub nonce: Vec<u8>,
    /// HTTP status.
    pub status: i16,
    /// JSON.
    pub body: String,
}

/// Makes this transaction the only one that works on a request with this key of this client. False = another one does.
///
/// The lock goes with the transaction. Its number is a hash: that two requests have the same one is as good as impossible,
/// and the second would only be told to come again.
pub async fn lock(db: &mut PgConnection, api_key: Uuid, idempotency_key: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_xact_lock(hashtextextended('idempotency ' || $1::uuid::text || ' ' || $2::text, 0))
           AS "locked!""#,
        api_key,
        idempotency_key
    )
    .fetch_one(db)
    .await
}

/// What was answered within the last 24 hours.
pub async fn find(db: &mut PgConnection, api_key: Uuid, idempotency_key: &str) -> Result<Option<Answer>, sqlx::Error> {
    sqlx::query_as!(
        Answer,
        "SELECT request_hash, nonce, status, body FROM idempotent_answers
         WHERE api_key_id = $1 AND idempotency_key = $2 AND created_at > now() - interval '24 hours'",
        api_key,
        idempotency_key
    )
    .fetch_optional(db)
    .await
}

/// Keeps an answer, in the transaction of what it tells of.
pub async fn keep(
    db: &mut PgConnection,
    api_key: Uuid,
    idempotency_key: &str,
    answer: &Answer,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO idempotent_answers (api_key_id, idempotency_key, request_hash, nonce, status, body)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (api_key_id, idempotency_key) DO UPDATE
         SET request_hash = excluded.request_hash, nonce = excluded.nonce, status = excluded.status,
             body = excluded.body, created_at = excluded.created_at",
        api_key,
        idempotency_key,
        answer.request_hash,
        answer.nonce,
        answer.status,
        answer.body
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes what is older, at most so many; tells how many.
pub async fn forget(db: &PgPool, older_than: Duration, rows: i64) -> Result<u64, sqlx::Error> {
    let gone = bounded(db, async |db| {
        sqlx::query!(
            "DELETE FROM idempotent_answers WHERE (api_key_id, idempotency_key) IN (
                 -- One that is being replaced at this moment is not old any more.
                 SELECT api_key_id, idempotency_key FROM idempotent_answers
                 WHERE created_at < now() - make_interval(secs => $1)
                 ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
            older_than.as_secs_f64(),
            rows
        )
        .execute(db)
        .await
    })
    .await?;
    Ok(gone.rows_affected())
}
