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
