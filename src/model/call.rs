//! A call: who, when, how long, and where it stands.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Makes an enum that is text in the database and in JSON.
#[macro_export]
macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// All values, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in the database and in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    other => Err(format!(concat!("`{}` is none of", $(" `", $text, "`"),+), other)),
                }
            }
        }
    };
}

text_enum!(
    /// Where a call stands. A projection of its jobs, kept by the database in the same transaction; nothing is ever
    /// scheduled from it.
    CallState {
        /// A job of the call runs or is due.
        Processing = "processing",
        /// Every open job of the call waits until a later time; `state_reason` and `waiting_until` say why and how long.
        Waiting = "waiting",
        /// Every delivery has ended.
        Completed = "completed",
        /// A normal end: there was nothing to transcribe.
        NoRecording = "no_recording",
        /// A step before notify failed for good; `state_reason` says why.
        Failed = "failed",
    }
);

text_enum!(
    /// Which way the call went.
    Direction {
        /// The other side called us.
        Inbound = "inbound",
        /// We called.
        Outbound = "outbound",
        /// The sender said something else or nothing.
        Unknown = "unknown",
    }
);

text_enum!(
    /// What there is to hear.
    RecordingState {
        /// Announced and not downloaded yet.
        Pending = "pending",
        /// Stored.
        Available = "available",
        /// The call was not recorded.
        None = "none",
        /// Deleted by age.
        Expired = "expired",
        /// Deleted on request.
        Erased = "erased",
    }
);

/// One side of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// Name as the telephone system knows it.
    pub name: Option<String>,
    /// Number as the telephone system writes it.
    pub number: Option<String>,
}

impl Party {
    /// The name, else the number, else `None`.
    pub fn label(&self) -> Option<&str> {
        self.name.as_deref().or(self.number.as_deref()).filter(|text| !text.trim().is_empty())
    }
}

/// A call as a webhook tells of it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCall {
    /// The sender's id of the call; unique within its source.
    pub external_id: String,
    /// Which way it went.
    pub direction: Direction,
    /// Who called.
    pub caller: Party,
    /// Who was called.
    pub called: Party,
    /// Start, if told.
    pub started_at: Option<DateTime<Utc>>,
    /// End, if told.
    pub ended_at: Option<DateTime<Utc>>,
    /// Length in seconds, if told or computable.
    pub duration_seconds: Option<i32>,
    /// Where the recording is; `None` = not recorded, a normal end.
    pub recording_url: Option<String>,
}
