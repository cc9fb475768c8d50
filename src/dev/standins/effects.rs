//! What the stand-ins really did: the other side of the ledger, for those who check that nothing was done twice unseen
//! and nothing was paid for twice.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use poem::Response;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Upstream;
use super::faults::Struck;
use crate::model::{Usage, clock, hex};

/// The oldest go.
const MOST_KEPT: usize = 20_000;

/// Something that was done: a recording handed out, an answer computed (and billed), a message posted, a mail taken.
#[derive(Debug, Clone)]
pub struct Effect {
    /// When.
    pub at: DateTime<Utc>,
    /// Who did it.
    pub upstream: Upstream,
    /// To what: the recording's path and query; the SHA-256 of the audio or of the messages; the first UUID in a Slack
    /// message, which is the call's; the `Message-ID` of a mail.
    pub subject: String,
    /// What a real one would bill.
    pub usage: Usage,
    /// The fault that the request met.
    pub fault: Option<&'static str>,
    /// The client was not told.
    pub lost: bool,
}

/// What an endpoint has done, on its way to the door.
#[derive(Debug, Clone, Default)]
pub(super) struct Deed {
    pub subject: String,
    pub usage: Usage,
}

/// All effects, oldest first. Copies share one list.
#[derive(Debug, Clone, Default)]
pub(super) struct Effects(Arc<Mutex<VecDeque<Effect>>>);

impl Deed {
    /// To something that has a name.
    pub(super) fn to(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), usage: Usage::default() }
    }

    /// To something that is known by its content.
    pub(super) fn to_content(content: &[u8], usage: Usage) -> Self {
        Self { subject: hex(&Sha256::digest(content)), usage }
    }

    /// The same, where the answer of a language model now tells another use.
    pub(super) fn billed_as(mut self, answer: &Value) -> Self {
        let tokens = |name: &str| answer["usage"][name].as_i64();
        self.usage.input_tokens = tokens("prompt_tokens").unwrap_or(self.usage.input_tokens);
        self.usage.output_tokens = tokens("completion_tokens").unwrap_or(self.usage.output_tokens);
        self
    }

    /// Lays it into an answer, where the door finds it.
    pub(super) fn on(self, mut response: Response) -> Response {
        response.set_data(self);
        response
    }
}

impl Effects {
    /// Notes what was done, and whether the client will learn of it.
    pub(super) fn note(&self, upstream: Upstream, deed: &Deed, struck: Option<&Struck>) {
        let Deed { subject, usage } = deed.clone();
        let fault = struck.map(|struck| struck.fault.name);
        let lost = struck.is_some_and(|struck| struck.fault.loses());
        let effect = Effect { at: clock::now(), upstream, subject, usage, fault, lost };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(effect);
        if kept.len() > MOST_KEPT {
            kept.pop_front();
        }
    }

    pub(super) fn all(&self) -> Vec<Effect> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
