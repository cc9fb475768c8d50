//! The numbers of ranges of days: from the table or, where that does not do, from the calls themselves, with a limit to
//! what that takes.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::sums;
use crate::model::{CallBounds, DayRange, Days, Numbers, was_stopped};
use crate::store::{self, kpis};

/// The numbers of the table count as long as somebody looks after them, and those of a day until it is known for so long
/// that something has changed.
const FRESH: Duration = Duration::from_mins(2);
/// So many at a time read the calls. All others find the connections to the database free.
const TURNS: usize = 2;
/// Longest wait for a turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// Days whose calls are read at once: a year of them would take too long, and hold a connection all the time.
const PIECE: usize = 7;

/// Numbers, and how new they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Those of each range, in their order.
    pub numbers: Vec<Numbers>,
    /// When the latest of them were added up; `None` = just now, from the calls.
    pub added_up_at: Option<DateTime<Utc>>,
}

/// Why there are no numbers.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// Others read the calls at this moment.
    #[error("as many as may read the calls at a time do so already")]
    Busy,
    /// There are more calls than can be read within the database's time limit.
    #[error("the database has stopped the question at its time limit")]
    TooMuch,
    /// The database did not do it.
    #[error(transparent)]
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Unread {
    fn from(error: sqlx::Error) -> Self {
        if was_stopped(&error) { Self::TooMuch } else { Self::Database(error) }
    }
}

/// Reads numbers; one for all who ask a server.
pub struct Reader {
    turns: Semaphore,
}

impl Default for Reader {
    fn default() -> Self {
        Self { turns: Semaphore::new(TURNS) }
    }
}

impl Reader {
    /// The numbers of each range of days, of the calls within the bounds; what is overdue, is so at `now`. From the table
    /// where it has them. From the calls for bounds, of which the table knows nothing, where no worker looks after it, and
    /// for each day that no worker has come to.
    pub async fn read(
        &self,
        db: &PgPool,
        days: Days,
        ranges: &[DayRange],
        bounds: &CallBounds,
        now: DateTime<Utc>,
    ) -> Result<Reading, Unread> {
        let mut reading = Reading { numbers: vec![Numbers::default(); ranges.len()], added_up_at: None };
        let days_of = |(place, range): (usize, &DayRange)| range.days().map(move |day| (place, day));
        let mut missing: Vec<(usize, NaiveDate)> = ranges.iter().enumerate().flat_map(days_of).collect();
        if bounds.is_unbounded() && is_followed(db, days).await? {
            missing = read_table(db, days, missing, now, &mut reading).await?;
        }
        if missing.is_empty() {
            return Ok(reading);
        }
        let Ok(Ok(_turn)) = timeout(PATIENCE, self.turns.acquire()).await else { return Err(Unread::Busy) };
        for piece in missing.chunks(PIECE) {
            let of = piece.iter().map(|(_, day)| *day);
            let sums = store::bounded(db, async |db| sums(db, days, of, bounds, now).await).await?;
            for ((place, _), sum) in piece.iter().zip(&sums) {
                reading.numbers[*place].add(&sum.numbers);
            }
        }
        Ok(reading)
    }
}

async fn is_followed(db: &PgPool, days: Days) -> Result<bool, sqlx::Error> {
    let progress = kpis::progress(db, days).await?;
    Ok(progress.is_some_and(|progress| progress.age_seconds <= FRESH.as_secs_f64()))
}

/// Adds the numbers of these days, each to those of its range. Gives back the days that the table does not do for; one
/// that it does not have is without calls.
async fn read_table(
    db: &PgPool,
    days: Days,
    wanted: Vec<(usize, NaiveDate)>,
    now: DateTime<Utc>,
    reading: &mut Reading,
) -> Result<Vec<(usize, NaiveDate)>, sqlx::Error> {
    let all = wanted.iter().map(|(_, day)| *day);
    let (Some(first), Some(last)) = (all.clone().min(), all.max()) else { return Ok(wanted) };
    let rows = kpis::between(db, days, DayRange { first, last }, now).await?;
    let rows: HashMap<NaiveDate, kpis::DayRow> = rows.into_iter().map(|row| (row.day, row)).collect();
    let mut missing = Vec::new();
    for (place, day) in wanted {
        let Some(row) = rows.get(&day) else { continue };
        if row.added_up_at.is_none() || row.stale_seconds.is_some_and(|seconds| seconds > FRESH.as_secs_f64()) {
            missing.push((place, day));
        } else {
            reading.numbers[place].add(&row.numbers);
            reading.added_up_at = reading.added_up_at.max(row.added_up_at);
        }
    }
    Ok(missing)
}
