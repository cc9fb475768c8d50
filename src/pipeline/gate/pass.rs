//! A request's way through the gate, and what its end says of the provider.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{Gate, OUTAGE_LADDER, REFUSED_LADDER, SLOT, place, step_of};
use crate::model::{CallId, FailureClass, Fault, UpstreamError};
use crate::queue::{self, Failure, Job, StepError};
use crate::store;
use crate::store::providers::{Complaint, ProbesBefore};

/// So many failures in a row are no accident: where three of ten requests fail at random, ten fail in a row once in
/// 170,000. Of one call two count, so that it takes five calls: one alone never pauses a provider, however often it fails.
const FAILURES: i32 = 10;

/// The right to send one request. Dropped without a word, the request says nothing of the provider.
#[must_use]
pub(in crate::pipeline) struct Pass<'a> {
    gate: &'a Gate,
    provider: &'static str,
    call: CallId,
    waits: i32,
    began: Instant,
    probe: Option<Probe>,
}

/// The request finds out for all whether the provider works again.
struct Probe {
    token: i64,
    before: ProbesBefore,
    _kept: AbortOnDropHandle<()>,
}

/// What a job does whose request has failed.
enum Then {
    /// What the error says by itself.
    AsSaid,
    /// Waits with all others.
    Wait(Duration),
}

impl<'a> Pass<'a> {
    pub(super) fn new(gate: &'a Gate, provider: &'static str, job: &Job) -> Self {
        Self { gate, provider, call: job.call_id, waits: job.waits, began: Instant::now(), probe: None }
    }

    pub(super) fn probe(gate: &'a Gate, provider: &'static str, job: &Job, token: i64, before: ProbesBefore) -> Self {
        tracing::debug!(provider, "Asking whether the provider works again.");
        let (db, lease) = (gate.db.clone(), gate.lease);
        let kept = tokio::spawn(async move {
            loop {
                tokio::time::sleep(lease / 3).await;
                // Where it fails the lease may run out: then somebody else probes too, and no harm is done.
                let _ = store::providers::keep_probe(&db, provider, token, lease).await;
            }
        });
        let probe = Probe { token, before, _kept: AbortOnDropHandle::new(kept) };
        Self { probe: Some(probe), ..Self::new(gate, provider, job) }
    }

    /// The provider did its work, or has at least given an answer that somebody else would not get. Never fails: what the
    /// request has brought is worth more than what it says.
    pub async fn worked(mut self) {
        let told = match self.probe.take() {
            Some(probe) => self.recovered(&probe, Duration::ZERO).await,
            None => self.did_not_fail().await,
        };
        self.note(told);
    }

    /// The request failed: tells what the job does now.
    pub async fn failed(mut self, error: UpstreamError) -> StepError {
        let probe = self.probe.take();
        let told = match (error.fault, &probe) {
            (fault, probe) if error.is_no_sign || fault == Fault::Permanent => self.told_nothing(probe.as_ref()).await,
            (Fault::RetryAfter(rest), probe) => self.asked_for_rest(probe.as_ref(), rest).await,
            (Fault::NotReady, Some(probe)) => self.recovered(probe, Duration::ZERO).await.map(|()| Then::AsSaid),
            (Fault::NotReady, None) => self.did_not_fail().await.map(|()| Then::AsSaid),
            (fault, Some(probe)) => {
                let ladder: &[u64] = if fault == Fault::Blocked { &REFUSED_LADDER } else { &OUTAGE_LADDER };
                self.still_does_not_work(probe, &error, ladder).await
            }
            (Fault::Blocked, None) => self.pause(&error, self.gate.rung(&REFUSED_LADDER, 0)).await,
            (_, None) => self.broke(&error).await,
        };
        match self.note(told) {
            Some(Then::Wait(delay)) => {
                let reason = Failure { class: error.class, message: error.message };
                StepError::WaitFor { what: self.provider, delay, reason }
            }
            _ => StepError::from_upstream(error, self.waits),
        }
    }

    /// A paused provider has answered: all may go on, after `rest`.
    async fn recovered(&self, probe: &Probe, rest: Duration) -> Result<(), sqlx::Error> {
        let gate = self.gate;
        let paused = store::providers::recover(&gate.db, self.provider, probe.token, rest, SLOT).await?;
        gate.forget();
        if let Some(seconds) = paused {
            let waiting = gate.let_go(self.provider, rest).await?;
            tracing::info!(
                provider = self.provider,
                waiting,
                paused_seconds = seconds.round(),
                "The provider works again; waiting calls go on one after the other."
            );
        }
        Ok(())
    }

