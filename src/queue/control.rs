//! Control: what operators said of a step, and how claimers hear of it. The claim itself asks nothing: the claimer looks
//! at a table of a few rows at least every 1.5 s, and at once when it is told, and gives each lane as many slots as that
//! says (ADR 0006).

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use tokio::time::Instant;

use super::lease::Lane;
use super::link::Link;
use super::wake::{CHANNEL, Waker};

/// With the longest sleep of a claimer this keeps the promise that running workers follow within 2 s, notice or not.
const LOOK_INTERVAL: Duration = Duration::from_millis(1500);

/// What operators said of a step; a step that they said nothing of has none.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StepControl {
    /// Step.
    pub step: String,
    /// Since when nothing of it is claimed; `None` = it goes on.
    pub paused_at: Option<DateTime<Utc>>,
    /// Who paused it.
    pub paused_by: Option<String>,
    /// Why.
    pub pause_reason: Option<String>,
    /// Jobs at the same time in each worker process, in place of its settings.
    pub slots: Option<i32>,
    /// Who said so.
    pub limited_by: Option<String>,
}

/// A claimer's view of the controls.
pub(super) struct Controls {
    waker: Waker,
    /// News that the last look has taken in; `None` before the first.
    seen: Option<u64>,
    next_look: Instant,
}

impl Controls {
    pub(super) fn new(waker: Waker) -> Self {
        Self { waker, seen: None, next_look: Instant::now() }
    }

    /// When the next look is due, if nobody tells of news before.
    pub(super) fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Looks if it is time to, and gives the lanes their slots. False when the database did not answer: what operators
    /// said is then not known, and nothing may be claimed. Until the first look no lane has a slot.
    pub(super) async fn look<'a>(&mut self, link: &mut Link, lanes: impl Iterator<Item = &'a Lane>) -> bool {
        // Before the look: what comes while it is under way is for the next one.
        let news = self.waker.news_of_controls();
        if self.seen == Some(news) && Instant::now() < self.next_look {
            return true;
        }
        let Ok(controls) = link.run(async |db| controls(db).await).await else { return false };
        for lane in lanes {
            let said = controls.iter().find(|control| control.step == lane.policy.name);
            lane.set_slots(match said {
                Some(control) if control.paused_at.is_some() => 0,
                Some(StepControl { slots: Some(slots), .. }) => usize::try_from(*slots).unwrap_or_default(),
                _ => lane.policy.concurrency,
            });
        }
        (self.seen, self.next_look) = (Some(news), Instant::now() + LOOK_INTERVAL);
        true
    }
}

/// What operators have said, by step.
pub async fn controls(db: impl PgExecutor<'_>) -> Result<Vec<StepControl>, sqlx::Error> {
    sqlx::query_as!(
        StepControl,
        "SELECT step, paused_at, paused_by, pause_reason, slots, limited_by FROM step_controls
         WHERE paused_at IS NOT NULL OR slots IS NOT NULL ORDER BY step"
    )
    .fetch_all(db)
    .await
}

/// Pauses a step in the whole cluster: none of its jobs is claimed until [`resume`]; those that run go on. False = it was
/// paused already, and stays so under the name of who did it first.
pub async fn pause(db: &mut PgConnection, step: &str, by: &str, reason: Option<&str>) -> Result<bool, sqlx::Error> {
    let paused = sqlx::query!(
        "INSERT INTO step_controls (step, paused_at, paused_by, pause_reason) VALUES ($1, now(), $2, $3)
         ON CONFLICT (step) DO UPDATE SET paused_at = excluded.paused_at, paused_by = excluded.paused_by,
             pause_reason = excluded.pause_reason
         WHERE step_controls.paused_at IS NULL",
        step,
        by,
        reason
    )
    .execute(&mut *db)
    .await?;
    tell(db).await?;
    Ok(paused.rows_affected() > 0)
}

/// Ends a pause. False = there was none.
pub async fn resume(db: &mut PgConnection, step: &str) -> Result<bool, sqlx::Error> {
    let resumed = sqlx::query!(
        "UPDATE step_controls SET paused_at = NULL, paused_by = NULL, pause_reason = NULL
         WHERE step = $1 AND paused_at IS NOT NULL",
        step
    )
    .execute(&mut *db)
    .await?;
    tell(db).await?;
    Ok(resumed.rows_affected() > 0)
}

/// Lets each worker process that works on the step run so many of its jobs at the same time, 1 to 1000; `None` = as many
/// as its settings say. Those that run go on. False = it was so already.
pub async fn limit(db: &mut PgConnection, step: &str, slots: Option<i32>, by: &str) -> Result<bool, sqlx::Error> {
    let by = slots.map(|_| by);
    let limited = sqlx::query!(
        "INSERT INTO step_controls AS c (step, slots, limited_by) VALUES ($1, $2, $3)
         ON CONFLICT (step) DO UPDATE SET slots = excluded.slots, limited_by = excluded.limited_by
         WHERE c.slots IS DISTINCT FROM excluded.slots",
        step,
        slots,
        by
    )
    .execute(&mut *db)
    .await?;
    tell(db).await?;
    Ok(limited.rows_affected() > 0)
}

/// Tells all workers to look when the transaction commits. An operator's act is rare enough for the lock that a commit
/// with a notice takes.
async fn tell(db: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_notify($1, '')", CHANNEL).execute(db).await?;
    Ok(())
}
