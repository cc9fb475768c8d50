//! What the stand-ins have really done: the file that they sync before they answer.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use goto_automation::dev::standins::Upstream;
use serde::Deserialize;
use uuid::Uuid;

/// One thing that was done.
#[derive(Debug, Clone, Deserialize)]
pub struct Effect {
    pub arrived_at: DateTime<Utc>,
    pub at: DateTime<Utc>,
    pub upstream: Upstream,
    pub subject: String,
    /// The client was not told, by plan.
    pub lost: bool,
}

/// Everything that was done, oldest first.
#[derive(Debug)]
pub struct Effects(Vec<Effect>);

/// Where a message went: the call, and `slack` or `email` and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Message {
    /// Of this call, to the one channel.
    Slack(Uuid),
    /// Of this delivery.
    Mail(Uuid),
}

impl Effects {
    pub fn read(log: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(log).context("the log of effects cannot be read")?;
        let lines = text.lines().map(serde_json::from_str).collect::<Result<_, _>>();
        Ok(Self(lines.context("the log of effects has a line that is none")?))
    }

    pub fn of(&self, upstream: Upstream) -> impl Iterator<Item = &Effect> {
        self.0.iter().filter(move |effect| effect.upstream == upstream)
    }

    pub fn count(&self, upstream: Upstream) -> usize {
        self.of(upstream).count()
    }

    /// How many different things were done: pieces of audio, questions, recordings.
    pub fn different(&self, upstream: Upstream) -> usize {
        self.of(upstream).map(|effect| &effect.subject).collect::<HashSet<_>>().len()
    }

    /// All messages, and each time that they were taken.
    pub fn messages(&self) -> HashMap<Message, Vec<&Effect>> {
        let mut messages: HashMap<Message, Vec<&Effect>> = HashMap::new();
        for effect in &self.0 {
            if let Some(message) = Message::of(effect) {
                messages.entry(message).or_default().push(effect);
            }
        }
        messages
    }
}

impl Message {
    fn of(effect: &Effect) -> Option<Self> {
        match effect.upstream {
            Upstream::Slack => effect.subject.parse().ok().map(Self::Slack),
            // `{call}.{delivery}@{host}`
            Upstream::Smtp => effect.subject.split(['.', '@']).nth(1)?.parse().ok().map(Self::Mail),
            _ => None,
        }
    }
}
