//! Calls in `--json`. Fields have the names and forms of the API (`GET /api/calls/{id}`); times are RFC 3339 in UTC.
//! Fields may be added; none is renamed or taken away.

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::story::Story;
use crate::cli::jobs::JobJson;
use crate::model::price::CURRENCY;
use crate::model::{Segment, Sentiment, Speaker, Statement, Timing, Transcript};
use crate::queue::{AttemptRow, CallCost, Cost, StepCost};
use crate::store::call_list::ListedCall;
use crate::store::calls::CallRow;
use crate::store::deliveries::DeliveryRow;
use crate::store::summaries::ActionItemRow;

/// `calls list --json`: the same as in `GET /api/calls/`.
#[derive(Serialize)]
pub struct ListJson<'a> {
    items: Vec<ListedJson<'a>>,
}

#[derive(Serialize)]
struct ListedJson<'a> {
    #[serde(flatten)]
    call: CallJson<'a>,
    /// Null until the call is analyzed; so are `sentiment` and `urgency`.
    summary: Option<&'a str>,
    sentiment: Option<&'a str>,
    urgency: Option<i16>,
    topics: &'a [String],
    cost: CostJson<'a>,
}

/// What the upstreams have cost so far, in all runs.
#[derive(Serialize)]
struct CostJson<'a> {
    #[serde(flatten)]
    total: Cost,
    currency: &'static str,
    steps: &'a [StepCost],
    unpriced_models: &'a [String],
    unmeasured_models: &'a [String],
}

/// What is known of a call from its first moment on.
#[derive(Serialize)]
struct CallJson<'a> {
    id: Uuid,
    external_id: &'a str,
    state: &'a str,
    state_reason: Option<&'a str>,
    waiting_until: Option<DateTime<Utc>>,
    direction: &'a str,
    caller: PartyJson<'a>,
    called: PartyJson<'a>,
    started_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    duration_seconds: Option<i32>,
    recording: &'a str,
    /// Number of the pipeline's current run.
    run: i32,
    /// Arrival of the webhook.
    created_at: DateTime<Utc>,
}

/// One side of a call.
#[derive(Serialize)]
struct PartyJson<'a> {
    name: Option<&'a str>,
    number: Option<&'a str>,
}

/// `calls show --json`.
#[derive(Serialize)]
pub struct StoryJson<'a> {
    #[serde(flatten)]
    call: CallJson<'a>,
    /// Null until the call is analyzed; so are `sentiment` and `urgency`.
    summary: Option<&'a str>,
    statements: &'a [Statement],
    sentiment: Option<Sentiment>,
    urgency: Option<i16>,
    topics: &'a [String],
    action_items: Vec<ActionItemJson<'a>>,
    deliveries: Vec<DeliveryJson<'a>>,
    cost: CostJson<'a>,
    /// Jobs of all runs, oldest first.
    jobs: Vec<JobJson<'a>>,
    /// Attempts of all runs, in the order in which they started.
    attempts: &'a [AttemptRow],
    /// Only with `--transcript`, and once the call is transcribed.
    #[serde(skip_serializing_if = "Option::is_none")]
    transcript: Option<TranscriptJson<'a>>,
}

#[derive(Serialize)]
struct ActionItemJson<'a> {
    id: Uuid,
    text: &'a str,
    owner: Option<&'a str>,
    /// The words from which `due_at` comes.
    due_words: Option<&'a str>,
    due_at: Option<DateTime<Utc>>,
    state: &'a str,
    evidence: &'a [i32],
    supported: bool,
}

#[derive(Serialize)]
struct DeliveryJson<'a> {
    channel: &'a str,
    to: &'a str,
    state: &'a str,
    /// Last change.
    at: DateTime<Utc>,
    /// Sent again after an outcome that nobody knows.
    repeated: bool,
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct TranscriptJson<'a> {
    language: Option<&'a str>,
    timing: Timing,
    segments: Vec<SegmentJson<'a>>,
}