    async fn did_not_fail(&self) -> Result<(), sqlx::Error> {
        if self.gate.looks_doubted(self.provider).await? {
            store::providers::forget_failures(&self.gate.db, self.provider).await?;
            self.gate.forget();
        }
        Ok(())
    }

    async fn told_nothing(&self, probe: Option<&Probe>) -> Result<Then, sqlx::Error> {
        if let Some(probe) = probe {
            store::providers::pass_probe_on(&self.gate.db, self.provider, probe.token).await?;
            self.gate.send_next(self.provider, Duration::ZERO).await?;
        }
        Ok(Then::AsSaid)
    }

    async fn asked_for_rest(&self, probe: Option<&Probe>, rest: Duration) -> Result<Then, sqlx::Error> {
        store::providers::limit(&self.gate.db, self.provider, rest).await?;
        self.gate.forget();
        if let Some(probe) = probe {
            self.recovered(probe, rest).await?;
        }
        Ok(Then::AsSaid)
    }

    async fn still_does_not_work(
        &self,
        probe: &Probe,
        error: &UpstreamError,
        ladder: &[u64],
    ) -> Result<Then, sqlx::Error> {
        // Another word means that something has changed there, so the delays begin anew.
        let is_alike = probe.before.class.as_deref() == Some(error.class.as_str());
        let alike = if is_alike { probe.before.alike + 1 } else { 0 };
        let probe_in = self.gate.rung(ladder, alike);
        let complaint = Complaint { class: error.class.as_str(), reason: &self.reason(error), probe_in };
        store::providers::probe_failed(&self.gate.db, self.provider, probe.token, alike, complaint).await?;
        self.gate.forget();
        // Another one asks next time: it may be this very call that the provider cannot bear.
        let another = queue::hasten(&self.gate.db, step_of(self.provider), self.provider, probe_in).await?;
        Ok(Then::Wait(if another { self.gate.longest_wait() } else { probe_in }))
    }

    /// A failure that may be the provider's, or the call's own.
    async fn broke(&self, error: &UpstreamError) -> Result<Then, sqlx::Error> {
        let (db, age) = (&self.gate.db, self.began.elapsed());
        let doubt = store::providers::note_failure(db, self.provider, self.call, age).await?;
        self.gate.forget();
        if doubt.paused {
            return Ok(Then::Wait(self.gate.longest_wait()));
        }
        if doubt.failures < FAILURES {
            return Ok(Then::AsSaid);
        }
        self.pause(error, self.gate.rung(&OUTAGE_LADDER, 0)).await
    }

    async fn pause(&self, error: &UpstreamError, probe_in: Duration) -> Result<Then, sqlx::Error> {
        let (db, age) = (&self.gate.db, self.began.elapsed());
        let complaint = Complaint { class: error.class.as_str(), reason: &self.reason(error), probe_in };
        if store::providers::pause(db, self.provider, complaint, age).await? {
            self.gate.forget();
            tracing::error!(provider = self.provider, class = error.class.as_str(), reason = %error.message,
                "The provider is paused for all calls: they wait, and one at a time asks whether it works again.");
            return Ok(Then::Wait(probe_in));
        }
        let paused = self.gate.look_now(self.provider).await?.is_some_and(|row| row.paused_at.is_some());
        Ok(if paused { Then::Wait(self.gate.longest_wait()) } else { Then::AsSaid })
    }

    /// What the provider is paused for, as it stands at calls that have not asked.
    fn reason(&self, error: &UpstreamError) -> String {
        if error.class == FailureClass::UnknownOutcome {
            let place = place(self.provider);
            return format!("Nobody knows what became of the last messages: {place} gave no answer. Look after it.");
        }
        error.message.clone()
    }

    /// The database may be away; the leases of probes and the keeper see to it that nothing hangs.
    fn note<T>(&self, told: Result<T, sqlx::Error>) -> Option<T> {
        self.gate.probed.notify_waiters();
        told.inspect_err(|error| {
            tracing::debug!(provider = self.provider, %error, "What became of a request was not told to others.");
        })
        .ok()
    }
}

impl Drop for Pass<'_> {
    /// A step that stopped before it knew: the next one may probe, without waiting for the end of the lease.
    fn drop(&mut self) {
        let Some(probe) = self.probe.take() else { return };
        self.gate.probed.notify_waiters();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (db, provider, token) = (self.gate.db.clone(), self.provider, probe.token);
            runtime.spawn(async move { store::providers::pass_probe_on(&db, provider, token).await.ok() });
        }
    }
}
