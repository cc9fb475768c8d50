//! `webhook_events`: every signed body, as it came.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::model::CallId;

/// Keeps a body with what became of it: `accepted`, `duplicate`, `ignored` or `rejected`.
pub async fn insert(
    db: &mut PgConnection,
    source: &str,
    body: &[u8],
    verdict: &str,
    detail: Option<&str>,
    call_id: Option<CallId>,
) -> std::result::Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO webhook_events (id, source, body, verdict, detail, call_id) VALUES ($1, $2, $3, $4, $5, $6)",
        Uuid::now_v7(),
        source,
        body,
        verdict,
        detail,
        call_id.map(|id| id.0)
    )
    .execute(db)
    .await?;
    Ok(())
}
