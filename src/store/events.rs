//! `webhook_events`: every signed body, as it came.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::bounded;
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

/// Keeps bodies that made new calls.
pub async fn insert_accepted(
    db: &mut PgConnection,
    events: &[(CallId, &str, &[u8])],
) -> std::result::Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = events.iter().map(|_| Uuid::now_v7()).collect();
    let calls: Vec<Uuid> = events.iter().map(|(call_id, _, _)| call_id.0).collect();
    let sources: Vec<String> = events.iter().map(|(_, source, _)| (*source).to_owned()).collect();
    let bodies: Vec<Vec<u8>> = events.iter().map(|(_, _, body)| body.to_vec()).collect();
    sqlx::query!(
        "INSERT INTO webhook_events (id, source, body, verdict, call_id)
         SELECT id, source, body, 'accepted', call_id
         FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::uuid[]) AS t (id, source, body, call_id)",
        &ids,
        &sources,
        &bodies,
        &calls
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A body, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Arrival.
    pub received_at: DateTime<Utc>,
    /// From which kind of sender.
    pub source: String,
    /// What became of it.
    pub verdict: String,
    /// Why it was rejected or ignored.
    pub detail: Option<String>,
}

/// The bodies that told of a call, in the order in which they came.
pub async fn of_call(db: &PgPool, call_id: CallId) -> std::result::Result<Vec<EventRow>, sqlx::Error> {
    bounded(db, async |db| {
        sqlx::query_as!(
            EventRow,
            "SELECT received_at, source, verdict, detail FROM webhook_events WHERE call_id = $1 ORDER BY received_at, id",
            call_id.0
        )
        .fetch_all(db)
        .await
    })
    .await
}
