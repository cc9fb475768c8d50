//! Run a call again from a step: first said, then done.

use poem::Request;
use poem::http::StatusCode;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object};
use sqlx::PgPool;
use uuid::Uuid;

use super::super::auth::Key;
use super::super::idempotency::{Interruption, Once, idempotency_key};
use super::super::problem::{FieldError, Problem};
use super::super::schema::Nullable;
use super::Means;
use super::words::FirstStep;
use crate::pipeline::rerun::{self, Message, Plan, RerunError};
use crate::store::audit::{self, Outcome};
use crate::store::calls::CallRow;

/// What is to be run again.
#[derive(Debug, Object)]
pub struct RerunOrder {
    /// The first step to run; the later ones follow.
    from: FirstStep,
    /// Send the messages again even to those who have them.
    #[oai(default)]
    send_again: bool,
    /// Only say what it would do.
    #[oai(default)]
    dry_run: bool,
}

/// What running a call again does, or would do.
#[derive(Debug, Object)]
#[oai(rename = "RerunPlan")]
pub struct Rerun {
    /// Our id of the call.
    call_id: Uuid,
    /// Number of the new run; null where nothing was done. Results of earlier runs are kept.
    run: Nullable<i32>,
    /// Whether it was only asked what would be done.
    dry_run: bool,
    /// The steps that run, in order.
    steps: Vec<String>,
    /// The messages that go out, as things stand: not to those who have theirs, unless `send_again` was asked for.
    sends: Vec<RerunMessage>,
    /// Messages of which nobody knows whether they arrived, and which are not sent again by themselves: somebody has to look.
    /// With `send_again` they are.
    held: Vec<RerunMessage>,
}

/// A message that a run sends, or would send.
#[derive(Debug, Object)]
struct RerunMessage {
    /// `slack`, `email`, ...
    channel: String,
    /// Channel or address.
    to: String,
    /// Whether an earlier try of it may have arrived; it then says so itself.
    possible_repeat: bool,
}

/// The answer to an order.
#[derive(ApiResponse)]
pub enum RerunAnswer {
    /// What it would do; nothing was done.
    #[oai(status = 200)]
    Planned(Json<Rerun>),
    /// It has begun.
    #[oai(status = 202)]
    Begun(Json<Rerun>),
}

/// Does it, or says what it would do.
pub async fn carry_out(
    db: &PgPool,
    means: &Means,
    key: &Key,
    request: &Request,
    call: &CallRow,
    order: RerunOrder,
) -> Result<RerunAnswer, Interruption> {
    // Before the transaction begins, which would hold a connection while this waits for another.
    let planned = rerun::plan(db, call, order.from.as_str(), order.send_again, Some(&means.telling)).await;
    if order.dry_run {
        idempotency_key(request)?;
        return Ok(RerunAnswer::Planned(Json(Rerun::new(&planned?, None))));
    }
    let mut once = Once::begin(db, key, request).await?;
    let (actor, object) = (key.actor(request), format!("call {}", call.id));
    let plan = match planned {
        Err(error @ RerunError::Missing { .. }) => {
            audit::insert(once.transaction(), &actor, "calls.rerun", &object, 0, Outcome::Refused).await?;
            return Err(once.refuse(Problem::cannot_rerun(&error.to_string())).await.into());
        }
        planned => planned?,
    };
    let run = rerun::begin(once.transaction(), &plan).await?;
    audit::insert(once.transaction(), &actor, "calls.rerun", &object, 1, Outcome::Done).await?;
    let answer = Rerun::new(&plan, Some(run));
    once.finish(StatusCode::ACCEPTED, &answer).await?;
    means.waker.wake(plan.step);
    Ok(RerunAnswer::Begun(Json(answer)))
}

/// There is no such call, or not for this key. That it was to be run again is written down.
pub async fn refuse(db: &PgPool, key: &Key, request: &Request, call: Uuid, order: &RerunOrder) -> Problem {
    if order.dry_run {
        return Problem::call_not_found();
    }
    let noted = audit::note_refused(db, &key.actor(request), "calls.rerun", &format!("call {call}")).await;
    noted.err().map_or_else(Problem::call_not_found, Problem::from)
}

impl Rerun {
    fn new(plan: &Plan, run: Option<i32>) -> Self {
        let messages = |all: &[Message]| all.iter().map(RerunMessage::new).collect();
        Self {
            call_id: plan.call_id.0,
            run: run.into(),
            dry_run: run.is_none(),
            steps: plan.steps().map(ToOwned::to_owned).collect(),
            sends: messages(&plan.sends),
            held: messages(&plan.held),
        }
    }
}

impl RerunMessage {
    fn new(Message { channel, destination, possible_repeat }: &Message) -> Self {
        Self { channel: channel.clone(), to: destination.clone(), possible_repeat: *possible_repeat }
    }
}

impl From<RerunError> for Interruption {
    fn from(error: RerunError) -> Self {
        Self::Problem(match error {
            RerunError::UnknownStep(_, steps) => Problem::invalid_fields(vec![FieldError {
                field: "from".to_owned(),
                expected: format!("one of {steps}"),
            }]),
            RerunError::UnknownCall => Problem::call_not_found(),
            missing @ RerunError::Missing { .. } => Problem::cannot_rerun(&missing.to_string()),
            RerunError::Database(error) => error.into(),
        })
    }
}
