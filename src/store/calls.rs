//! `calls`: who, when, and where it stands. `state`, `state_reason` and `waiting_until` are written by the trigger in
//! `migrations/0002_jobs.sql`, in the same transaction as the job that moves them.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use super::bounded;
use crate::model::{CallBounds, CallId, NewCall};

/// A call's row.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct CallRow {
    /// Our id.
    pub id: Uuid,
    /// The sender's id.
    pub external_id: String,
    /// A [`crate::model::CallState`].
    pub state: String,
    /// Why it waits or failed, or which message did not go out.
    pub state_reason: Option<String>,
    /// When it goes on.
    pub waiting_until: Option<DateTime<Utc>>,
    /// A [`crate::model::Direction`].
    pub direction: String,
    /// Who called.
    pub caller_name: Option<String>,
    /// Who called.
    pub caller_number: Option<String>,
    /// Who was called.
    pub called_name: Option<String>,
    /// Who was called.
    pub called_number: Option<String>,
    /// Start.
    pub started_at: Option<DateTime<Utc>>,
    /// End.
    pub ended_at: Option<DateTime<Utc>>,
    /// Length in seconds.
    pub duration_seconds: Option<i32>,
    /// A [`crate::model::RecordingState`].
    pub recording: String,
    /// Where the recording was announced to be.
    pub recording_url: Option<String>,
    /// Number of the pipeline's current run.
    pub run: i32,
    /// Counted up when somebody asks for the messages to be sent again.
    pub notify_round: i32,
    /// Arrival.
    pub created_at: DateTime<Utc>,
    /// What lists are ordered by.
    pub occurred_at: DateTime<Utc>,
}

/// The columns of a [`CallRow`], of calls as `c`.
pub(super) const COLUMNS: &str = "c.id, c.external_id, c.state, c.state_reason, c.waiting_until, c.direction,
    c.caller_name, c.caller_number, c.called_name, c.called_number, c.started_at, c.ended_at, c.duration_seconds,
    c.recording, c.recording_url, c.run, c.notify_round, c.created_at, c.occurred_at";

/// Makes calls, each with the id that it is to have and its source; tells which are new. The others are known to their
/// source. No two may have the same source and external id.
pub async fn insert(
    db: &mut PgConnection,
    calls: &[(CallId, &str, &NewCall)],
) -> std::result::Result<HashSet<CallId>, sqlx::Error> {
    let column = |of: fn(&NewCall) -> Option<&str>| -> Vec<Option<String>> {
        calls.iter().map(|(_, _, call)| of(call).map(ToOwned::to_owned)).collect()
    };
    let ids: Vec<Uuid> = calls.iter().map(|(id, _, _)| id.0).collect();
    let sources: Vec<String> = calls.iter().map(|(_, source, _)| (*source).to_owned()).collect();
    let external_ids: Vec<String> = calls.iter().map(|(_, _, call)| call.external_id.clone()).collect();
    let directions: Vec<String> = calls.iter().map(|(_, _, call)| call.direction.as_str().to_owned()).collect();
    let starts: Vec<Option<DateTime<Utc>>> = calls.iter().map(|(_, _, call)| call.started_at).collect();
    let ends: Vec<Option<DateTime<Utc>>> = calls.iter().map(|(_, _, call)| call.ended_at).collect();
    let durations: Vec<Option<i32>> = calls.iter().map(|(_, _, call)| call.duration_seconds).collect();
    let new = sqlx::query_scalar!(
        "INSERT INTO calls (id, source, external_id, direction, caller_name, caller_number, called_name, called_number,
             started_at, ended_at, duration_seconds, recording, recording_url)
         SELECT id, source, external_id, direction, caller_name, caller_number, called_name, called_number,
             started_at, ended_at, duration_seconds, CASE WHEN url IS NULL THEN 'none' ELSE 'pending' END, url
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                 $9::timestamptz[], $10::timestamptz[], $11::int[], $12::text[])
             AS t (id, source, external_id, direction, caller_name, caller_number, called_name, called_number,
                 started_at, ended_at, duration_seconds, url)
         ON CONFLICT (source, external_id) DO NOTHING RETURNING id",
        &ids,
        &sources,
        &external_ids,
        &directions,
        &column(|call| call.caller.name.as_deref()) as &[Option<String>],
        &column(|call| call.caller.number.as_deref()) as &[Option<String>],
        &column(|call| call.called.name.as_deref()) as &[Option<String>],
        &column(|call| call.called.number.as_deref()) as &[Option<String>],
        &starts as &[Option<DateTime<Utc>>],
        &ends as &[Option<DateTime<Utc>>],
        &durations as &[Option<i32>],
        &column(|call| call.recording_url.as_deref()) as &[Option<String>]
    )
    .fetch_all(db)
    .await?;
    Ok(new.into_iter().map(CallId).collect())
}

