//! Calls as clients see them. Field names are a promise: adding is fine, renaming is not.

use std::str::FromStr;

use poem_openapi::Object;
use uuid::Uuid;

use super::super::problem::Problem;
use super::super::schema::{ActionState, Nullable, Timestamp};
use crate::model::price::CURRENCY;
use crate::model::{self, CallState, DeliveryState, Direction, RecordingState, Sentiment, Speaker, Timing};
use crate::queue::{self, CallCost};
use crate::store::calls::CallRow;
use crate::store::deliveries::DeliveryRow;
use crate::store::summaries::{ActionItemRow, AnalysisBrief, StoredAnalysis};

/// A page of the list.
#[derive(Debug, Object)]
pub struct CallPage {
    /// Newest first.
    pub items: Vec<CallItem>,
    /// Send it as `cursor` to get the next page; null on the last one.
    pub next_cursor: Nullable<String>,
}

/// A call in a list.
#[derive(Debug, Object)]
pub struct CallItem {
    /// Our id, stable for ever.
    id: Uuid,
    /// The sender's id.
    external_id: String,
    /// Where the call stands.
    state: CallState,
    /// Why it waits or failed, or which message did not go out.
    state_reason: Nullable<String>,
    /// When it goes on by itself.
    waiting_until: Nullable<Timestamp>,
    /// Which way the call went.
    direction: Direction,
    /// Who called.
    caller: Party,
    /// Who was called.
    called: Party,
    /// Start of the call.
    started_at: Nullable<Timestamp>,
    /// End of the call.
    ended_at: Nullable<Timestamp>,
    /// Length in seconds.
    duration_seconds: Nullable<i32>,
    /// What there is to hear.
    recording: RecordingState,
    /// The summary as one text; null until the call is analyzed.
    summary: Nullable<String>,
    /// Mood of the customer.
    sentiment: Nullable<Sentiment>,
    /// 1 (no hurry) to 5 (now).
    urgency: Nullable<i16>,
    /// Keywords.
    topics: Vec<String>,
    /// What the upstreams have cost so far, in all runs of the call.
    cost: Cost,
}

/// A call with everything that was made of it.
#[derive(Debug, Object)]
pub struct Call {
    #[oai(flatten)]
    item: CallItem,
    /// The summary sentence by sentence.
    statements: Vec<Statement>,
    /// What somebody promised to do.
    action_items: Vec<ActionItem>,
    /// Messages about the call.
    deliveries: Vec<Delivery>,
}

/// One side of a call.
#[derive(Debug, Object)]
struct Party {
    /// Name as the telephone system knows it.
    name: Nullable<String>,
    /// Number as the telephone system writes it.
    number: Nullable<String>,
}

/// A sentence of the summary.
#[derive(Debug, Object)]
struct Statement {
    /// The sentence.
    text: String,
    /// Indexes of the transcript's segments that support it.
    evidence: Vec<i32>,
    /// False when no segment does.
    supported: bool,
}

/// Something that somebody must do.
#[derive(Debug, Object)]
struct ActionItem {
    /// Its id.
    id: Uuid,
    /// What to do.
    text: String,
    /// Who promised; null = nobody yet.
    owner: Nullable<String>,
    /// Until when, where it could be told.
    due_at: Nullable<Timestamp>,
    /// Where it stands.
    state: ActionState,
    /// Indexes of the transcript's segments that support it.
    evidence: Vec<i32>,
    /// False when no segment does.
    supported: bool,
}

/// A message about a call.
#[derive(Debug, Object)]
struct Delivery {
    /// `slack`, `email`, ...
    channel: String,
    /// Channel or address.
    to: String,
    /// Where it stands; `unknown` = sent, but nobody can tell whether it arrived.
    state: DeliveryState,
    /// Last change.
    at: Timestamp,
}

/// What the upstreams cost, at the prices of the days on which they were used. Answers that were lost on their way are
/// not in it.
#[derive(Debug, Object)]
struct Cost {
    /// Millionths of the currency; null = a part of it is not known.
    micro_units: Nullable<i64>,
    /// ISO 4217.
    currency: String,
    /// The part of it that went into attempts that did not succeed; null = not known.
    waste_micro_units: Nullable<i64>,
    /// The same for each step that was tried.
    steps: Vec<StepCost>,
    /// Models without a price, for which nobody knows what they cost.
    unpriced_models: Vec<String>,
    /// Models that did not say what they used, so that nobody knows what they cost.
    unmeasured_models: Vec<String>,
}

/// What one step of a call cost.
#[derive(Debug, Object)]
struct StepCost {
    /// Name of the step.
    step: String,
    /// Millionths of the currency; null = a part of it is not known.
    micro_units: Nullable<i64>,
    /// The part of it that went into attempts that did not succeed; null = not known.
    waste_micro_units: Nullable<i64>,
}

/// What was said in a call.
#[derive(Debug, Object)]
pub struct Transcript {
    /// Our id of the call.
    call_id: Uuid,
    /// ISO 639-1 code.
    language: Nullable<String>,
    /// Where the times come from: the model, or an estimate of at most seconds.
    timing: Timing,
    /// Ordered by start.
    segments: Vec<Segment>,
}

