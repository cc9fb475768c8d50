//! `recordings`: what was downloaded, and where in the store it lies.

use sqlx::{Connection as _, PgPool};
use uuid::Uuid;

use super::{Result, bounded, fenced};
use crate::model::{CallId, Fence};

/// A recording's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingRow {
    /// Id.
    pub id: Uuid,
    /// Path inside the store.
    pub path: String,
    /// SHA-256 of the content, in hex.
    pub sha256: String,
    /// Size.
    pub bytes: i64,
    /// By content.
    pub media_type: String,
}

/// Refers to a recording that lies in the store completely. The same content again is the same recording.
pub async fn save(db: &PgPool, fence: Fence, call_id: CallId, recording: &RecordingRow) -> Result<Uuid> {
    bounded(db, async |db| {
    let mut transaction = db.begin().await?;
    let id = sqlx::query_scalar!(
        "WITH fence AS (SELECT 1 FROM jobs WHERE id = $1 AND lease_token = $2 FOR SHARE)
         INSERT INTO recordings (id, call_id, path, sha256, bytes, media_type)
         SELECT $3, $4, $5, $6, $7, $8 FROM fence
         ON CONFLICT (call_id, sha256) DO UPDATE SET path = excluded.path, created_at = now()
         RETURNING id",
        fence.job_id.0,
        fence.token,
        recording.id,
        call_id.0,
        recording.path,
        recording.sha256,
        recording.bytes,
        recording.media_type
    )
    .fetch_optional(&mut *transaction)
    .await?
    .ok_or(super::StoreError::LeaseLost)?;
    let updated = sqlx::query!(
        "UPDATE calls SET recording = 'available', updated_at = now() WHERE id = $1 AND recording IN ('pending', 'available')",
        call_id.0
    )
    .execute(&mut *transaction)
    .await?;
    fenced(updated.rows_affected())?;
    transaction.commit().await?;
    Ok(id)
})
.await
}

/// The latest recording of a call.
pub async fn of_call(db: &PgPool, call_id: CallId) -> std::result::Result<Option<RecordingRow>, sqlx::Error> {
    bounded(db, async |db| {
sqlx::query_as!(
        RecordingRow,
        "SELECT id, path, sha256, bytes, media_type FROM recordings WHERE call_id = $1 ORDER BY created_at DESC LIMIT 1",
        call_id.0
    )
    .fetch_optional(db)
    .await
})
    .await
}
