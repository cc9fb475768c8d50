//! `action_items`: what somebody has promised to do. An analysis makes them, and people work on them: what a person has
//! changed is never touched by a later run of the analysis.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::bounded;
use crate::model::{ActionItem, CallBounds, CallId, promise};

/// An action item as lists show it.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionRow {
    /// Id; it stays, also when a later run says the same in other words.
    pub id: Uuid,
    /// The call in which it was promised.
    pub call_id: Uuid,
    /// Start of the call, or its arrival.
    pub call_occurred_at: DateTime<Utc>,
    /// Who called.
    pub caller_name: Option<String>,
    /// Who called.
    pub caller_number: Option<String>,
    /// What to do.
    pub text: String,
    /// Who promised.
    pub owner: Option<String>,
    /// The words from which the due time comes; `None` once a person has set another.
    pub due_words: Option<String>,
    /// Until when.
    pub due_at: Option<DateTime<Utc>>,
    /// `open` or `done`.
    pub state: String,
    /// Segments that support it.
    pub evidence: Vec<i32>,
    /// False when no segment does.
    pub supported: bool,
    /// Counted up with each change.
    pub version: i32,
    /// When an analysis first said it.
    pub created_at: DateTime<Utc>,
    /// When a person last changed it.
    pub edited_at: Option<DateTime<Utc>>,
    /// When it was done.
    pub completed_at: Option<DateTime<Utc>>,
}

/// What a list shows; `None` = all.
#[derive(Debug, Clone, Default)]
pub struct ActionFilter {
    /// `open` or `done`.
    pub state: Option<String>,
    /// Whose; upper and lower case are the same.
    pub owner: Option<String>,
    /// Due before.
    pub due_before: Option<DateTime<Utc>>,
    /// Open although due at `now` or before; false = all others.
    pub overdue: Option<bool>,
    /// The moment at which that is so.
    pub now: DateTime<Utc>,
    /// Of this call.
    pub call_id: Option<Uuid>,
    /// Of calls that started at or after.
    pub from: Option<DateTime<Utc>>,
    /// Of calls that started before.
    pub to: Option<DateTime<Utc>>,
    /// Of calls that the key opens.
    pub bounds: CallBounds,
    /// Older than this one: `(created_at, id)` of the last one on the page before.
    pub after: Option<(DateTime<Utc>, Uuid)>,
    /// At most so many.
    pub limit: i64,
}

/// The plan of a list depends on its filters: one that is made for all of them reads the whole table for some.
const BEGIN_LIST: &str = "BEGIN READ ONLY; SET LOCAL plan_cache_mode = force_custom_plan";

/// Current action items, newest first.
pub async fn list(db: &PgPool, filter: &ActionFilter) -> Result<Vec<ActionRow>, sqlx::Error> {
    bounded(db, async |db| {
        let mut transaction = sqlx::Connection::begin_with(db, BEGIN_LIST).await?;
        let rows = sqlx::query_as!(
            ActionRow,
            r#"SELECT a.id, a.call_id, c.occurred_at AS "call_occurred_at!", c.caller_name, c.caller_number, a.text,
                   a.owner, a.due_words, a.due_at, a.state, a.evidence, a.supported, a.version, a.created_at,
                   a.edited_at, a.completed_at
               FROM action_items a JOIN calls c ON c.id = a.call_id
               WHERE a.current
                 AND ($1::text IS NULL OR a.state = $1)
                 AND ($2::text IS NULL OR lower(a.owner) = lower($2))
                 AND ($3::timestamptz IS NULL OR a.due_at < $3)
                 AND ($4::bool IS NULL OR CASE WHEN $4 THEN a.state = 'open' AND a.due_at <= $15
                                               ELSE (a.state = 'open' AND a.due_at <= $15) IS NOT TRUE END)
                 AND ($5::uuid IS NULL OR a.call_id = $5)
                 AND ($6::timestamptz IS NULL OR c.started_at >= $6)
                 AND ($7::timestamptz IS NULL OR c.started_at < $7)
                 AND ($8::timestamptz IS NULL OR (a.created_at, a.id) < ($8, $9))
                 AND call_is_within(c.direction, c.caller_number, c.called_number, c.occurred_at, $10, $11, $12, $13)
               ORDER BY a.created_at DESC, a.id DESC LIMIT $14"#,
            filter.state,
            filter.owner,
            filter.due_before,
            filter.overdue,
            filter.call_id,
            filter.from,
            filter.to,
            filter.after.map(|(at, _)| at),
            filter.after.map(|(_, id)| id),
            filter.bounds.direction(),
            filter.bounds.number_prefix(),
            filter.bounds.from,
            filter.bounds.to,
            filter.limit,
            filter.now
        )
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(rows)
    })
    .await
}

/// One current action item of a call that the key opens. `lock` keeps others from changing it until the transaction ends.
pub async fn find(
    db: &mut PgConnection,
    id: Uuid,
    bounds: &CallBounds,
    lock: bool,
) -> Result<Option<ActionRow>, sqlx::Error> {
    if lock {
        // Before the look below, which then sees what others have made of it. The call first, as an analysis does that is
        // saved meanwhile.
        sqlx::query!(
            "SELECT 1 AS one FROM calls WHERE id = (SELECT call_id FROM action_items WHERE id = $1) FOR NO KEY UPDATE",
            id
        )
        .fetch_optional(&mut *db)
        .await?;
        sqlx::query!("SELECT 1 AS one FROM action_items WHERE id = $1 FOR NO KEY UPDATE", id)
            .fetch_optional(&mut *db)
            .await?;
    }
    sqlx::query_as!(
        ActionRow,
        r#"SELECT a.id, a.call_id, c.occurred_at AS "call_occurred_at!", c.caller_name, c.caller_number, a.text,
               a.owner, a.due_words, a.due_at, a.state, a.evidence, a.supported, a.version, a.created_at,
               a.edited_at, a.completed_at
           FROM action_items a JOIN calls c ON c.id = a.call_id
           WHERE a.id = $1 AND a.current
             AND call_is_within(c.direction, c.caller_number, c.called_number, c.occurred_at, $2, $3, $4, $5)"#,
        id,
        bounds.direction(),
        bounds.number_prefix(),
        bounds.from,
        bounds.to
    )
    .fetch_optional(db)
    .await
}

