//! `kpis`: the numbers of each day of a time zone, and how far they have followed the changes (`kpi_progress`).

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{PgConnection, PgPool};

use super::bounded;
use super::changes::Place;
use super::sums::Sum;
use crate::model::{DayRange, Days, Numbers};

/// A row of the table, as of a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct DayRow {
    /// Day.
    pub day: NaiveDate,
    /// Its numbers.
    pub numbers: Numbers,
    /// When they were added up; `None` = not yet.
    pub added_up_at: Option<DateTime<Utc>>,
    /// Seconds since it is known that one of its calls has changed; `None` = none has.
    pub stale_seconds: Option<f64>,
}

/// The days of a range that have calls; what is overdue, is so at `now`.
pub async fn between(db: &PgPool, days: Days, range: DayRange, now: DateTime<Utc>) -> Result<Vec<DayRow>, sqlx::Error> {
    let rows = bounded(db, async |db| {
        sqlx::query!(
            r#"SELECT day, added_up_at, extract(epoch FROM now() - stale_since)::float8 AS stale_seconds, calls, missed, timed, duration_seconds, positive, neutral, negative, mixed,
                   urgency_sum, urgent, action_items, action_items_done, width_bucket($4, open_due_at) AS "overdue!",
                   notified_after, notified_calls, cost_micro_units, costs_unknown
               FROM kpis WHERE time_zone = $1 AND day BETWEEN $2 AND $3 ORDER BY day"#,
            days.zone(),
            range.first,
            range.last,
            now
        )
        .fetch_all(db)
        .await
    })
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| DayRow {
            day: row.day,
            added_up_at: row.added_up_at,
            stale_seconds: row.stale_seconds,
            numbers: Numbers {
                calls: row.calls.into(),
                missed: row.missed.into(),
                timed: row.timed.into(),
                duration_seconds: row.duration_seconds,
                positive: row.positive.into(),
                neutral: row.neutral.into(),
                negative: row.negative.into(),
                mixed: row.mixed.into(),
                urgency_sum: row.urgency_sum.into(),
                urgent: row.urgent.into(),
                action_items: row.action_items.into(),
                action_items_done: row.action_items_done.into(),
                overdue: row.overdue.into(),
                notified: row.notified_after.into_iter().zip(row.notified_calls.into_iter().map(i64::from)).collect(),
                cost_micro_units: row.cost_micro_units,
                costs_unknown: row.costs_unknown.into(),
            },
        })
        .collect())
}

/// Says that something has changed on these days.
pub async fn mark(db: &mut PgConnection, days: Days, changed: &[NaiveDate]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO kpis (time_zone, day) SELECT $1, day FROM unnest($2::date[]) AS t (day) ORDER BY day
         ON CONFLICT (time_zone, day) DO UPDATE SET stale_since = coalesce(kpis.stale_since, now())",
        days.zone(),
        changed
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The days on which something has changed, the latest first.
pub async fn stale(db: &PgPool, days: Days) -> Result<Vec<NaiveDate>, sqlx::Error> {
    bounded(db, async |db| {
        sqlx::query_scalar!(
            "SELECT day FROM kpis WHERE time_zone = $1 AND stale_since IS NOT NULL ORDER BY day DESC",
            days.zone()
        )
        .fetch_all(db)
        .await
    })
    .await
}

/// Locks such a day. False = somebody else is at it, or was.
pub async fn hold_stale(db: &mut PgConnection, days: Days, day: NaiveDate) -> Result<bool, sqlx::Error> {
    let held = sqlx::query_scalar!(
        "SELECT day FROM kpis WHERE time_zone = $1 AND day = $2 AND stale_since IS NOT NULL
         -- Whoever finds a further change on it waits, and marks it again.
         FOR UPDATE SKIP LOCKED",
        days.zone(),
        day
    )
    .fetch_optional(db)
    .await?;
    Ok(held.is_some())
}

/// Keeps the numbers of a day.
pub async fn save(db: &mut PgConnection, days: Days, day: NaiveDate, sum: &Sum) -> Result<(), sqlx::Error> {
    let Numbers { calls, missed, timed, duration_seconds, positive, neutral, negative, mixed, .. } = sum.numbers;
    let Numbers { urgency_sum, urgent, action_items, action_items_done, .. } = sum.numbers;
    let after: Vec<i32> = sum.numbers.notified.keys().copied().collect();
    let counts: Vec<i32> = sum.numbers.notified.values().map(|calls| *calls as i32).collect();
    sqlx::query!(
        "UPDATE kpis SET stale_since = NULL, added_up_at = now(), calls = $3, missed = $4, timed = $5, duration_seconds = $6,
             positive = $7, neutral = $8, negative = $9, mixed = $10, urgency_sum = $11, urgent = $12,
             action_items = $13, action_items_done = $14, open_due_at = $15, notified_after = $16,
             notified_calls = $17, cost_micro_units = $18, costs_unknown = $19
         WHERE time_zone = $1 AND day = $2",
        days.zone(),
        day,
        calls as i32,
        missed as i32,
        timed as i32,
        duration_seconds,
        positive as i32,
        neutral as i32,
        negative as i32,
        mixed as i32,
        urgency_sum as i32,
        urgent as i32,
        action_items as i32,
        action_items_done as i32,
        &sum.open_due_at,
        &after,
        &counts,
        sum.numbers.cost_micro_units,
        sum.numbers.costs_unknown as i32
    )
    .execute(db)
    .await?;
    Ok(())
}

/// How far the changes have been followed.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// The last change that was followed.
    pub place: Place,
    /// All that was committed up to so many seconds ago has been followed.
    pub age_seconds: f64,
}

