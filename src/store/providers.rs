//! `providers`: upstreams that were found not to work, for the whole cluster. The database's clock decides everything:
//! what leaves here are seconds from now.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::bounded;
use crate::model::{CallId, JobId};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// How a provider stands.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderRow {
    /// `recordings`, `transcription`, `analysis`, or the name of a channel.
    pub name: String,
    /// Since when only probes ask it; `None` = it may be asked.
    pub paused_at: Option<DateTime<Utc>>,
    /// What it said, in a word.
    pub error_class: Option<String>,
    /// What it said, in a sentence.
    pub reason: Option<String>,
    /// Job that probes it now.
    pub prober: Option<i64>,
    /// Seconds until the next probe may begin; due when not above 0.
    pub probe_in: Option<f64>,
    /// Seconds for which it has asked for a rest; over when not above 0.
    pub limited_for: Option<f64>,
    /// Seconds since it works again after a pause; below 0 when it is to be asked later.
    pub recovered_for: Option<f64>,
    /// Some calls have failed at it in a row.
    pub is_doubted: bool,
}

/// All that something is known against, or was.
pub async fn all(db: &PgPool) -> Result<Vec<ProviderRow>> {
    bounded(db, async |db| {
        sqlx::query_as!(
            ProviderRow,
            r#"SELECT name, paused_at, error_class, reason, CASE WHEN probe_until > now() THEN prober END AS prober,
                      extract(epoch FROM probe_at - now())::float8 AS probe_in,
                      extract(epoch FROM limited_until - now())::float8 AS limited_for,
                      extract(epoch FROM now() - recovered_at)::float8 AS recovered_for,
                      failed_calls <> '{}' AS "is_doubted!"
               FROM providers ORDER BY name"#
        )
        .fetch_all(db)
        .await
    })
    .await
}

/// What is known of a provider at which a call has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// Failures in a row, not more than two of each call.
    pub failures: i32,
    /// It is paused.
    pub paused: bool,
}

/// Counts a call's failure, but of one call not more than two. A request that began longer ago than the provider's
/// recovery says nothing of it.
pub async fn note_failure(db: &PgPool, name: &str, call: CallId, age: Duration) -> Result<Doubt> {
    bounded(db, async |db| {
        sqlx::query_as!(
            Doubt,
            r#"INSERT INTO providers AS p (name, failed_calls) VALUES ($1, ARRAY[$2::uuid])
               ON CONFLICT (name) DO UPDATE SET failed_calls = CASE
                   WHEN p.paused_at IS NOT NULL OR cardinality(array_positions(p.failed_calls, $2)) > 1
                        OR p.recovered_at > now() - make_interval(secs => $3) THEN p.failed_calls
                   ELSE p.failed_calls || $2::uuid END
               RETURNING cardinality(failed_calls) AS "failures!", paused_at IS NOT NULL AS "paused!""#,
            name,
            call.0,
            age.as_secs_f64()
        )
        .fetch_one(db)
        .await
    })
    .await
}

/// It works: the failures before are no row any more.
pub async fn forget_failures(db: &PgPool, name: &str) -> Result<()> {
    bounded(db, async |db| {
        sqlx::query!("UPDATE providers SET failed_calls = '{}' WHERE name = $1 AND failed_calls <> '{}'", name)
            .execute(db)
            .await
    })
    .await?;
    Ok(())
}

/// What a provider said that makes everybody wait.
#[derive(Debug, Clone, Copy)]
pub struct Complaint<'a> {
    /// In a word.
    pub class: &'a str,
    /// In a sentence.
    pub reason: &'a str,
    /// Until it is asked again.
    pub probe_in: Duration,
}

/// Pauses it for everybody. False = somebody else has, or the request that says so began before the last recovery.
pub async fn pause(db: &PgPool, name: &str, complaint: Complaint<'_>, age: Duration) -> Result<bool> {
    let paused = bounded(db, async |db| {
        sqlx::query!(
            "INSERT INTO providers AS p (name, paused_at, error_class, reason, probe_at, probed_at)
             VALUES ($1, now(), $2, $3, now() + make_interval(secs => $4), now())
             ON CONFLICT (name) DO UPDATE SET paused_at = excluded.paused_at, error_class = excluded.error_class,
                 reason = excluded.reason, probe_at = excluded.probe_at, probed_at = excluded.probed_at, probes = 0,
                 failed_calls = '{}'
             WHERE p.paused_at IS NULL
               AND (p.recovered_at IS NULL OR p.recovered_at <= now() - make_interval(secs => $5))",
            name,
            complaint.class,
            complaint.reason,
            complaint.probe_in.as_secs_f64(),
            age.as_secs_f64()
        )
        .execute(db)
        .await
    })
    .await?;
    Ok(paused.rows_affected() > 0)
}

/// Nobody asks it before this time is over; a longer rest that it has asked for before stays.
pub async fn limit(db: &PgPool, name: &str, rest: Duration) -> Result<()> {
    bounded(db, async |db| {
        sqlx::query!(
            "INSERT INTO providers AS p (name, limited_until) VALUES ($1, now() + make_interval(secs => $2))
             ON CONFLICT (name) DO UPDATE SET limited_until = greatest(p.limited_until, excluded.limited_until),
                 failed_calls = '{}'",
            name,
            rest.as_secs_f64()
        )
        .execute(db)
        .await
    })
    .await?;
    Ok(())
}

