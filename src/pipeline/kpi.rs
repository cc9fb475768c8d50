//! The numbers of days: added up by the workers when something has changed, and read ([`Reader`]).
//!
//! ```text
//! changes -> the days of their calls are stale -> each is added up anew from its calls -> kpis
//! ```

mod reader;

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use super::forgetting::KEPT;
use crate::model::{CallBounds, DayRange, Days, Spans, clock, database_is_away, was_stopped};
use crate::queue;
use crate::store::sums::Sum;
use crate::store::{self, Guarded, changes, kpis};
pub use reader::{Reader, Reading, Unread};

/// Who was away for longer cannot know what was forgotten meanwhile, and begins anew. An hour less, because it takes some
/// time to say so.
const LAPSE: Duration = KEPT.saturating_sub(Duration::from_hours(1));
/// Rows of changes that are followed in one transaction.
const BATCH: i64 = 2_000;
/// How a time is cut off before it is looked up in the calendar (`store::changes::quarters`).
const QUARTER: TimeDelta = TimeDelta::minutes(15);

/// Keeps the numbers of a time zone's days up to date.
#[derive(Clone)]
pub struct Roller {
    db: PgPool,
    days: Days,
}

impl Roller {
    /// For the days of this zone.
    pub fn new(db: PgPool, days: Days) -> Self {
        Self { db, days }
    }

    /// Does so every `interval`, until it is told to stop. Any number of processes may.
    pub async fn keep(self, interval: Duration, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            match self.bring_up_to_date().await {
                Ok(()) => {}
                Err(error) if database_is_away(&error) => {
                    tracing::debug!(%error, "The numbers of the days wait for the database.");
                }
                Err(error) => {
                    tracing::error!(%error, "The numbers of the days are not brought up to date. This is a bug; please report it.");
                }
            }
        }
    }

    /// Follows all changes, then adds up every day that is stale. One that cannot be added up is left for the next time: it
    /// is read from its calls meanwhile.
    pub async fn bring_up_to_date(&self) -> Result<(), sqlx::Error> {
        while self.follow().await? {}
        for day in kpis::stale(&self.db, self.days).await? {
            match self.add_up(day).await {
                Err(error) if was_stopped(&error) || !database_is_away(&error) => {
                    tracing::error!(%day, %error, "The numbers of a day were not added up. This is a bug; please report it.");
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// Marks the days of the next changes. False when there are no more, or somebody else is at it.
    async fn follow(&self) -> Result<bool, sqlx::Error> {
        let mut connection = Guarded::acquire(&self.db).await?;
        let mut transaction = connection.begin().await?;
        let more = self.follow_in(&mut transaction).await?;
        transaction.commit().await?;
        connection.release();
        Ok(more)
    }

    async fn follow_in(&self, db: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let Some(progress) = kpis::hold_progress(db, self.days).await? else { return self.begin(db).await };
        let present = changes::present(db).await?;
        // Numbers of transactions that are yet to come: this is the copy of a database of another server, and whatever
        // has changed since stands before them.
        let is_foreign = progress.place.transaction > present.transaction;
        if is_foreign || progress.age_seconds > LAPSE.as_secs_f64() {
            self.mark_all(db).await?;
            kpis::begin_anew(db, self.days, present).await?;
            return Ok(false);
        }
        let Some(next) = changes::last_of_next(db, progress.place, BATCH).await? else {
            // That there was nothing to follow is worth writing down: it makes the numbers count.
            let up_to = changes::readable_up_to(db).await?;
            kpis::advance(db, self.days, progress.place, Some(up_to)).await?;
            return Ok(false);
        };
        let quarters = changes::quarters(db, progress.place, next).await?;
        self.mark(db, &quarters).await?;
        kpis::advance(db, self.days, next, None).await?;
        Ok(true)
    }

    /// The first time for this zone, unless somebody else has begun: every day that has a call.
    async fn begin(&self, db: &mut PgConnection) -> Result<bool, sqlx::Error> {
        // Before the calls are looked at: what comes in between is then followed as a change, too.
        let present = changes::present(db).await?;
        if kpis::begin(db, self.days, present).await? {
            self.mark_all(db).await?;
        }
        Ok(false)
    }

    async fn mark_all(&self, db: &mut PgConnection) -> Result<(), sqlx::Error> {
        let quarters = kpis::all_quarters(db).await?;
        self.mark(db, &quarters).await
    }

    /// A quarter of an hour over midnight, as historical clocks had them, belongs to two days. One too many does no harm.
    async fn mark(&self, db: &mut PgConnection, quarters: &[DateTime<Utc>]) -> Result<(), sqlx::Error> {
        let ends = |quarter: &DateTime<Utc>| [*quarter, *quarter + QUARTER - TimeDelta::microseconds(1)];
        let stale: BTreeSet<NaiveDate> = quarters.iter().flat_map(ends).map(|moment| self.days.of(moment)).collect();
        if stale.is_empty() {
            return Ok(());
        }
        kpis::mark(db, self.days, &stale.into_iter().collect::<Vec<_>>()).await
    }

    /// Adds up a stale day, unless somebody else does.
    async fn add_up(&self, day: NaiveDate) -> Result<(), sqlx::Error> {
        let mut connection = Guarded::acquire(&self.db).await?;
        let mut transaction = connection.begin().await?;
        if kpis::hold_stale(&mut transaction, self.days, day).await? {
            let sums = sums(&mut transaction, self.days, [day], &CallBounds::default(), clock::now()).await?;
            kpis::save(&mut transaction, self.days, day, &sums.into_iter().next().unwrap_or_default()).await?;
        }
        transaction.commit().await?;
        connection.release();
        Ok(())
    }
}

/// From the calls themselves that began on these days and are within the bounds, with what they have cost.
async fn sums(
    db: &mut PgConnection,
    days: Days,
    of: impl IntoIterator<Item = NaiveDate>,
    bounds: &CallBounds,
    now: DateTime<Utc>,
) -> Result<Vec<Sum>, sqlx::Error> {
    let spans: Spans = of.into_iter().map(|day| days.moments(DayRange { first: day, last: day })).collect();
    let mut sums = store::sums::of(db, &spans, bounds, now).await?;
    for cost in queue::costs_of_spans(db, &spans, bounds).await? {
        let numbers = &mut sums[cost.span as usize].numbers;
        numbers.cost_micro_units = cost.micro_units;
        numbers.costs_unknown = cost.unknown_calls;
    }
    Ok(sums)
}
