//! Step 4: tell people. The job of the call itself plans: one row of the ledger and one job per destination. The job of
//! a delivery sends. Attempts: 10 in about 27 hours (10 s, 30 s, 90 s, 5 min, 14 min, 41 min, 2 h, 6 h, 12 h apart).

use std::time::Duration;

use chrono::{DateTime, NaiveTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;

use super::gate::Pass;
use super::{NOTIFY, Rooms};
use crate::channels::{Channel, SendError};
use crate::config::OnUnknown;
use crate::model::{
    ActionItem, Analysis, CallBrief, CallId, DeliveryId, DeliveryState, Direction, Envelope, FailureClass, Party,
    UpstreamError, clock,
};
use crate::queue::{Backoff, Done, Failure, Job, Lease, NewJob, StepError, StepPolicy};
use crate::store::calls::CallRow;
use crate::store::deliveries::DeliveryRow;
use crate::store::{self};

pub(super) const POLICY: StepPolicy = StepPolicy {
    name: NOTIFY,
    concurrency: 8,
    max_attempts: 10,
    max_run: Duration::from_mins(5),
    backoff: Backoff { first: Duration::from_secs(10), factor: 3.0, longest: Duration::from_hours(12) },
};

/// Attempts after which a refusal that the channel cannot explain is final.
const UNEXPLAINED_ATTEMPTS: i32 = 3;
/// What must be known about a message that was refused when it was sent again.
const EARLIER_TRY: &str = " That was about the repeat: an earlier try may have arrived.";
/// Urgency that passes quiet hours.
const URGENT_NOW: i16 = 5;

pub(super) async fn run(rooms: &Rooms, job: &Job, lease: &Lease) -> Result<Done, StepError> {
    let Some(call) = store::calls::get(&rooms.db, job.call_id).await? else {
        tracing::warn!("The call is gone; nobody to tell.");
        return Ok(Done::end());
    };
    match job.target {
        None => plan(rooms, job, lease, &call).await,
        Some(target) => deliver(rooms, job, lease, &call, DeliveryId(target)).await,
    }
}

/// Makes the ledger's rows and a job for each that is not sent yet.
async fn plan(rooms: &Rooms, job: &Job, lease: &Lease, call: &CallRow) -> Result<Done, StepError> {
    if call.recording == "none" && !rooms.settings.notify_no_recording {
        return Ok(Done::end());
    }
    let destinations: Vec<(String, String)> = rooms
        .channels
        .iter()
        .flat_map(|channel| channel.destinations().into_iter().map(|to| (channel.name().to_owned(), to)))
        .collect();
    let open = store::deliveries::plan(&rooms.db, lease.fence(), job.call_id, call.notify_round, &destinations).await?;
    Ok(Done::then(open.into_iter().map(|id| NewJob::for_target(NOTIFY, job.call_id, job.run, id.0))))
}

/// Sends one message, never twice unseen: what may have arrived before is marked as a possible repeat, or held.
async fn deliver(rooms: &Rooms, job: &Job, lease: &Lease, call: &CallRow, id: DeliveryId) -> Result<Done, StepError> {
    let Some(delivery) = store::deliveries::get(&rooms.db, id).await? else {
        tracing::warn!("The delivery is gone; nobody to tell.");
        return Ok(Done::end());
    };
    if delivery.state == DeliveryState::Sent.as_str() {
        return Ok(Done::end());
    }
    // `sending` at the start of an attempt: a process died between the first byte and the answer.
    let unsure = delivery.state == DeliveryState::Sending.as_str() || delivery.state == DeliveryState::Unknown.as_str();
    if unsure && (delivery.repeated || rooms.settings.on_unknown == OnUnknown::Hold) {
        let detail = "The process ended while it sent the message, which may have arrived. Look where it went before \
                      it is sent again.";
        settle(rooms, lease, id, DeliveryState::Unknown, None, Some(delivery.detail.as_deref().unwrap_or(detail)))
            .await?;
        return Ok(Done::end());
    }
    let Some(channel) = rooms.channels.iter().find(|channel| channel.name() == delivery.channel) else {
        let message = format!(
            "The channel `{}` is not set up any more. Set it up again and run the job again, or leave it.",
            delivery.channel
        );
        let state = if unsure { DeliveryState::Unknown } else { DeliveryState::Failed };
        settle(rooms, lease, id, state, None, Some(&message)).await?;
        return Err(StepError::permanent(FailureClass::ChannelOff, message));
    };
    let brief = brief(rooms, job.call_id, call).await?;
    respect_quiet_hours(rooms, &brief)?;
    let envelope = envelope(rooms, job.call_id, &delivery, unsure || delivery.repeated);
    let pass = rooms.gate.enter(channel.name(), job).await?;
    // Until it is known to be written: what may stand in the ledger, the next attempt takes for a message that may have left.
    store::patiently(|| store::deliveries::begin_sending(&rooms.db, lease.fence(), &delivery, unsure)).await?;
    send(rooms, job, lease, channel.as_ref(), pass, &brief, &envelope).await
}

/// From here on, a death of this process leaves `sending` behind.
async fn send(
    rooms: &Rooms,
    job: &Job,
    lease: &Lease,
    channel: &dyn Channel,
    pass: Pass<'_>,
    brief: &CallBrief,
    envelope: &Envelope,
) -> Result<Done, StepError> {
    let id = envelope.delivery_id;
    match channel.send(brief, envelope).await {
        Ok(receipt) => {
            lease.note_request(receipt.request_id.as_deref());
            settle(rooms, lease, id, DeliveryState::Sent, receipt.reference.as_deref(), None).await?;
            pass.worked().await;
            tracing::info!(channel = channel.name(), "Message sent.");
            Ok(Done::end())
        }
        Err(SendError::NotSent(error)) => not_sent(rooms, job, lease, pass, envelope, error, POLICY.max_attempts).await,
        Err(SendError::Unexplained(error)) => {
            not_sent(rooms, job, lease, pass, envelope, error, UNEXPLAINED_ATTEMPTS).await
        }
        Err(SendError::Unknown(error)) => {
            lease.note_request(error.request_id.as_deref());
            settle(rooms, lease, id, DeliveryState::Unknown, None, Some(&error.message)).await?;
            tracing::warn!(channel = channel.name(), reason = %error.message, "Nobody knows whether the message arrived.");
            let end = pass.failed(error).await;
            if envelope.possible_repeat || rooms.settings.on_unknown == OnUnknown::Hold {
                return Ok(Done::end());
            }
            Err(end)
        }
    }
}

/// Surely not sent: what passes is tried again, up to so many attempts.
async fn not_sent(
    rooms: &Rooms,
    job: &Job,
    lease: &Lease,
    pass: Pass<'_>,
    envelope: &Envelope,
    mut error: UpstreamError,
    most_attempts: i32,
) -> Result<Done, StepError> {
    lease.note_request(error.request_id.as_deref());
    if envelope.possible_repeat {
        error.message.push_str(EARLIER_TRY);
    }
    let said = error.message.clone();
    let end = match pass.failed(error).await {
        StepError::Retry(failure) if job.attempts >= most_attempts => StepError::Permanent(failure),
        end => end,
    };
    let is_last = matches!(end, StepError::Permanent(_));
    let state = if is_last { DeliveryState::Failed } else { DeliveryState::Pending };
    settle(rooms, lease, envelope.delivery_id, state, None, Some(&said)).await?;
    Err(end)
}

async fn settle(
    rooms: &Rooms,
    lease: &Lease,
    id: DeliveryId,
    state: DeliveryState,
    reference: Option<&str>,
    detail: Option<&str>,
) -> Result<(), StepError> {
    let settle = || store::deliveries::settle(&rooms.db, lease.fence(), id, state, reference, detail);
    // What became of a message is known only here and only now: a lost word would make it a possible repeat.
    Ok(store::patiently(settle).await?)
}

fn envelope(rooms: &Rooms, call_id: CallId, delivery: &DeliveryRow, possible_repeat: bool) -> Envelope {
    let domain = rooms.settings.public_url.domain().unwrap_or("goto-automation.invalid");
    Envelope {
        delivery_id: DeliveryId(delivery.id),
        destination: delivery.destination.clone(),
        possible_repeat,
        message_id: format!("{call_id}.{}@{domain}", delivery.id),
        date: delivery.message_date,
    }
}

/// What the message tells.
async fn brief(rooms: &Rooms, call_id: CallId, call: &CallRow) -> Result<CallBrief, StepError> {
    let analysis = match store::summaries::analysis(&rooms.db, call_id).await? {
        Some(stored) => {
            let items = store::bounded(&rooms.db, async |db| store::summaries::action_items(db, call_id).await).await?;
            Some(Analysis {
                statements: stored.statements,
                sentiment: stored.sentiment,
                urgency: stored.urgency,
                topics: stored.topics,
                action_items: items.into_iter().map(action_item).collect(),
            })
        }
        None => None,
    };
    let link = rooms.settings.public_url.join(&format!("calls/{call_id}")).map_err(anyhow::Error::from)?;
    Ok(CallBrief {
        call_id,
        external_id: call.external_id.clone(),
        direction: call.direction.parse().unwrap_or(Direction::Unknown),
        caller: Party { name: call.caller_name.clone(), number: call.caller_number.clone() },
        called: Party { name: call.called_name.clone(), number: call.called_number.clone() },
        started_at: call.started_at,
        duration_seconds: call.duration_seconds,
        analysis,
        link,
        time_zone: rooms.settings.time_zone,
    })
}

fn action_item(row: store::summaries::ActionItemRow) -> ActionItem {
    ActionItem {
        text: row.text,
        owner: row.owner,
        due_words: row.due_words,
        due_at: row.due_at,
        evidence: row.evidence,
        supported: row.supported,
    }
}

/// Waits until the quiet hours are over, unless the call cannot wait. What the model calls urgent counts only if a
/// statement of it is supported by the transcript.
fn respect_quiet_hours(rooms: &Rooms, brief: &CallBrief) -> Result<(), StepError> {
    let Some((from, to)) = rooms.settings.quiet_hours else { return Ok(()) };
    let urgent = brief
        .analysis
        .as_ref()
        .is_some_and(|analysis| analysis.urgency >= URGENT_NOW && analysis.statements.iter().any(|s| s.supported));
    match quiet_for(clock::now(), rooms.settings.time_zone, from, to) {
        Some(left) if !urgent => {
            let message =
                format!("Quiet hours until {} (NOTIFY_QUIET_HOURS); the message goes out then.", to.format("%H:%M"));
            Err(StepError::RetryAfter(left, Failure { class: FailureClass::QuietHours, message }))
        }
        _ => Ok(()),
    }
}

/// How long it stays quiet, if it is; `from` after `to` means over midnight.
fn quiet_for(now: DateTime<Utc>, zone: Tz, from: NaiveTime, to: NaiveTime) -> Option<Duration> {
    let time = now.with_timezone(&zone).time();
    let quiet = if from <= to { from <= time && time < to } else { time >= from || time < to };
    let mut left = to - time;
    if left <= TimeDelta::zero() {
        left += TimeDelta::days(1);
    }
    let whole_second = u64::from(time.nanosecond() > 0);
    quiet.then(|| Duration::from_secs(left.num_seconds() as u64 + whole_second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;

    #[test]
    fn quiet_hours_may_pass_midnight() {
        let at = |hour, minute| Utc.with_ymd_and_hms(2026, 11, 17, hour, minute, 0).unwrap();
        let time = |hour| NaiveTime::from_hms_opt(hour, 0, 0).unwrap();
        let quiet = |now| quiet_for(now, chrono_tz::UTC, time(22), time(7)).map(|left| left.as_secs());
        assert_eq!(quiet(at(23, 0)), Some(8 * 3600));
        assert_eq!(quiet(at(6, 30)), Some(1800));
        assert_eq!(quiet(at(7, 0)), None);
        assert_eq!(quiet(at(21, 59)), None);
        assert_eq!(quiet_for(at(12, 30), chrono_tz::UTC, time(12), time(13)).unwrap().as_secs(), 1800);
    }
}
