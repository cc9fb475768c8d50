//! The gate before the providers: whether one may be asked now. One that refuses everybody (key, quota) or fails for
//! everybody is paused for the whole cluster by a row of `providers`; its jobs wait without using attempts, one of them
//! at a time asks whether it works again, and after that the requests start one after the other (ADR 0005).
//!
//! | part | does |
//! |---|---|
//! | here | lets a request through, now or in its turn, or makes its job wait |
//! | [`pass`] | tells what became of the request: this pauses providers and ends pauses |
//! | [`keeper`] | lets waiting jobs go, and sees to it that somebody probes |

mod keeper;
mod pass;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

pub(super) use self::pass::Pass;
use super::{ANALYZE, DOWNLOAD, NOTIFY, TRANSCRIBE};
use crate::model::FailureClass;
use crate::queue::{Failure, Job, StepError, Waker};
use crate::store;
use crate::store::providers::{ProbeAsk, ProviderRow};

/// The hosts of recordings.
pub(super) const RECORDINGS: &str = "recordings";
/// Speech to text.
pub(super) const TRANSCRIPTION: &str = "transcription";
/// The language model.
pub(super) const ANALYSIS: &str = "analysis";

/// For so long after a recovery the requests to a provider go out one after the other.
const PACED: Duration = Duration::from_secs(10);
/// From one to the next of them: 8 in a second, so that they are never more than 10, late as some may be.
const SLOT: Duration = Duration::from_millis(125);
/// Pauses before the probes of a provider that fails in the same way, in seconds; then the last one for ever.
const OUTAGE_LADDER: [u64; 7] = [5, 10, 20, 40, 80, 160, 300];
/// The same for one that refuses: a person has to do something first.
const REFUSED_LADDER: [u64; 4] = [60, 300, 900, 3_600];
/// No pause is shorter, whatever `RETRY_SCALE` says.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// A process knows of a pause after this time, or half the shortest pause if that is less.
const LONGEST_SIGHT: Duration = Duration::from_secs(1);
/// How long a job waits if nobody lets it go: the safety net.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// A person who runs a waiting job again wants it to be tried, but not more often than this.
const PROBE_BY_HAND: Duration = Duration::from_secs(1);
/// Those who wait for a rate limit to end come back over this time.
const SPREAD: f64 = 1.0;

/// One per process.
pub struct Gate {
    db: PgPool,
    waker: Waker,
    retry_scale: f64,
    /// Of a probe, renewed while it is under way.
    lease: Duration,
    seen: Mutex<Seen>,
    /// One looks for all.
    looking: tokio::sync::Mutex<()>,
    /// A probe of this process has ended.
    probed: Notify,
}

/// What this process knows of the providers, and since when. What it finds out itself makes it look again.
#[derive(Default)]
struct Seen {
    at: Option<Instant>,
    /// What was seen until then is out of date.
    changed_at: Option<Instant>,
    rows: Vec<ProviderRow>,
}

/// How a provider stands for somebody who wants to ask it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Standing {
    Open,
    /// Not before this time is over.
    Limited(Duration),
    /// Each in its turn.
    Paced,
    /// Probes only.
    Paused,
}

impl Gate {
    /// Knows nothing yet. `retry_scale` is a factor on the pauses between probes; `lease` is how long a prober that died
    /// keeps others from probing.
    pub fn new(db: PgPool, waker: Waker, retry_scale: f64, lease: Duration) -> Self {
        let (seen, looking, probed) = (Mutex::default(), tokio::sync::Mutex::default(), Notify::new());
        Self { db, waker, retry_scale, lease, seen, looking, probed }
    }

    /// For a step that works long before it asks: fails now if its request would have to wait.
    pub(super) async fn check(&self, provider: &'static str, job: &Job) -> Result<(), StepError> {
        if self.looks_open(provider).await? {
            return Ok(());
        }
        let Some(row) = self.look_now(provider).await? else { return Ok(()) };
        match standing(&row) {
            Standing::Limited(rest) if !is_sat_out(provider, rest) => Err(limited(provider, rest)),
            Standing::Paused if !is_probe_due(&row, job) => Err(self.held(provider, &row)),
            _ => Ok(()),
        }
    }