/// The call that the sender knows by this id.
pub async fn find(
    db: &mut PgConnection,
    source: &str,
    external_id: &str,
) -> std::result::Result<Option<CallRow>, sqlx::Error> {
    sqlx::query_as!(
        CallRow,
        r#"SELECT id, external_id, state, state_reason, waiting_until, direction, caller_name, caller_number,
               called_name, called_number, started_at, ended_at, duration_seconds, recording, recording_url, run,
               notify_round, created_at, occurred_at AS "occurred_at!"
           FROM calls WHERE source = $1 AND external_id = $2"#,
        source,
        external_id
    )
    .fetch_optional(db)
    .await
}

/// Gives a call without a recording the one that a later body has brought, and begins a new run for it.
pub async fn attach_recording(
    db: &mut PgConnection,
    id: CallId,
    recording_url: &str,
) -> std::result::Result<i32, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE calls SET recording = 'pending', recording_url = $2, run = run + 1,
             notify_round = notify_round + 1, state = 'processing',
             state_reason = NULL, waiting_until = NULL, updated_at = now()
         WHERE id = $1 RETURNING run",
        id.0,
        recording_url
    )
    .fetch_one(db)
    .await
}

/// Begins a new run. The caller enqueues its first job in the same transaction.
pub async fn begin_run(
    db: &mut PgConnection,
    id: CallId,
    send_again: bool,
) -> std::result::Result<Option<i32>, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE calls SET run = run + 1, notify_round = notify_round + $2::bool::int, state = 'processing',
             state_reason = NULL, waiting_until = NULL, updated_at = now()
         WHERE id = $1 RETURNING run",
        id.0,
        send_again
    )
    .fetch_optional(db)
    .await
}

/// One call.
pub async fn get(db: &PgPool, id: CallId) -> std::result::Result<Option<CallRow>, sqlx::Error> {
    bounded(db, async |db| {
        sqlx::query_as!(
            CallRow,
            r#"SELECT id, external_id, state, state_reason, waiting_until, direction, caller_name, caller_number,
               called_name, called_number, started_at, ended_at, duration_seconds, recording, recording_url, run,
               notify_round, created_at, occurred_at AS "occurred_at!"
           FROM calls WHERE id = $1"#,
            id.0
        )
        .fetch_optional(db)
        .await
    })
    .await
}

/// One call, if it is within the bounds.
pub async fn get_within(
    db: impl PgExecutor<'_>,
    id: CallId,
    bounds: &CallBounds,
) -> std::result::Result<Option<CallRow>, sqlx::Error> {
    sqlx::query_as!(
        CallRow,
        r#"SELECT id, external_id, state, state_reason, waiting_until, direction, caller_name, caller_number,
           called_name, called_number, started_at, ended_at, duration_seconds, recording, recording_url, run,
           notify_round, created_at, occurred_at AS "occurred_at!"
       FROM calls
       WHERE id = $1 AND call_is_within(direction, caller_number, called_number, occurred_at, $2, $3, $4, $5)"#,
        id.0,
        bounds.direction(),
        bounds.number_prefix(),
        bounds.from,
        bounds.to
    )
    .fetch_optional(db)
    .await
}

/// Calls whose sender's id is this one; more than one only if several sources use it.
pub async fn by_external_id(db: &PgPool, external_id: &str) -> std::result::Result<Vec<CallRow>, sqlx::Error> {
    bounded(db, async |db| {
        sqlx::query_as!(
            CallRow,
            r#"SELECT id, external_id, state, state_reason, waiting_until, direction, caller_name, caller_number,
               called_name, called_number, started_at, ended_at, duration_seconds, recording, recording_url, run,
               notify_round, created_at, occurred_at AS "occurred_at!"
           FROM calls WHERE external_id = $1 ORDER BY occurred_at DESC, id DESC LIMIT 10"#,
            external_id
        )
        .fetch_all(db)
        .await
    })
    .await
}
