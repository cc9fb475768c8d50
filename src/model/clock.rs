//! The one place that reads the wall clock.

use chrono::{DateTime, SubsecRound, Utc};

/// Now, in whole microseconds as PostgreSQL keeps it, so that a stored time equals the one in memory.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}
