//! Calls as clients see them. Field names are a promise: adding is fine, renaming is not.

use poem_openapi::Object;
use serde::Serialize;
use uuid::Uuid;

use super::super::problem::Problem;
use super::super::schema::{ActionState, Nullable, Timestamp, word};
use super::excerpts::{Excerpt, Texts};
use crate::model::price::CURRENCY;
use crate::model::{self, CallState, DeliveryState, Direction, RecordingState, Sentiment};
use crate::queue::{self, CallCost};
use crate::store::call_list::Brief;
use crate::store::calls::CallRow;
use crate::store::deliveries::DeliveryRow;
use crate::store::summaries::ActionItemRow;
use crate::store::whole_call::{self, WholeCall};

/// A page of the list.
#[derive(Debug, Object, Serialize)]
pub struct CallPage {
    /// In the order of `sort`.
    pub items: Vec<ListItem>,
    /// Send it as `cursor` to get the next page; null on the last one.
    pub next_cursor: Nullable<String>,
    /// What `relevance` was found among; null in any other order.
    pub ranked: Nullable<Ranked>,
}

/// Which calls were compared.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CallRanking")]
pub struct Ranked {
    /// So many, the newest that fit; the list ends with them.
    pub calls: i64,
    /// Whether there were no others. If there were, `sort=newest` lists all of them.
    pub is_all: bool,
}

/// A call in a list, and why it is there.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CallListItem")]
pub struct ListItem {
    #[oai(flatten)]
    #[serde(flatten)]
    item: CallItem,
    /// Where the words of `q` stand, the best places; empty without `q`.
    matches: Vec<Excerpt>,
}

impl ListItem {
    /// A call, and where in it the words stand.
    pub fn new(item: CallItem, matches: Vec<Excerpt>) -> Self {
        Self { item, matches }
    }

    /// Whether some of what was said is in it.
    pub fn quotes_transcript(&self) -> bool {
        self.matches.iter().any(Excerpt::is_of_transcript)
    }
}

/// A call in a list.
#[derive(Debug, Object, Serialize)]
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
#[derive(Debug, Object, Serialize)]
pub struct Call {
    #[oai(flatten)]
    #[serde(flatten)]
    item: CallItem,
    /// The summary sentence by sentence.
    statements: Vec<Statement>,
    /// What somebody promised to do.
    action_items: Vec<ActionItem>,
    /// Messages about the call.
    deliveries: Vec<Delivery>,
    /// Models that made the transcript and the analysis that are shown.
    models: Models,
    /// What each run has made, the latest first. A re-run keeps what was there.
    versions: Vec<Version>,
}

/// Which models were asked.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CallModels")]
struct Models {
    /// For what was said.
    transcription: Nullable<String>,
    /// For what it means.
    analysis: Nullable<String>,
}

/// What one run of the pipeline has made.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CallVersion")]
struct Version {
    /// Number of the run.
    run: i32,
    /// When it had made the first of it.
    at: Timestamp,
    /// Model that made its transcript; null = it made none.
    transcribed_with: Nullable<String>,
    /// Model that made its analysis; null = it made none.
    analyzed_with: Nullable<String>,
    /// What that model was told.
    #[oai(rename = "prompt_version")]
    #[serde(rename = "prompt_version")]
    prompt: Nullable<String>,
}

/// One side of a call.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CallParty")]
struct Party {
    /// Name as the telephone system knows it.
    name: Nullable<String>,
    /// Number as the telephone system writes it.
    number: Nullable<String>,
}

/// A sentence of the summary.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "SummaryStatement")]
struct Statement {
    /// The sentence.
    text: String,
    /// Indexes of the transcript's segments that support it.
    evidence: Vec<i32>,
    /// False when no segment does.
    supported: bool,
}

/// Something that somebody must do.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CallActionItem")]
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
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CallDelivery")]
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
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CallCost")]
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
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CallStepCost")]
struct StepCost {
    /// Name of the step.
    step: String,
    /// Millionths of the currency; null = a part of it is not known.
    micro_units: Nullable<i64>,
    /// The part of it that went into attempts that did not succeed; null = not known.
    waste_micro_units: Nullable<i64>,
}

impl CallItem {
    /// A call and what a list shows of its analysis and its cost.
    pub fn new(call: CallRow, brief: Brief, cost: CallCost) -> Result<Self, Problem> {
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
            summary: brief.summary.into(),
            sentiment: brief.sentiment.as_deref().map(word).transpose()?.into(),
            urgency: brief.urgency.into(),
            topics: brief.topics.unwrap_or_default(),
            cost: cost.into(),
        })
    }
}

impl CallItem {
    /// Our id.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// As a line of a file.
    pub fn cells(&self) -> [String; 19] {
        fn text<T: ToString>(value: &Nullable<T>) -> String {
            value.0.as_ref().map(T::to_string).unwrap_or_default()
        }
        let time = |time: &Nullable<Timestamp>| time.0.map(Timestamp::text).unwrap_or_default();
        [
            self.id.to_string(),
            self.external_id.clone(),
            self.state.to_string(),
            text(&self.state_reason),
            self.direction.to_string(),
            text(&self.caller.name),
            text(&self.caller.number),
            text(&self.called.name),
            text(&self.called.number),
            time(&self.started_at),
            time(&self.ended_at),
            text(&self.duration_seconds),
            self.recording.to_string(),
            text(&self.sentiment),
            text(&self.urgency),
            self.topics.join("; "),
            text(&self.summary),
            text(&self.cost.micro_units),
            self.cost.currency.clone(),
        ]
    }

    /// What can be found in it, with what was said.
    pub fn texts<'a>(&'a self, segments: &'a [model::Segment]) -> Texts<'a> {
        let party = |party: &'a Party| [party.name.0.as_deref(), party.number.0.as_deref()];
        let (caller, called) = (party(&self.caller), party(&self.called));
        Texts { caller, called, summary: self.summary.0.as_deref(), segments }
    }
}

impl Call {
    /// A call and all that is stored about it.
    pub fn new(whole: WholeCall, cost: CallCost) -> Result<Self, Problem> {
        let WholeCall { call, versions, action_items, deliveries } = whole;
        let mut item = CallItem::new(call, Brief::default(), cost)?;
        let analysis = versions.iter().find_map(|version| version.analysis.clone());
        let models = Models {
            transcription: versions.iter().find_map(|version| version.transcribed_with.clone()).into(),
            analysis: analysis.as_ref().and_then(|analysis| analysis.model.clone()).into(),
        };
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
            models,
            versions: versions.into_iter().map(Version::from).collect(),
        })
    }
}

impl From<whole_call::Version> for Version {
    fn from(row: whole_call::Version) -> Self {
        Self {
            run: row.run,
            at: Timestamp(row.created_at),
            transcribed_with: row.transcribed_with.into(),
            analyzed_with: row.analysis.and_then(|analysis| analysis.model).into(),
            prompt: row.prompt_version.into(),
        }
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
