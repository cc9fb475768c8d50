//! The ledger of messages: one row per call, channel and destination.

use chrono::{DateTime, Utc};

use super::DeliveryId;
use crate::text_enum;

text_enum!(
    /// Where a message stands.
    DeliveryState {
        /// Not tried yet, or surely not sent and to be tried again.
        Pending = "pending",
        /// Handed to the channel; no answer yet. Found at the start of an attempt, it means that a process died here.
        Sending = "sending",
        /// The channel confirmed it.
        Sent = "sent",
        /// Sent, but the answer was lost: it may have arrived or not.
        Unknown = "unknown",
        /// Refused for good, for this destination only.
        Failed = "failed",
    }
);

/// What a channel needs beside the text: to whom, and what must stay the same when it is sent again.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// Row of the ledger.
    pub delivery_id: DeliveryId,
    /// Address or channel, as [`crate::channels::Channel::destinations`] named it.
    pub destination: String,
    /// True when an earlier try may have arrived: the message says "possible repeat".
    pub possible_repeat: bool,
    /// `Message-ID` without angle brackets; the same for every try of this delivery.
    pub message_id: String,
    /// `Date` of the message; the same for every try of this delivery.
    pub date: DateTime<Utc>,
}
