//! What strangers can cause as often as they like is counted, and told of once in a while.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// At most one line in this time.
const PAUSE: Duration = Duration::from_secs(10);

/// Counts one kind of event.
pub struct Tally(Mutex<Count>);

struct Count {
    untold: u64,
    told: Option<Instant>,
}

impl Tally {
    /// None so far.
    pub const fn zero() -> Self {
        Self(Mutex::new(Count { untold: 0, told: None }))
    }

    /// One more. If it is time to tell of it: how many there have been since that was last done.
    pub fn note(&self) -> Option<u64> {
        self.note_at(Instant::now())
    }

    fn note_at(&self, now: Instant) -> Option<u64> {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        count.untold += 1;
        if count.told.is_some_and(|told| now < told + PAUSE) {
            return None;
        }
        count.told = Some(now);
        Some(std::mem::take(&mut count.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_every_ten_seconds() {
        let (tally, start) = (Tally::zero(), Instant::now());
        let told: Vec<u64> =
            (0..250).filter_map(|tenth| tally.note_at(start + Duration::from_millis(tenth * 100))).collect();
        assert_eq!(told, [1, 100, 100]);
    }
}