    /// Lets one request through, after its turn has come. Else the job waits, as the error says. What becomes of the
    /// request must be told to the pass.
    pub(super) async fn enter(&self, provider: &'static str, job: &Job) -> Result<Pass<'_>, StepError> {
        let (mut had_turn, mut has_rested) = (false, false);
        loop {
            if self.looks_open(provider).await? {
                return Ok(Pass::new(self, provider, job));
            }
            // Before the look, so that a probe that ends after it is not missed.
            let probed = self.probed.notified();
            let Some(row) = self.look_now(provider).await? else { continue };
            match standing(&row) {
                Standing::Open => return Ok(Pass::new(self, provider, job)),
                Standing::Limited(rest) if is_sat_out(provider, rest) => sleep(rest).await,
                Standing::Limited(rest) => return Err(limited(provider, rest)),
                Standing::Paced if had_turn => return Ok(Pass::new(self, provider, job)),
                Standing::Paced => {
                    if let Some(ahead) = store::providers::take_slot(&self.db, provider, SLOT, PACED).await? {
                        sleep(Duration::try_from_secs_f64(ahead).unwrap_or_default()).await;
                        had_turn = true;
                    }
                }
                Standing::Paused => {
                    if let Some(probe) = self.probe(provider, job).await? {
                        return Ok(probe);
                    }
                    // Somebody may have been faster than us since that look.
                    let Some(row) = self.look_now(provider).await?.filter(|row| row.paused_at.is_some()) else {
                        continue;
                    };
                    if row.prober == Some(job.id.0) {
                        // Another request of the same job is the probe: its end says what becomes of this one.
                        let _ = timeout(self.sight(), probed).await;
                    } else if is_by_hand(job) && row.prober.is_none() && !has_rested {
                        sleep(PROBE_BY_HAND).await;
                        has_rested = true;
                    } else {
                        return Err(self.held(provider, &row));
                    }
                }
            }
        }
    }

    /// The right to probe, if it is time and nobody has it.
    async fn probe(&self, provider: &'static str, job: &Job) -> Result<Option<Pass<'_>>, sqlx::Error> {
        let early_after = is_by_hand(job).then_some(PROBE_BY_HAND);
        let ask = ProbeAsk { job: job.id, token: rand::random(), lease: self.lease, early_after };
        let before = store::providers::take_probe(&self.db, provider, ask).await?;
        Ok(before.map(|before| Pass::probe(self, provider, job, ask.token, before)))
    }

    /// How the provider stands, from a look that is younger than [`Self::sight`]. In the healthy case this is all.
    async fn looks_open(&self, provider: &str) -> Result<bool, sqlx::Error> {
        let open = |row: Option<&ProviderRow>| row.is_none_or(|row| standing(row) == Standing::Open);
        {
            let seen = self.seen();
            if seen.is_younger_than(self.sight()) {
                return Ok(open(seen.find(provider)));
            }
        }
        Ok(open(self.look_now(provider).await?.as_ref()))
    }

    /// Looks, unless somebody else has while we waited for our turn.
    async fn look_now(&self, provider: &str) -> Result<Option<ProviderRow>, sqlx::Error> {
        let asked_at = Instant::now();
        let _only_one = self.looking.lock().await;
        {
            let seen = self.seen();
            if seen.at.is_some_and(|at| at >= asked_at) {
                return Ok(seen.find(provider).cloned());
            }
        }
        // As old as the question: what happens while it is answered is for the next look.
        let at = Some(Instant::now());
        let rows = store::providers::all(&self.db).await?;
        let mut seen = self.seen();
        (seen.at, seen.rows) = (at, rows);
        Ok(seen.find(provider).cloned())
    }

    /// What is known is out of date.
    fn forget(&self) {
        self.seen().changed_at = Some(Instant::now());
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How old a look may be. No pause is so short that a process could miss it, and begin at full speed afterwards.
    fn sight(&self) -> Duration {
        LONGEST_SIGHT.min(self.rung(&OUTAGE_LADDER, 0) / 2)
    }

    /// The pause before the next probe, after so many that have failed.
    fn rung(&self, ladder: &[u64], failed: i32) -> Duration {
        let index = usize::try_from(failed).unwrap_or(0).min(ladder.len() - 1);
        Duration::from_secs(ladder[index]).mul_f64(self.retry_scale).max(SHORTEST_PAUSE)
    }

    /// Until a job is due that somebody else lets go before.
    fn longest_wait(&self) -> Duration {
        LONGEST_WAIT.mul_f64(self.retry_scale * rand::random_range(0.8..1.2)).max(SHORTEST_PAUSE)
    }

    /// For a job that has not asked: the class is that of the pause, so that whoever looks for it finds all who wait.
    fn held(&self, provider: &'static str, row: &ProviderRow) -> StepError {
        let said = row.reason.as_deref().unwrap_or("It does not work.");
        let message = format!("Paused for all calls, so this one did not ask. {said}");
        // A word that only a later version knows.
        let class = row.error_class.as_deref().and_then(|word| word.parse().ok()).unwrap_or(FailureClass::ServerError);
        StepError::WaitFor { what: provider, delay: self.longest_wait(), reason: Failure { class, message } }
    }
}

impl Seen {
    fn is_younger_than(&self, age: Duration) -> bool {
        self.at.is_some_and(|at| at.elapsed() < age && self.changed_at.is_none_or(|changed_at| at > changed_at))
    }

    fn find(&self, provider: &str) -> Option<&ProviderRow> {
        self.rows.iter().find(|row| row.name == provider)
    }
}

/// Of what several requests of one step have met: what decides about the step. Who has asked knows more than who was
/// told to wait, and no attempt is used where one of them waits without.
pub(super) fn most_telling<'a>(met: impl Iterator<Item = &'a StepError>) -> Option<&'a StepError> {
    met.min_by_key(|error| match error {
        StepError::Permanent(_) => (0, Duration::ZERO),
        StepError::RetryAfter(delay, _) => (1, *delay),
        StepError::WaitFor { delay, .. } => (2, *delay),
        StepError::Wait { delay, .. } => (3, *delay),
        StepError::Retry(_) => (4, Duration::ZERO),
    })
}

/// The provider that a step asks for what it pays for.
pub(super) fn paid_provider(step: &str) -> &'static str {
    if step == TRANSCRIBE { TRANSCRIPTION } else { ANALYSIS }
}