/// Writes what a person has made of an item, and counts its version up. Gives back the row as it is now; `None` when
/// somebody has changed it since it was read.
pub async fn edit(db: &mut PgConnection, item: &ActionRow) -> Result<Option<ActionRow>, sqlx::Error> {
    let written = sqlx::query!(
        r#"UPDATE action_items
           SET proposed_text = coalesce(proposed_text, text), text = $2, owner = $3, due_words = $4, due_at = $5,
               state = $6, version = version + 1, edited_at = now(),
               completed_at = CASE WHEN $6 <> 'done' THEN NULL WHEN state = 'done' THEN completed_at ELSE now() END
           WHERE id = $1 AND version = $7 RETURNING version, edited_at, completed_at"#,
        item.id,
        item.text,
        item.owner,
        item.due_words,
        item.due_at,
        item.state,
        item.version
    )
    .fetch_optional(db)
    .await?;
    Ok(written.map(|written| ActionRow {
        version: written.version,
        edited_at: written.edited_at,
        completed_at: written.completed_at,
        ..item.clone()
    }))
}

/// What a call has at present.
struct Known {
    id: Uuid,
    run: i32,
    position: i32,
    text: String,
    proposed_text: Option<String>,
    is_edited: bool,
    version: i32,
    created_at: DateTime<Utc>,
}

/// Puts the items of a new run in the place of the call's present ones, but for those that a person has changed: they stay
/// as they are, and what the run says of them once more is kept beside them, in no list. An item that is said again keeps
/// its id; the earlier row stays as a version of the past, under another one. May be repeated.
pub(super) async fn replace(
    db: &mut PgConnection,
    call_id: CallId,
    run: i32,
    items: &[ActionItem],
) -> Result<(), sqlx::Error> {
    let known = known(db, call_id).await?;
    let texts: Vec<Vec<&str>> = known
        .iter()
        .map(|known| known.proposed_text.iter().chain([&known.text]).map(String::as_str).collect())
        .collect();
    let pairs = promise::pair(&texts, &items.iter().map(|item| item.text.as_str()).collect::<Vec<_>>());
    retire(db, call_id, run).await?;
    // A kept item may stand where one of the same run wants to stand.
    let taken: HashSet<i32> = known.iter().filter(|k| k.is_edited && k.run == run).map(|k| k.position).collect();
    let mut positions = (0..).filter(|position| !taken.contains(position));
    for (item, pair) in items.iter().zip(pairs) {
        let before = pair.map(|at| &known[at]);
        let place = Place { call_id, run, position: positions.next().unwrap_or_default() };
        insert(db, place, item, before).await?;
    }
    Ok(())
}

async fn known(db: &mut PgConnection, call_id: CallId) -> Result<Vec<Known>, sqlx::Error> {
    sqlx::query_as!(
        Known,
        r#"SELECT id, run, position, text, proposed_text, edited_at IS NOT NULL AS "is_edited!", version, created_at
           FROM action_items WHERE call_id = $1 AND current ORDER BY run, position
           -- Nobody changes one of them between this look and the end of the transaction.
           FOR UPDATE"#,
        call_id.0
    )
    .fetch_all(db)
    .await
}

/// Takes out of the lists what no person has changed. What an earlier try of the same run wrote is deleted; what an earlier
/// run wrote is kept under an id of its own, so that the present one may have the old id.
async fn retire(db: &mut PgConnection, call_id: CallId, run: i32) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM action_items WHERE call_id = $1 AND run = $2 AND edited_at IS NULL", call_id.0, run)
        .execute(&mut *db)
        .await?;
    sqlx::query!(
        "UPDATE action_items SET current = false, id = gen_random_uuid()
         WHERE call_id = $1 AND run <> $2 AND current AND edited_at IS NULL",
        call_id.0,
        run
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Where an item of an analysis stands.
struct Place {
    call_id: CallId,
    run: i32,
    position: i32,
}

/// Writes an item. Of what a person has changed it is no more than a version: it is not the present one.
async fn insert(
    db: &mut PgConnection,
    place: Place,
    item: &ActionItem,
    before: Option<&Known>,
) -> Result<(), sqlx::Error> {
    let is_current = before.is_none_or(|known| !known.is_edited);
    let before = before.filter(|_| is_current);
    sqlx::query!(
        "INSERT INTO action_items (id, call_id, run, position, text, owner, due_words, due_at, evidence, supported,
             version, created_at, current)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, coalesce($12, now()), $13)",
        before.map_or_else(Uuid::now_v7, |known| known.id),
        place.call_id.0,
        place.run,
        place.position,
        item.text,
        item.owner,
        item.due_words,
        item.due_at,
        &item.evidence,
        item.supported,
        before.map_or(1, |known| known.version + 1),
        before.map(|known| known.created_at),
        is_current
    )
    .execute(db)
    .await?;
    Ok(())
}