/// The right to send the one request that finds out whether a paused provider works again.
#[derive(Debug, Clone, Copy)]
pub struct ProbeAsk {
    /// Who asks for it.
    pub job: JobId,
    /// Made by who asks; what is told of the probe carries it.
    pub token: i64,
    /// How long it is valid without [`keep_probe`].
    pub lease: Duration,
    /// Before its time, if the last one began so long ago.
    pub early_after: Option<Duration>,
}

/// What the probes before this one have met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbesBefore {
    /// So many have failed with the same word since the first that did.
    pub alike: i32,
    /// The word.
    pub class: Option<String>,
}

/// Takes the probe if it is due and nobody has it. Gives back what those before it have met.
pub async fn take_probe(db: &PgPool, name: &str, ask: ProbeAsk) -> Result<Option<ProbesBefore>> {
    bounded(db, async |db| {
        sqlx::query_as!(
            ProbesBefore,
            "UPDATE providers SET prober = $2, probe_token = $3, probe_until = now() + make_interval(secs => $4),
                 probed_at = now()
             WHERE name = $1 AND paused_at IS NOT NULL AND (probe_until IS NULL OR probe_until <= now())
               AND (probe_at <= now() OR probed_at <= now() - make_interval(secs => $5))
             RETURNING probes AS alike, error_class AS class",
            name,
            ask.job.0,
            ask.token,
            ask.lease.as_secs_f64(),
            ask.early_after.map(|after| after.as_secs_f64())
        )
        .fetch_optional(db)
        .await
    })
    .await
}

/// The prober is alive, and its request under way.
pub async fn keep_probe(db: &PgPool, name: &str, token: i64, lease: Duration) -> Result<()> {
    bounded(db, async |db| {
        sqlx::query!(
            "UPDATE providers SET probe_until = now() + make_interval(secs => $3)
             WHERE name = $1 AND probe_token = $2",
            name,
            token,
            lease.as_secs_f64()
        )
        .execute(db)
        .await
    })
    .await?;
    Ok(())
}

/// The probe has told nothing: the next one may begin at once.
pub async fn pass_probe_on(db: &PgPool, name: &str, token: i64) -> Result<()> {
    bounded(db, async |db| {
        sqlx::query!(
            "UPDATE providers SET prober = NULL, probe_token = NULL, probe_until = NULL, probe_at = now()
             WHERE name = $1 AND probe_token = $2",
            name,
            token
        )
        .execute(db)
        .await
    })
    .await?;
    Ok(())
}

/// The probe has failed; so many before it failed with the same word.
pub async fn probe_failed(db: &PgPool, name: &str, token: i64, alike: i32, complaint: Complaint<'_>) -> Result<()> {
    bounded(db, async |db| {
        sqlx::query!(
            "UPDATE providers SET prober = NULL, probe_token = NULL, probe_until = NULL, probes = $3,
                 error_class = $4, reason = $5, probe_at = now() + make_interval(secs => $6)
             WHERE name = $1 AND probe_token = $2",
            name,
            token,
            alike,
            complaint.class,
            complaint.reason,
            complaint.probe_in.as_secs_f64()
        )
        .execute(db)
        .await
    })
    .await?;
    Ok(())
}

/// The probe has succeeded: everybody may ask again after `rest`, the first `slot` later. Gives back for how many seconds
/// it was paused; `None` = somebody else has the probe by now.
pub async fn recover(db: &PgPool, name: &str, token: i64, rest: Duration, slot: Duration) -> Result<Option<f64>> {
    bounded(db, async |db| {
        sqlx::query_scalar!(
            r#"WITH before AS (SELECT paused_at FROM providers WHERE name = $1 AND probe_token = $2 FOR UPDATE)
               UPDATE providers SET paused_at = NULL, error_class = NULL, reason = NULL, probe_at = NULL, probes = 0,
                   probed_at = NULL, prober = NULL, probe_token = NULL, probe_until = NULL, failed_calls = '{}',
                   recovered_at = now() + make_interval(secs => $3), next_slot = now() + make_interval(secs => $3 + $4)
               FROM before WHERE name = $1
               RETURNING extract(epoch FROM now() - before.paused_at)::float8 AS "seconds!""#,
            name,
            token,
            rest.as_secs_f64(),
            slot.as_secs_f64()
        )
        .fetch_optional(db)
        .await
    })
    .await
}

/// Takes the next place in the row of requests, each `slot` after the one before, for as long as `window` after the
/// recovery. Gives back how many seconds it lies ahead; `None` = there is no such row now.
pub async fn take_slot(db: &PgPool, name: &str, slot: Duration, window: Duration) -> Result<Option<f64>> {
    bounded(db, async |db| {
        sqlx::query_scalar!(
            r#"UPDATE providers SET next_slot = greatest(next_slot, now()) + make_interval(secs => $2)
               WHERE name = $1 AND paused_at IS NULL AND recovered_at <= now()
                 AND recovered_at > now() - make_interval(secs => $3)
               RETURNING extract(epoch FROM least(next_slot - make_interval(secs => $2),
                                                  recovered_at + make_interval(secs => $3)) - now())::float8
                   AS "seconds!""#,
            name,
            slot.as_secs_f64(),
            window.as_secs_f64()
        )
        .fetch_optional(db)
        .await
    })
    .await
}

/// Whatever is paused may be probed at once: the settings may be new.
pub async fn probe_soon(db: &PgPool) -> Result<()> {
    bounded(db, async |db| {
        sqlx::query!("UPDATE providers SET probe_at = now() WHERE paused_at IS NOT NULL AND probe_at > now()")
            .execute(db)
            .await
    })
    .await?;
    Ok(())
}
