//! Set arithmetic at the end: what was acknowledged, what the database says, and what the stand-ins have really done.
//!
//! A message that was taken twice, and one of which nobody knows, is accepted only where the stand-ins' own log shows the
//! request in flight while its worker was hit, or lost by plan: "unknown" is no way out.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use goto_automation::dev::standins::Upstream;
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use crate::book::{Fault, Injected};
use crate::effects::{Effect, Effects, Message};
use crate::report::{self, Report};
use crate::sender::Sent;
use crate::stage::Stage;

/// From the answer of a stand-in until the worker has read it and the database has taken the word that the message was
/// sent; longer only while the database is away.
const SETTLING: TimeDelta = TimeDelta::seconds(2);

/// What the checker has found.
#[derive(Debug, Default)]
pub struct Findings {
    pub calls: usize,
    /// Acknowledged without a finished call, or finished without its messages.
    pub lost: Vec<String>,
    /// Calls and messages that nobody has asked for.
    pub unexpected: Vec<String>,
    /// Two calls for one, two ids for one, or a job that was committed twice.
    pub duplicate_calls: Vec<String>,
    /// Messages that were taken twice without an accepted reason.
    pub duplicate_messages: Vec<String>,
    /// Unknown outcomes without an accepted reason, and marks of a possible repeat without one.
    pub unexplained: Vec<String>,
    /// Messages that were taken twice, for an accepted reason.
    pub repeats: usize,
    /// Outcomes that nobody knows, for an accepted reason.
    pub unknown: usize,
    /// Of these, messages whose worker was hit after it had said that it would send and before the first byte arrived.
    pub never_left: usize,
    /// Open without a future time.
    pub stuck: Vec<String>,
    /// Parked because their workers died.
    pub parked: Vec<String>,
    /// Answers of the two models beyond those that the product keeps.
    pub paid_again: usize,
    /// From the first time that a call was due at the sender to its end.
    pub end_to_end: Vec<Duration>,
}

#[derive(Debug, FromRow)]
struct Call {
    id: Uuid,
    external_id: String,
    state: String,
    finished_at: Option<DateTime<Utc>>,
    committed_twice: bool,
}

#[derive(Debug, FromRow)]
struct Delivery {
    id: Uuid,
    call_id: Uuid,
    channel: String,
    state: String,
    repeated: bool,
}

#[derive(Debug, Clone, FromRow)]
struct Attempt {
    delivery: Uuid,
    worker: String,
    started_at: DateTime<Utc>,
    outcome: String,
}

impl Findings {
    /// Looks at everything. To be called when nothing runs any more that could still change it.
    pub async fn of(stage: &Stage) -> anyhow::Result<Self> {
        let sent = stage.sender.sent();
        let effects = stage.effects()?;
        let mut findings = Self::default();
        findings.look_at_calls(&stage.db, &sent).await?;
        findings.look_at_messages(&stage.db, &effects, &stage.book.all()).await?;
        findings.look_at_jobs(&stage.db).await?;
        let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM step_answers").fetch_one(&stage.db).await?;
        let paid = effects.count(Upstream::Speech) + effects.count(Upstream::LanguageModel);
        findings.paid_again = paid.saturating_sub(kept as usize);
        Ok(findings)
    }

    /// A report that begins with what was sent, what came of these calls, and what every scenario asks for.
    pub async fn report(stage: &Stage, calls: usize) -> anyhow::Result<(Sent, Self, Report)> {
        let (sent, findings, mut report) = (stage.sender.sent(), Self::of(stage).await?, Report::default());
        report.figure(sent.told());
        report.exactly("calls", findings.calls, calls);
        findings.tell(&mut report);
        Ok((sent, findings, report))
    }

