//! What a call meant: summary, mood, urgency, promises, each with the segments that prove it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::text_enum;

text_enum!(
    /// Mood of the customer over the whole call.
    Sentiment {
        /// Pleased.
        Positive = "positive",
        /// Neither.
        Neutral = "neutral",
        /// Upset.
        Negative = "negative",
        /// Both, at different times.
        Mixed = "mixed",
    }
);

/// The checked answer of the language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The summary, sentence by sentence.
    pub statements: Vec<Statement>,
    /// Mood of the customer.
    pub sentiment: Sentiment,
    /// 1 (no hurry) to 5 (now).
    pub urgency: i16,
    /// Lower-case keywords, at most ten.
    pub topics: Vec<String>,
    /// What somebody promised to do.
    pub action_items: Vec<ActionItem>,
}

impl Analysis {
    /// The statements as one text.
    pub fn summary(&self) -> String {
        self.statements.iter().map(|s| s.text.as_str()).collect::<Vec<_>>().join(" ")
    }
}

/// One sentence of the summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// The sentence.
    pub text: String,
    /// Indexes into the transcript's segments that support it.
    pub evidence: Vec<i32>,
    /// False when no segment supports it: shown as such, never acted on by itself.
    pub supported: bool,
}

/// Something that somebody must do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionItem {
    /// What to do.
    pub text: String,
    /// Who promised; `None` = nobody yet.
    pub owner: Option<String>,
    /// The words from which the due time comes ("by tomorrow noon").
    pub due_words: Option<String>,
    /// Until when, where it could be told.
    pub due_at: Option<DateTime<Utc>>,
    /// Indexes into the transcript's segments that support it.
    pub evidence: Vec<i32>,
    /// False when no segment supports it.
    pub supported: bool,
}