/// How far they have been followed; `None` = nobody has begun for this time zone.
pub async fn progress(db: &PgPool, days: Days) -> Result<Option<Progress>, sqlx::Error> {
    let found = bounded(db, async |db| {
        sqlx::query!(
            r#"SELECT transaction, change, extract(epoch FROM now() - followed_at)::float8 AS "age_seconds!"
               FROM kpi_progress WHERE time_zone = $1"#,
            days.zone()
        )
        .fetch_optional(db)
        .await
    })
    .await?;
    Ok(found.map(|row| Progress {
        place: Place { transaction: row.transaction, id: row.change },
        age_seconds: row.age_seconds,
    }))
}

/// The same, for whoever follows them further: nobody else does meanwhile. `None` = somebody else is at it, or nobody has
/// begun.
pub async fn hold_progress(db: &mut PgConnection, days: Days) -> Result<Option<Progress>, sqlx::Error> {
    let found = sqlx::query!(
        r#"SELECT transaction, change, extract(epoch FROM now() - followed_at)::float8 AS "age_seconds!"
           FROM kpi_progress WHERE time_zone = $1 FOR UPDATE SKIP LOCKED"#,
        days.zone()
    )
    .fetch_optional(db)
    .await?;
    Ok(found.map(|row| Progress {
        place: Place { transaction: row.transaction, id: row.change },
        age_seconds: row.age_seconds,
    }))
}

/// Begins a time zone. False = somebody else has.
pub async fn begin(db: &mut PgConnection, days: Days, place: Place) -> Result<bool, sqlx::Error> {
    let begun = sqlx::query!(
        "INSERT INTO kpi_progress (time_zone, transaction, change) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        days.zone(),
        place.transaction,
        place.id
    )
    .execute(db)
    .await?;
    Ok(begun.rows_affected() == 1)
}

/// The changes have been followed up to here, and all that was committed up to a moment, if that is known.
pub async fn advance(
    db: &mut PgConnection,
    days: Days,
    place: Place,
    up_to: Option<DateTime<Utc>>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE kpi_progress SET transaction = $2, change = $3, followed_at = greatest(followed_at, $4)
         WHERE time_zone = $1",
        days.zone(),
        place.transaction,
        place.id,
        up_to
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Begins a time zone anew.
pub async fn begin_anew(db: &mut PgConnection, days: Days, place: Place) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE kpi_progress SET transaction = $2, change = $3, followed_at = now() WHERE time_zone = $1",
        days.zone(),
        place.transaction,
        place.id
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The quarters of an hour in which any call occurred: no zone has a day that begins within one, of those that are in use.
pub async fn all_quarters(db: &mut PgConnection) -> Result<Vec<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT DISTINCT date_bin('15 minutes', occurred_at, '2000-01-01Z') AS "quarter!" FROM calls
           WHERE started_at IS NOT NULL"#
    )
    .fetch_all(db)
    .await
}