#[derive(Serialize)]
struct SegmentJson<'a> {
    index: usize,
    speaker: Speaker,
    start_ms: i64,
    end_ms: i64,
    text: &'a str,
}

impl<'a> ListJson<'a> {
    /// Calls, each with its cost.
    pub fn new(calls: &'a [(ListedCall, CallCost)]) -> Self {
        let listed = |(ListedCall { call, brief, .. }, cost): &'a (ListedCall, CallCost)| ListedJson {
            call: CallJson::new(call),
            summary: brief.summary.as_deref(),
            sentiment: brief.sentiment.as_deref(),
            urgency: brief.urgency,
            topics: brief.topics.as_deref().unwrap_or_default(),
            cost: CostJson::new(cost),
        };
        Self { items: calls.iter().map(listed).collect() }
    }
}

impl<'a> CallJson<'a> {
    fn new(call: &'a CallRow) -> Self {
        Self {
            id: call.id,
            external_id: &call.external_id,
            state: &call.state,
            state_reason: call.state_reason.as_deref(),
            waiting_until: call.waiting_until,
            direction: &call.direction,
            caller: PartyJson { name: call.caller_name.as_deref(), number: call.caller_number.as_deref() },
            called: PartyJson { name: call.called_name.as_deref(), number: call.called_number.as_deref() },
            started_at: call.started_at,
            ended_at: call.ended_at,
            duration_seconds: call.duration_seconds,
            recording: &call.recording,
            run: call.run,
            created_at: call.created_at,
        }
    }
}

impl<'a> CostJson<'a> {
    fn new(CallCost { total, steps, unpriced_models, unmeasured_models }: &'a CallCost) -> Self {
        Self { total: *total, currency: CURRENCY, steps, unpriced_models, unmeasured_models }
    }
}

impl<'a> StoryJson<'a> {
    /// Everything; what was said only if asked for.
    pub fn new(story: &'a Story, now: DateTime<Utc>, transcript: bool) -> Self {
        let analysis = story.analysis.as_ref();
        Self {
            call: CallJson::new(&story.call),
            summary: analysis.map(|analysis| analysis.summary.as_str()),
            statements: analysis.map(|analysis| analysis.statements.as_slice()).unwrap_or_default(),
            sentiment: analysis.map(|analysis| analysis.sentiment),
            urgency: analysis.map(|analysis| analysis.urgency),
            topics: analysis.map(|analysis| analysis.topics.as_slice()).unwrap_or_default(),
            action_items: story.action_items.iter().map(action_item).collect(),
            deliveries: story.deliveries.iter().map(delivery).collect(),
            cost: CostJson::new(&story.cost),
            jobs: story.jobs.iter().map(|job| JobJson::new(job, now)).collect(),
            attempts: &story.attempts,
            transcript: story.transcript.as_ref().filter(|_| transcript).map(said),
        }
    }
}

fn action_item(item: &ActionItemRow) -> ActionItemJson<'_> {
    ActionItemJson {
        id: item.id,
        text: &item.text,
        owner: item.owner.as_deref(),
        due_words: item.due_words.as_deref(),
        due_at: item.due_at,
        state: &item.state,
        evidence: &item.evidence,
        supported: item.supported,
    }
}

fn delivery(row: &DeliveryRow) -> DeliveryJson<'_> {
    DeliveryJson {
        channel: &row.channel,
        to: &row.destination,
        state: &row.state,
        at: row.updated_at,
        repeated: row.repeated,
        detail: row.detail.as_deref(),
    }
}

fn said<'a>(transcript: &'a Transcript) -> TranscriptJson<'a> {
    let segment = |(index, segment): (usize, &'a Segment)| SegmentJson {
        index,
        speaker: segment.speaker,
        start_ms: segment.start_ms,
        end_ms: segment.end_ms,
        text: &segment.text,
    };
    TranscriptJson {
        language: transcript.language.as_deref(),
        timing: transcript.timing,
        segments: transcript.segments.iter().enumerate().map(segment).collect(),
    }
}
