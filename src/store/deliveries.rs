//! `deliveries`: the ledger of messages. A message leaves only after its row says `sending`, and never twice unseen.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::{Connection as _, PgExecutor, PgPool};
use uuid::Uuid;

use super::{Result, StoreError, bounded, fenced};
use crate::model::{CallId, DeliveryId, DeliveryState, Fence};

/// A delivery's row.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DeliveryRow {
    /// Id.
    pub id: Uuid,
    /// Word of the channel.
    pub channel: String,
    /// To whom.
    pub destination: String,
    /// A [`DeliveryState`].
    pub state: String,
    /// Sent again after an unknown outcome.
    pub repeated: bool,
    /// What the other side calls the message.
    pub reference: Option<String>,
    /// Why it failed or is unknown.
    pub detail: Option<String>,
    /// Date of the message, the same for every try.
    pub message_date: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
}

/// Makes the ledger's rows of a call, one per destination; those that exist stay as they are. Gives back those of these
/// destinations that are not sent yet: who is no longer named is told no more.
pub async fn plan(
    db: &PgPool,
    fence: Fence,
    call_id: CallId,
    round: i32,
    destinations: &[(String, String)],
) -> Result<Vec<DeliveryId>> {
    let ids: Vec<Uuid> = destinations.iter().map(|_| Uuid::now_v7()).collect();
    let channels: Vec<String> = destinations.iter().map(|(channel, _)| channel.clone()).collect();
    let names: Vec<String> = destinations.iter().map(|(_, name)| name.clone()).collect();
    bounded(db, async |db| {
        let mut transaction = db.begin().await?;
        let held = sqlx::query_scalar!(
            "SELECT 1 FROM jobs WHERE id = $1 AND lease_token = $2 FOR SHARE",
            fence.job_id.0,
            fence.token
        )
        .fetch_optional(&mut *transaction)
        .await?;
        held.ok_or(StoreError::LeaseLost)?;
        sqlx::query!(
            "INSERT INTO deliveries (id, call_id, channel, destination, round)
         SELECT t.id, $1, t.channel, t.destination, $2
         FROM unnest($3::uuid[], $4::text[], $5::text[]) AS t (id, channel, destination)
         ON CONFLICT (call_id, channel, destination, round) DO NOTHING",
            call_id.0,
            round,
            &ids,
            &channels,
            &names
        )
        .execute(&mut *transaction)
        .await?;
        let open = sqlx::query_scalar!(
            "SELECT d.id FROM deliveries d
             JOIN unnest($3::text[], $4::text[]) AS named (channel, destination) USING (channel, destination)
             WHERE d.call_id = $1 AND d.round = $2 AND d.state <> 'sent' ORDER BY d.id",
            call_id.0,
            round,
            &channels,
            &names
        )
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(open.into_iter().map(DeliveryId).collect())
    })
    .await
}

/// One delivery.
pub async fn get(db: &PgPool, id: DeliveryId) -> std::result::Result<Option<DeliveryRow>, sqlx::Error> {
    bounded(db, async |db| {
        sqlx::query_as!(
            DeliveryRow,
            "SELECT id, channel, destination, state, repeated, reference, detail, message_date, updated_at
         FROM deliveries WHERE id = $1",
            id.0
        )
        .fetch_optional(db)
        .await
    })
    .await
}

/// All deliveries of a call, in the order in which they were made.
pub async fn of_call(db: impl PgExecutor<'_>, call_id: CallId) -> std::result::Result<Vec<DeliveryRow>, sqlx::Error> {
    sqlx::query_as!(
        DeliveryRow,
        "SELECT id, channel, destination, state, repeated, reference, detail, message_date, updated_at
     FROM deliveries WHERE call_id = $1 ORDER BY round, id",
        call_id.0
    )
    .fetch_all(db)
    .await
}

/// The deliveries of one round of a call.
pub async fn of_round(db: &PgPool, call_id: CallId, round: i32) -> std::result::Result<Vec<DeliveryRow>, sqlx::Error> {
    bounded(db, async |db| {
        sqlx::query_as!(
            DeliveryRow,
            "SELECT id, channel, destination, state, repeated, reference, detail, message_date, updated_at
         FROM deliveries WHERE call_id = $1 AND round = $2 ORDER BY id",
            call_id.0,
            round
        )
        .fetch_all(db)
        .await
    })
    .await
}

/// Says that the message is about to leave. `repeat` = an earlier try may have arrived. Refused, like a lost lease, when
/// somebody has moved the row since it was read. May be repeated under the same lease, until the message leaves.
pub async fn begin_sending(db: &PgPool, fence: Fence, delivery: &DeliveryRow, repeat: bool) -> Result<()> {
    let begun = bounded(db, async |db| {
        sqlx::query!(
            "WITH fence AS (SELECT 1 FROM jobs WHERE id = $1 AND lease_token = $2 FOR SHARE)
         UPDATE deliveries
         SET state = 'sending', repeated = repeated OR $5, begun_by = $1, begun_under = $2, updated_at = now()
         FROM fence
         WHERE deliveries.id = $3
           AND (deliveries.updated_at = $4
                -- Our own word, whose answer was lost.
                OR (deliveries.state = 'sending' AND deliveries.begun_by = $1 AND deliveries.begun_under = $2))",
            fence.job_id.0,
            fence.token,
            delivery.id,
            delivery.updated_at,
            repeat
        )
        .execute(db)
        .await
    })
    .await?;
    fenced(begun.rows_affected())
}

/// Writes what became of the message.
pub async fn settle(
    db: &PgPool,
    fence: Fence,
    id: DeliveryId,
    state: DeliveryState,
    reference: Option<&str>,
    detail: Option<&str>,
) -> Result<()> {
    // Both are words of the other side, and PostgreSQL keeps no NUL.
    let plain = |text: &str| text.replace('\0', "");
    let settled = bounded(db, async |db| {
        sqlx::query!(
            "WITH fence AS (SELECT 1 FROM jobs WHERE id = $1 AND lease_token = $2 FOR SHARE)
         UPDATE deliveries SET state = $4, reference = coalesce($5, reference), detail = $6, updated_at = now()
         FROM fence WHERE deliveries.id = $3",
            fence.job_id.0,
            fence.token,
            id.0,
            state.as_str(),
            reference.map(plain),
            detail.map(plain)
        )
        .execute(db)
        .await
    })
    .await?;
    fenced(settled.rows_affected())
}
