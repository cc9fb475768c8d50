//! Plain data that the rooms hand to one another. No I/O, no SQL, no HTTP.

pub mod actor;
pub mod analysis;
pub mod api_key;
pub mod brief;
pub mod call;
pub mod clock;
pub mod days;
pub mod delivery;
pub mod failure;
pub mod hex;
pub mod id;
pub mod kpi;
pub mod outage;
pub mod plain;
pub mod price;
pub mod promise;
pub mod shell;
pub mod time;
pub mod transcript;
pub mod upstream;

pub use actor::Actor;
pub use analysis::{ActionItem, Analysis, Sentiment, Statement};
pub use api_key::{ApiKey, CallBounds, Scope};
pub use brief::CallBrief;
pub use call::{CallState, Direction, NewCall, Party, RecordingState};
pub use days::{DayRange, Days, Spans};
pub use delivery::{DeliveryState, Envelope};
pub use failure::FailureClass;
pub use hex::hex;
pub use id::{CallId, DeliveryId, Fence, JobId};
pub use kpi::Numbers;
pub use outage::{database_is_away, was_stopped};
pub use price::PriceList;
pub use transcript::{EndsEarly, Segment, Speaker, Timing, Transcript};
pub use upstream::{Fault, UpstreamError, Usage, UsageByModel};