    /// What every scenario asks for: nothing lost, nothing twice, nothing stuck.
    pub fn tell(&self, report: &mut Report) {
        report.none("lost", &self.lost);
        report.none("unexpected", &self.unexpected);
        report.none("duplicate calls", &self.duplicate_calls);
        report.none("duplicate messages", &self.duplicate_messages);
        report.none("unexplained unknowns", &self.unexplained);
        report.figure(format!("unknown {} (twice {}, never left {})", self.unknown, self.repeats, self.never_left));
        report.none("stuck", &self.stuck);
        report.none("parked", &self.parked);
    }

    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        report::percentile(&self.end_to_end, percent)
    }

    async fn look_at_calls(&mut self, db: &PgPool, sent: &Sent) -> anyhow::Result<()> {
        let calls: Vec<Call> = sqlx::query_as(
            "SELECT c.id, c.external_id, c.state,
                    (SELECT max(j.finished_at) FROM jobs j WHERE j.call_id = c.id) AS finished_at,
                    EXISTS (SELECT 1 FROM job_attempts a WHERE a.call_id = c.id AND a.outcome = 'completed'
                            GROUP BY a.job_id HAVING count(*) > 1) AS committed_twice
             FROM calls c",
        )
        .fetch_all(db)
        .await?;
        self.calls = calls.len();
        let (tried, acknowledged, began) = (sent.calls(), sent.acknowledged(), sent.began());
        let mut known: HashMap<&str, Vec<&Call>> = HashMap::new();
        for call in &calls {
            known.entry(&call.external_id).or_default().push(call);
            if !tried.contains(call.external_id.as_str()) {
                self.unexpected.push(format!("call {}", call.external_id));
            }
            if call.committed_twice {
                self.duplicate_calls.push(format!("a job of call {} was committed twice", call.external_id));
            }
            let began = began.get(call.external_id.as_str());
            if let (Some(began), Some(finished)) = (began, call.finished_at) {
                self.end_to_end.push((finished - *began).to_std().unwrap_or_default());
            }
        }
        for (external_id, ids) in acknowledged {
            let found = known.get(external_id).map(Vec::as_slice).unwrap_or_default();
            let finished = |call: &&Call| matches!(call.state.as_str(), "completed" | "no_recording");
            if !found.iter().copied().any(|call| finished(&call) && ids.contains(&call.id)) {
                let states: Vec<_> = found.iter().map(|call| call.state.as_str()).collect();
                self.lost.push(format!("call {external_id} ({})", states.join(", ")));
            }
            if found.len() > 1 || ids.len() > 1 {
                self.duplicate_calls.push(format!("call {external_id} has {} rows and {} ids", found.len(), ids.len()));
            }
        }
        Ok(())
    }

    async fn look_at_messages(&mut self, db: &PgPool, effects: &Effects, faults: &[Injected]) -> anyhow::Result<()> {
        let deliveries: Vec<Delivery> =
            sqlx::query_as("SELECT id, call_id, channel, state, repeated FROM deliveries").fetch_all(db).await?;
        let attempts: Vec<Attempt> = sqlx::query_as(
            "SELECT j.target AS delivery, a.worker, a.started_at, a.outcome
             FROM job_attempts a JOIN jobs j ON j.id = a.job_id WHERE j.target IS NOT NULL
             ORDER BY a.started_at",
        )
        .fetch_all(db)
        .await?;
        let mut of_delivery: HashMap<Uuid, Vec<Attempt>> = HashMap::new();
        for attempt in attempts {
            of_delivery.entry(attempt.delivery).or_default().push(attempt);
        }
        let mut taken = effects.messages();
        for delivery in &deliveries {
            let message =
                if delivery.channel == "slack" { Message::Slack(delivery.call_id) } else { Message::Mail(delivery.id) };
            let times = taken.remove(&message).unwrap_or_default();
            let attempts = of_delivery.get(&delivery.id).map(Vec::as_slice).unwrap_or_default();
            self.judge(delivery, &times, attempts, faults);
        }
        self.unexpected.extend(taken.keys().map(|message| format!("message {message:?}")));
        self.look_for_unsent(db).await
    }

    /// One message: how often it was taken, and whether what nobody knows has an accepted reason.
    fn judge(&mut self, delivery: &Delivery, times: &[&Effect], attempts: &[Attempt], faults: &[Injected]) {
        let who = format!("{} of call {} ({})", delivery.channel, delivery.call_id, delivery.state);
        if times.is_empty() && delivery.state == "sent" {
            self.lost.push(format!("{who} never arrived"));
        }
        let explained = times.iter().filter(|effect| is_explained(effect, attempts, faults)).count();
        if times.len() > 1 {
            // Each but the last one must have been in flight at a fault, and whoever got it twice must be told.
            let fine = explained + 1 >= times.len() && delivery.repeated;
            if fine { self.repeats += 1 } else { self.duplicate_messages.push(format!("{who}: {times:?}")) }
        }
        let in_doubt = delivery.state == "unknown" || delivery.repeated;
        if in_doubt {
            // What never left is in nobody's log: then the worker of an attempt at this message must have been hit.
            let sure = usize::from(delivery.state == "sent");
            let never_left =
                explained == 0 && times.len() == sure && attempts.iter().any(|attempt| is_hit(attempt, faults));
            self.never_left += usize::from(never_left);
            let fine = explained > 0 || never_left;
            if fine { self.unknown += 1 } else { self.unexplained.push(format!("{who}: {times:?} {attempts:?}")) }
        }
    }

    /// Calls that are finished, and whose deliveries are not.
    async fn look_for_unsent(&mut self, db: &PgPool) -> anyhow::Result<()> {
        let unsent: Vec<String> = sqlx::query_scalar(
            "SELECT c.external_id FROM calls c
             WHERE c.state = 'completed' AND (SELECT count(*) FROM deliveries d
                 WHERE d.call_id = c.id AND d.state IN ('sent', 'unknown')) <> 2",
        )
        .fetch_all(db)
        .await?;
        self.lost.extend(unsent.iter().map(|call| format!("a message of call {call}")));
        Ok(())
    }

    async fn look_at_jobs(&mut self, db: &PgPool) -> anyhow::Result<()> {
        self.stuck = sqlx::query_scalar(
            "SELECT 'job ' || id || ' ' || step || ' ' || state FROM jobs
             WHERE state = 'running' OR (state = 'available' AND run_at <= now())
             UNION ALL
             SELECT 'call ' || external_id || ' ' || state FROM calls c
             WHERE state IN ('processing', 'waiting') AND NOT EXISTS (
                 SELECT 1 FROM jobs j WHERE j.call_id = c.id AND j.state = 'available' AND j.run_at > now())",
        )
        .fetch_all(db)
        .await?;
        self.parked = sqlx::query_scalar(
            "SELECT 'job ' || j.id || ' ' || j.step || ' of call ' || c.external_id FROM jobs j JOIN calls c ON c.id = j.call_id
             WHERE j.state = 'failed' AND j.reason LIKE 'poison%'",
        )
        .fetch_all(db)
        .await?;
        Ok(())
    }
}

