//! Heads: where the next claim from a backlog goes on. Behind the job that was claimed last, the index of due jobs begins
//! with entries of jobs that are gone, and each claim would walk over all of them until a VACUUM (ADR 0001). So a claim
//! that was filled tells the next one where to begin; what comes in before that place, by its priority or because it was
//! given back, is found by the next look from the start.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// How long a lane's claims may go on without a look from the start: the most by which a job of a higher priority waits
/// for those of a lower one while there is a backlog.
const LONGEST_RUN: Duration = Duration::from_millis(50);

/// A place in the order of due jobs: of the one that was claimed last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) priority: i16,
    pub(super) run_at: DateTime<Utc>,
    pub(super) id: i64,
}

/// The head of one lane.
#[derive(Debug, Default)]
pub(super) struct LaneHead {
    head: Option<Head>,
    /// When its claims last began at the start.
    looked: Option<Instant>,
}

impl LaneHead {
    /// Where the next claim begins; `None` = at the start.
    pub(super) fn next(&self, now: Instant) -> Option<Head> {
        self.head.filter(|_| self.looked.is_some_and(|looked| now < looked + LONGEST_RUN))
    }

    /// After a claim that was filled: there may be more behind its last job.
    pub(super) fn advance(&mut self, began_at: Option<Head>, last: Head, now: Instant) {
        if began_at.is_none() {
            self.looked = Some(now);
        }
        self.head = Some(last);
    }

    /// The next claim looks from the start.
    pub(super) fn forget(&mut self) {
        self.head = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock;

    fn head(id: i64) -> Head {
        Head { priority: 0, run_at: clock::now(), id }
    }

    #[test]
    fn claims_go_on_where_the_last_one_ended_and_look_from_the_start_in_time() {
        let (mut lane, start) = (LaneHead::default(), Instant::now());
        assert!(lane.next(start).is_none(), "the first claim looks from the start");
        lane.advance(None, head(1), start);
        let half = start + LONGEST_RUN / 2;
        let next = lane.next(half);
        assert_eq!(next.map(|head| head.id), Some(1));
        lane.advance(next, head(2), half);
        assert_eq!(lane.next(half).map(|head| head.id), Some(2));
        assert!(lane.next(start + LONGEST_RUN).is_none(), "going on does not put off the look from the start");
        lane.advance(None, head(3), start + LONGEST_RUN);
        lane.forget();
        assert!(lane.next(start + LONGEST_RUN).is_none());
    }
}
