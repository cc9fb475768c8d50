//! `audit_log`: who did what, written in the transaction that does it.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::bounded;
use crate::model::{Actor, CallId};

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

/// Writes down that something was looked at or taken out, as the only write of its transaction.
/// Gives back its number.
pub async fn note(db: &PgPool, actor: &Actor, action: &str, object: &str, count: i64) -> Result<i64, sqlx::Error> {
    bounded(db, async |db| insert(db, actor, action, object, count, Outcome::Done).await).await
}

/// Writes down that somebody wanted to change what is not there, or not for them.
pub async fn note_refused(db: &PgPool, actor: &Actor, action: &str, object: &str) -> Result<i64, sqlx::Error> {
    bounded(db, async |db| insert(db, actor, action, object, 0, Outcome::Refused).await).await
}

/// What is noted under this number was of so many more.
pub async fn note_length(db: &PgPool, id: i64, count: i64) -> Result<(), sqlx::Error> {
    bounded(db, async |db| add(db, id, count).await).await
}

/// An act, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActRow {
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// What it came to.
    pub result: String,
}

/// What was done to a call, to its action items, or to any of these other objects of its, in order, without the mere looks
/// (`*.view`).
pub async fn acts_on(db: &PgPool, call_id: CallId, objects: &[String]) -> Result<Vec<ActRow>, sqlx::Error> {
    bounded(db, async |db| {
        sqlx::query_as!(
            ActRow,
            "WITH acts AS (
                 SELECT id FROM audit_log WHERE object = ANY ($2 || ARRAY (
                     SELECT 'action item ' || i.id FROM action_items i WHERE i.call_id = $1) || ('call ' || $1))
                 UNION
                 SELECT audit_id FROM acts_on_calls WHERE call_id = $1
             )
             SELECT at, actor, action, result FROM audit_log JOIN acts USING (id)
             WHERE action NOT LIKE '%.view' ORDER BY id",
            call_id.0,
            objects
        )
        .fetch_all(db)
        .await
    })
    .await
}

/// Says which calls the act under this number was about, where its object does not. May be repeated.
pub async fn name_calls(db: &mut PgConnection, id: i64, calls: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO acts_on_calls (call_id, audit_id) SELECT DISTINCT unnest($2::uuid[]), $1::bigint
         ON CONFLICT DO NOTHING",
        id,
        calls
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A further batch of the same act has changed so many.
pub async fn add(db: &mut PgConnection, id: i64, affected: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE audit_log SET affected = affected + $2, result = 'done' WHERE id = $1", id, affected)
        .execute(db)
        .await?;
    Ok(())
}