/// Whether the log shows this request in flight while its worker was hit, or its answer was lost by plan.
fn is_explained(effect: &Effect, attempts: &[Attempt], faults: &[Injected]) -> bool {
    if effect.lost {
        return true;
    }
    let settled = settled_by(effect, faults);
    let in_flight = |injected: &&Injected| {
        // Who was killed sends nothing any more; who was frozen may send what he was about to when he wakes up.
        let frozen = injected.from < injected.until;
        let until = injected.until + if frozen { SETTLING } else { TimeDelta::zero() };
        injected.from <= settled && effect.arrived_at <= until
    };
    let begun = attempts.iter().filter(|attempt| attempt.outcome == "lost" && attempt.started_at <= effect.arrived_at);
    begun.filter_map(pid_of).any(|pid| faults.iter().filter(in_flight).any(|f| f.fault == Fault::Process(pid)))
}

/// Until when the word that this message was sent may have been on its way.
fn settled_by(effect: &Effect, faults: &[Injected]) -> DateTime<Utc> {
    let away = |settled: DateTime<Utc>, injected: &Injected| {
        let struck = injected.fault == Fault::Database && injected.from <= settled && injected.until >= effect.at;
        if struck { settled.max(injected.until + SETTLING) } else { settled }
    };
    faults.iter().fold(effect.at + SETTLING, away)
}

/// Whether the worker of a lost attempt was hit by us.
fn is_hit(attempt: &Attempt, faults: &[Injected]) -> bool {
    let pid = pid_of(attempt);
    attempt.outcome == "lost"
        && faults.iter().any(|injected| pid.is_some_and(|pid| injected.fault == Fault::Process(pid)))
}

/// A worker's name is `host:pid:random`.
fn pid_of(attempt: &Attempt) -> Option<i32> {
    attempt.worker.rsplit(':').nth(1)?.parse().ok()
}
