//! THE list of ways in which a summary reaches people, and the contract that each of them keeps.

use async_trait::async_trait;

use crate::model::{CallBrief, Envelope, UpstreamError};

pub mod email;
pub mod slack;
pub mod text;
pub mod wording;

#[cfg(test)]
mod examples;

/// A way to reach people. Adding one: a new file here, and one line in `app::channels`.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Word in the ledger and in filters: `slack`, `email`. Never changes.
    fn name(&self) -> &'static str;

    /// Who gets a message, one delivery each. Fixed by the settings; never a secret (it is stored and shown).
    fn destinations(&self) -> Vec<String>;

    /// Sends one message to `envelope.destination`. May be called again with the same envelope after a failure: what
    /// identifies the message (`message_id`, `date`) stays the same. Bounded in time by the channel itself.
    async fn send(&self, brief: &CallBrief, envelope: &Envelope) -> Result<Receipt, SendError>;
}

/// The channel's word that a message was taken.
#[derive(Debug, Clone, Default)]
pub struct Receipt {
    /// What the other side calls the message: Slack's `ts`, the mail server's queue id.
    pub reference: Option<String>,
    /// Id of the request, for the other side's support.
    pub request_id: Option<String>,
}

/// Why a message is not known to have arrived.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendError {
    /// Surely not sent: the fault says whether and when to try again. `Permanent` means this destination only.
    #[error("{0}")]
    NotSent(UpstreamError),
    /// Surely not sent, for a reason that the channel does not know. It may pass, so that it is tried a few times, but
    /// not for a day.
    #[error("{0}")]
    Unexplained(UpstreamError),
    /// It may have arrived: the answer was lost after the message was written.
    #[error("{0}")]
    Unknown(UpstreamError),
}