/// A stretch of speech by one speaker.
#[derive(Debug, Object)]
struct Segment {
    /// Position, from 0; `evidence` points at it.
    index: i32,
    /// Who speaks.
    speaker: Speaker,
    /// From the start of the recording, in milliseconds.
    start_ms: i64,
    /// From the start of the recording, in milliseconds.
    end_ms: i64,
    /// The words.
    text: String,
}

impl CallItem {
    /// A call and what a list shows of its analysis and its cost.
    pub fn new(call: CallRow, analysis: Option<AnalysisBrief>, cost: CallCost) -> Result<Self, Problem> {
        let (summary, sentiment, urgency, topics) = match analysis {
            Some(brief) => (Some(brief.summary), Some(word(&brief.sentiment)?), Some(brief.urgency), brief.topics),
            None => (None, None, None, Vec::new()),
        };
        Ok(Self {
            id: call.id,
            external_id: call.external_id,
            state: word(&call.state)?,
            state_reason: call.state_reason.into(),
            waiting_until: call.waiting_until.map(Timestamp).into(),
            direction: word(&call.direction)?,
            caller: Party { name: call.caller_name.into(), number: call.caller_number.into() },
            called: Party { name: call.called_name.into(), number: call.called_number.into() },
            started_at: call.started_at.map(Timestamp).into(),
            ended_at: call.ended_at.map(Timestamp).into(),
            duration_seconds: call.duration_seconds.into(),
            recording: word(&call.recording)?,
            summary: summary.into(),
            sentiment: sentiment.into(),
            urgency: urgency.into(),
            topics,
            cost: cost.into(),
        })
    }
}

impl Call {
    /// A call and all that is stored about it.
    pub fn new(
        call: CallRow,
        analysis: Option<StoredAnalysis>,
        action_items: Vec<ActionItemRow>,
        deliveries: Vec<DeliveryRow>,
        cost: CallCost,
    ) -> Result<Self, Problem> {
        let mut item = CallItem::new(call, None, cost)?;
        let mut statements = Vec::new();
        if let Some(analysis) = analysis {
            item.summary = Some(analysis.summary).into();
            item.sentiment = Some(analysis.sentiment).into();
            item.urgency = Some(analysis.urgency).into();
            item.topics = analysis.topics;
            statements = analysis.statements;
        }
        Ok(Self {
            item,
            statements: statements.into_iter().map(Statement::from).collect(),
            action_items: action_items.into_iter().map(ActionItem::new).collect::<Result<_, _>>()?,
            deliveries: deliveries.into_iter().map(Delivery::new).collect::<Result<_, _>>()?,
        })
    }
}

impl From<model::Statement> for Statement {
    fn from(model::Statement { text, evidence, supported }: model::Statement) -> Self {
        Self { text, evidence, supported }
    }
}

impl ActionItem {
    fn new(row: ActionItemRow) -> Result<Self, Problem> {
        Ok(Self {
            id: row.id,
            text: row.text,
            owner: row.owner.into(),
            due_at: row.due_at.map(Timestamp).into(),
            state: word(&row.state)?,
            evidence: row.evidence,
            supported: row.supported,
        })
    }
}

impl Delivery {
    fn new(row: DeliveryRow) -> Result<Self, Problem> {
        let at = Timestamp(row.updated_at);
        Ok(Self { channel: row.channel, to: row.destination, state: word(&row.state)?, at })
    }
}

impl From<CallCost> for Cost {
    fn from(CallCost { total, steps, unpriced_models, unmeasured_models }: CallCost) -> Self {
        Self {
            micro_units: total.micro_units.into(),
            currency: CURRENCY.to_owned(),
            waste_micro_units: total.waste_micro_units.into(),
            steps: steps.into_iter().map(StepCost::from).collect(),
            unpriced_models,
            unmeasured_models,
        }
    }
}

impl From<queue::StepCost> for StepCost {
    fn from(queue::StepCost { step, cost }: queue::StepCost) -> Self {
        Self { step, micro_units: cost.micro_units.into(), waste_micro_units: cost.waste_micro_units.into() }
    }
}

impl Transcript {
    /// The transcript of a call.
    pub fn new(call_id: Uuid, transcript: model::Transcript) -> Self {
        let segment = |(index, segment): (usize, model::Segment)| Segment {
            index: index as i32,
            speaker: segment.speaker,
            start_ms: segment.start_ms,
            end_ms: segment.end_ms,
            text: segment.text,
        };
        let segments = transcript.segments.into_iter().enumerate().map(segment).collect();
        Self { call_id, language: transcript.language.into(), timing: transcript.timing, segments }
    }
}

/// The database checks these columns, so another word is our mistake.
fn word<T: FromStr<Err = String>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error| {
        tracing::error!(error, "A row holds a word that this program does not know. Is the program older than it?");
        Problem::internal()
    })
}