/// The step whose jobs ask this provider.
fn step_of(provider: &str) -> &'static str {
    match provider {
        RECORDINGS => DOWNLOAD,
        TRANSCRIPTION => TRANSCRIBE,
        ANALYSIS => ANALYZE,
        _ => NOTIFY,
    }
}

/// What it is called in a sentence.
fn place(provider: &str) -> &str {
    match provider {
        RECORDINGS => "the recording host",
        TRANSCRIPTION => "the transcription server",
        ANALYSIS => "the analysis server",
        "slack" => "Slack",
        "email" => "the mail server",
        other => other,
    }
}

/// Whether a rest is waited for inside the step. Given back, all due jobs of the step would be taken up one after the
/// other, only to be put off; but where a step has several providers, the others must not stand behind this one.
fn is_sat_out(provider: &str, rest: Duration) -> bool {
    rest <= PACED && step_of(provider) != NOTIFY
}

/// For a job that has not asked, where the provider has said how long it is to rest.
fn limited(provider: &'static str, rest: Duration) -> StepError {
    let message = format!(
        "Another call was asked by {} to come more slowly, so this one did not ask. If that goes on, raise the account's \
         limit or lower WORKER_CONCURRENCY.",
        place(provider)
    );
    let delay = rest + Duration::from_secs_f64(rand::random_range(0.0..SPREAD));
    StepError::WaitFor { what: provider, delay, reason: Failure { class: FailureClass::RateLimited, message } }
}

