//! `audit_log`: who did what, written in the transaction that does it.

use sqlx::PgConnection;

use crate::model::Actor;

/// What an act came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was so already.
    Unchanged,
    /// It is not for what it was asked for.
    Refused,
}

/// Writes an act down and gives back its number, for [`add`]. `action` is a stable word such as `jobs.retry`, `object` what
/// it was done to: names and numbers, never what a caller said.
pub async fn insert(
    db: &mut PgConnection,
    actor: &Actor,
    action: &str,
    object: &str,
    affected: i64,
    outcome: Outcome,
) -> Result<i64, sqlx::Error> {
    let result = match outcome {
        Outcome::Done => "done",
        Outcome::Unchanged => "unchanged",
        Outcome::Refused => "refused",
    };
    sqlx::query_scalar!(
        "INSERT INTO audit_log (actor, action, object, affected, result, request_id, address)
         VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id",
        actor.name,
        action,
        object,
        affected,
        result,
        actor.request_id,
        actor.address
    )
    .fetch_one(db)
    .await
}

/// A further batch of the same act has changed so many.
pub async fn add(db: &mut PgConnection, id: i64, affected: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE audit_log SET affected = affected + $2, result = 'done' WHERE id = $1", id, affected)
        .execute(db)
        .await?;
    Ok(())
}
