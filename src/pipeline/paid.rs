//! Questions that cost money: the answer is stored before anything is done with it, and found by the next attempt.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Rooms, gate};
use crate::model::{Fence, UpstreamError, Usage, hex};
use crate::queue::{self, Job, Lease, StepError};
use crate::store::{self, answers::Question};

/// What a paid answer tells about its price and origin.
pub(super) trait Paid: Serialize + DeserializeOwned {
    /// What it has used.
    fn usage(&self) -> &Usage;
    /// The upstream's id of the request.
    fn request_id(&self) -> Option<&str>;
}

/// The stored answer to this question if it was paid for before, in this run of the call; else asks, stores and gives
/// back the new one. An answer that comes while the database is away waits for it: asking again would cost again.
pub(super) async fn answer<T: Paid>(
    rooms: &Rooms,
    job: &Job,
    lease: &Lease,
    step: &str,
    input: &[&[u8]],
    ask: impl Future<Output = Result<T, UpstreamError>>,
) -> Result<T, StepError> {
    let input_hash = fingerprint(input);
    let question = Question { call_id: job.call_id, step, run: job.run, input_hash: &input_hash };
    if let Some(stored) = store::answers::find(&rooms.db, question).await? {
        let answer: T = serde_json::from_value(stored.answer).map_err(anyhow::Error::from)?;
        count_if_lost(rooms, lease, question, stored.counted_by, answer.usage()).await?;
        return Ok(answer);
    }
    let pass = rooms.gate.enter(gate::paid_provider(step), job).await?;
    let answer = match ask.await {
        Ok(answer) => answer,
        Err(error) => {
            lease.note_request(error.request_id.as_deref());
            if let Some(usage) = &error.usage {
                lease.note_usage(usage);
            }
            return Err(pass.failed(error).await);
        }
    };
    lease.note_usage(answer.usage());
    lease.note_request(answer.request_id());
    let kept = without_nul(serde_json::to_value(&answer).map_err(anyhow::Error::from)?);
    store::patiently(|| store::answers::save(&rooms.db, lease.fence(), question, &kept)).await?;
    pass.worked().await;
    // As a later attempt would find it.
    serde_json::from_value(kept).map_err(|error| StepError::from(anyhow::Error::from(error)))
}

/// PostgreSQL keeps no NUL, neither as text nor in JSON: an answer with one would be refused, and paid for again.
fn without_nul(answer: Value) -> Value {
    match answer {
        Value::String(text) if text.contains('\0') => Value::String(text.replace('\0', "")),
        Value::Array(values) => values.into_iter().map(without_nul).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name.replace('\0', ""), without_nul(value))).collect()
        }
        other => other,
    }
}

/// An answer's cost stands with the attempt that paid for it. If that one was lost with its worker, this one counts it.
async fn count_if_lost(
    rooms: &Rooms,
    lease: &Lease,
    question: Question<'_>,
    counted_by: Option<i64>,
    usage: &Usage,
) -> Result<(), StepError> {
    let fence = lease.fence();
    let Some(token) = counted_by.filter(|token| *token != fence.token) else { return Ok(()) };
    let lost = queue::was_lost(&rooms.db, Fence { token, ..fence }).await?;
    if lost && store::answers::take_over(&rooms.db, fence, question, token).await? {
        lease.note_usage(usage);
    }
    Ok(())
}

/// SHA-256 over the parts, each with its length before it, so that no two lists of parts are alike.
fn fingerprint(input: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for part in input {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    hex(&digest.finalize())
}
