//! `changes`: what has changed, in an order in which nothing is missed (`migrations/0014_events.sql`).

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::bounded;
use crate::model::CallBounds;

/// The place of a row. Later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Number of the transaction that wrote it.
    pub transaction: i64,
    /// Number of the row.
    pub id: i64,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The row that tells of it.
    pub place: Place,
    /// Its position within the row, from 1.
    pub nth: i64,
    /// Begin of its transaction.
    pub at: DateTime<Utc>,
    /// `call`, `job` or `action`.
    pub kind: String,
    /// The call that it is about.
    pub call_id: Uuid,
    /// What it changed to: a state of a call, a job or an action item.
    pub state: String,
    /// The job.
    pub job_id: Option<i64>,
    /// The step of the job.
    pub step: Option<String>,
    /// The action item.
    pub item_id: Option<Uuid>,
    /// Whether it is about a call within the bounds.
    pub is_within: bool,
}

/// Behind all that can be read by now, and before all that cannot be read yet.
pub async fn present(db: &mut PgConnection) -> Result<Place, sqlx::Error> {
    let open = sqlx::query_scalar!(r#"SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS "open!""#)
        .fetch_one(db)
        .await?;
    Ok(Place { transaction: open - 1, id: i64::MAX })
}

/// The changes after the `nth` of the row at `place`, from at most so many rows; each row tells of up to some hundreds.
pub async fn after(
    db: &PgPool,
    place: Place,
    nth: i64,
    bounds: &CallBounds,
    rows: i64,
) -> Result<Vec<Change>, sqlx::Error> {
    let found = bounded(db, async |db| {
        sqlx::query!(
            r#"WITH fresh AS MATERIALIZED (
                   SELECT transaction, id, at, kind, call_ids, states, job_ids, steps, item_ids FROM changes
                   WHERE (transaction, id) >= ($1, $2)
                     AND transaction < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
                   ORDER BY transaction, id LIMIT $8
               )
               SELECT f.transaction AS "transaction!", f.id AS "id!", e.nth AS "nth!", f.at AS "at!",
                   f.kind AS "kind!", e.call_id AS "call_id!", e.state AS "state!",
                   e.job_id AS "job_id?", e.step AS "step?", e.item_id AS "item_id?",
                   coalesce(call_is_within(c.direction, c.caller_number, c.called_number, c.occurred_at,
                       $4, $5, $6, $7), false) AS "is_within!"
               FROM fresh f
               CROSS JOIN LATERAL unnest(f.call_ids, f.states, f.job_ids, f.steps, f.item_ids) WITH ORDINALITY
                   AS e (call_id, state, job_id, step, item_id, nth)
               LEFT JOIN calls c ON c.id = e.call_id
               WHERE (f.transaction, f.id) > ($1, $2) OR e.nth > $3
               ORDER BY f.transaction, f.id, e.nth"#,
            place.transaction,
            place.id,
            nth,
            bounds.direction(),
            bounds.number_prefix(),
            bounds.from,
            bounds.to,
            rows
        )
        .fetch_all(db)
        .await
    })
    .await?;
    Ok(found
        .into_iter()
        .map(|row| Change {
            place: Place { transaction: row.transaction, id: row.id },
            nth: row.nth,
            at: row.at,
            kind: row.kind,
            call_id: row.call_id,
            state: row.state,
            job_id: row.job_id,
            step: row.step,
            item_id: row.item_id,
            is_within: row.is_within,
        })
        .collect())
}

/// The last of the next rows after `place`, at most so many; `None` = there are none.
pub async fn last_of_next(db: &mut PgConnection, place: Place, rows: i64) -> Result<Option<Place>, sqlx::Error> {
    sqlx::query_as!(
        Place,
        r#"SELECT transaction AS "transaction!", id AS "id!" FROM (
             SELECT transaction, id FROM changes
             WHERE (transaction, id) > ($1, $2) AND transaction < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
             ORDER BY transaction, id LIMIT $3
         ) next ORDER BY transaction DESC, id DESC LIMIT 1"#,
        place.transaction,
        place.id,
        rows
    )
    .fetch_optional(db)
    .await
}

/// The quarters of an hour in which those calls started that something has changed about, after `from` and up to `to`.
pub async fn quarters(db: &mut PgConnection, from: Place, to: Place) -> Result<Vec<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT DISTINCT date_bin('15 minutes', c.occurred_at, '2000-01-01Z') AS "quarter!"
           FROM (
               SELECT DISTINCT unnest(call_ids) AS id FROM changes
               WHERE (transaction, id) > ($1, $2) AND (transaction, id) <= ($3, $4)
           ) changed JOIN calls c ON c.id = changed.id
           WHERE c.started_at IS NOT NULL"#,
        from.transaction,
        from.id,
        to.transaction,
        to.id
    )
    .fetch_all(db)
    .await
}

/// What was committed before this moment can be read, or has been. It is some time ago while a transaction stays open:
/// whatever is committed meanwhile waits for it.
pub async fn readable_up_to(db: &mut PgConnection) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT coalesce((
               SELECT at FROM changes
               WHERE transaction >= pg_snapshot_xmin(pg_current_snapshot())::text::bigint
                 AND transaction < pg_snapshot_xmax(pg_current_snapshot())::text::bigint
               ORDER BY transaction, id LIMIT 1
           ), now()) AS "at!""#
    )
    .fetch_one(db)
    .await
}

/// Deletes what is older, or of another server, at most so many rows; tells how many. Looks at the rows at the old end
/// alone: those behind them are younger.
pub async fn forget(db: &PgPool, older_than: Duration, rows: i64) -> Result<u64, sqlx::Error> {
    let gone = bounded(db, async |db| {
        sqlx::query!(
            "WITH oldest AS MATERIALIZED (
                 -- What cannot be read yet has not been told to anybody.
                 SELECT ctid AS place, at FROM changes
                 WHERE transaction < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
                 ORDER BY transaction, id LIMIT $2
             ),
             -- Of a database that was copied here from a server with higher numbers: here such a number is yet to come,
             -- and these rows would then look new.
             foreign_ones AS MATERIALIZED (
                 SELECT ctid AS place FROM changes
                 WHERE transaction >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint
                 ORDER BY transaction, id LIMIT $2
             )
             DELETE FROM changes WHERE ctid = ANY (ARRAY (
                 SELECT place FROM (
                     SELECT place FROM oldest WHERE at < now() - make_interval(secs => $1)
                     UNION ALL SELECT place FROM foreign_ones
                 ) gone
                 -- One process at a time: the lock goes with the statement. The number means nothing.
                 WHERE (SELECT pg_try_advisory_xact_lock(5190274486310)) LIMIT $2))",
            older_than.as_secs_f64(),
            rows
        )
        .execute(db)
        .await
    })
    .await?;
    Ok(gone.rows_affected())
}
