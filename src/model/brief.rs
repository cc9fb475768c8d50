//! What a message tells about a call: the one shape that every channel renders in its own way.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use url::Url;

use super::{Analysis, CallId, Direction, Party};

/// A call as a team wants to hear of it.
#[derive(Debug, Clone)]
pub struct CallBrief {
    /// Our id.
    pub call_id: CallId,
    /// The sender's id.
    pub external_id: String,
    /// Which way it went.
    pub direction: Direction,
    /// Who called.
    pub caller: Party,
    /// Who was called.
    pub called: Party,
    /// When it started.
    pub started_at: Option<DateTime<Utc>>,
    /// How long it took, in seconds.
    pub duration_seconds: Option<i32>,
    /// `None` = the call has no recording, so there is nothing but the facts above.
    pub analysis: Option<Analysis>,
    /// The call's page.
    pub link: Url,
    /// Zone in which times are written.
    pub time_zone: Tz,
}