fn standing(row: &ProviderRow) -> Standing {
    let rest = row.limited_for.unwrap_or_default().max(-row.recovered_for.unwrap_or_default());
    if row.paused_at.is_some() {
        Standing::Paused
    } else if rest > 0.0 {
        Standing::Limited(Duration::try_from_secs_f64(rest).unwrap_or_default())
    } else if row.recovered_for.is_some_and(|seconds| seconds < PACED.as_secs_f64()) {
        Standing::Paced
    } else {
        Standing::Open
    }
}

/// Whether this job may be the one that probes.
fn is_probe_due(row: &ProviderRow, job: &Job) -> bool {
    row.prober.is_none() && (row.probe_in.is_some_and(|seconds| seconds <= 0.0) || is_by_hand(job))
}

/// A person runs the job again, which then has all its attempts and no waits.
fn is_by_hand(job: &Job) -> bool {
    job.attempt > 1 && job.attempts == 1 && job.waits == 0
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn row() -> ProviderRow {
        ProviderRow {
            name: TRANSCRIPTION.to_owned(),
            paused_at: None,
            error_class: None,
            reason: None,
            prober: None,
            probe_in: None,
            limited_for: None,
            recovered_for: None,
            is_doubted: false,
        }
    }

    #[rstest]
    #[case(None, None, Standing::Open)]
    #[case(Some(-1.0), None, Standing::Open)]
    #[case(Some(2.5), None, Standing::Limited(Duration::from_millis(2_500)))]
    #[case(None, Some(-1.0), Standing::Limited(Duration::from_secs(1)))]
    #[case(Some(1.0), Some(3.0), Standing::Limited(Duration::from_secs(1)))]
    #[case(Some(-1.0), Some(9.9), Standing::Paced)]
    #[case(None, Some(10.0), Standing::Open)]
    fn a_provider_rests_then_is_asked_in_turns_then_by_everybody(
        #[case] limited_for: Option<f64>,
        #[case] recovered_for: Option<f64>,
        #[case] expected: Standing,
    ) {
        assert_eq!(standing(&ProviderRow { limited_for, recovered_for, ..row() }), expected);
    }

    #[test]
    fn who_has_asked_tells_and_attempts_are_spared() {
        let failure = || Failure { class: FailureClass::RateLimited, message: String::new() };
        let wait = |seconds| StepError::WaitFor {
            what: TRANSCRIPTION,
            delay: Duration::from_secs(seconds),
            reason: failure(),
        };
        let said = StepError::RetryAfter(Duration::from_secs(30), failure());
        let told = |met: &[StepError]| most_telling(met.iter()).cloned();
        assert_eq!(told(&[wait(31), said.clone(), wait(29)]), Some(said), "to the second, as the provider said");
        assert_eq!(told(&[wait(3_600), StepError::Retry(failure()), wait(60)]), Some(wait(60)), "the one that probes");
        assert_eq!(told(&[]), None);
    }

    #[tokio::test]
    async fn pauses_grow_and_are_never_missed() {
        let gate = |scale| {
            let db = PgPool::connect_lazy("postgres://localhost/none").unwrap();
            Gate::new(db, Waker::default(), scale, Duration::from_secs(90))
        };
        let pauses = |ladder, failed| gate(1.0).rung(ladder, failed).as_secs();
        assert_eq!((pauses(&OUTAGE_LADDER, 0), pauses(&OUTAGE_LADDER, 3), pauses(&OUTAGE_LADDER, 99)), (5, 40, 300));
        assert_eq!((pauses(&REFUSED_LADDER, 0), pauses(&REFUSED_LADDER, 4)), (60, 3_600));
        assert_eq!(gate(1.0).sight(), LONGEST_SIGHT);
        for scale in [1.0, 0.03, 0.0001] {
            assert!(gate(scale).sight() * 2 <= gate(scale).rung(&OUTAGE_LADDER, 0), "at {scale}");
        }
    }
}
