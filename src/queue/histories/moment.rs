//! A time in a row: known exactly once the database has chosen it.

use chrono::{DateTime, TimeDelta, Utc};

/// Rounding of microseconds, and of seconds in floating point.
const ROUNDING: f64 = 0.001;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Moment {
    Never,
    At(DateTime<Utc>),
    /// So many seconds after the operation under way.
    Within {
        least: f64,
        most: f64,
    },
}

impl Moment {
    pub(super) fn after(seconds: f64) -> Self {
        Self::Within { least: seconds, most: seconds }
    }

    pub(super) fn known(self) -> Option<DateTime<Utc>> {
        if let Self::At(at) = self { Some(at) } else { None }
    }

    pub(super) fn is_past(self, now: DateTime<Utc>) -> bool {
        self.known().is_some_and(|at| at <= now)
    }

    pub(super) fn recede(&mut self, time: TimeDelta) {
        if let Self::At(at) = self {
            *at -= time;
        }
    }

    /// Whether the row may say this after an operation between `from` and `to`; from then on it must go on to say so.
    pub(super) fn settle(&mut self, found: Option<DateTime<Utc>>, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        match (*self, found) {
            (Self::Never, None) => true,
            (Self::At(at), Some(found)) => at == found,
            (Self::Within { least, most }, Some(found)) => {
                *self = Self::At(found);
                (found - from).as_seconds_f64() >= least - ROUNDING && (found - to).as_seconds_f64() <= most + ROUNDING
            }
            _ => false,
        }
    }
}
