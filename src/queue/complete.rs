//! The backend's own outermost layer: it runs a handler in a task of its own and decides its end by what it returned,
//! never by apalis's task status, which still says "running" after a timeout or a panic.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};

use apalis::prelude::{BoxDynError, Task};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower::{Layer, Service};
use tracing::Instrument;

use super::job::{Done, Failure, Job, StepError};
use super::lease::Lease;
use crate::model::FailureClass;

/// Wraps every worker's service.
#[derive(Debug, Clone, Copy)]
pub(super) struct CompletionLayer;

impl<S> Layer<S> for CompletionLayer {
    type Service = Completion<S>;
    fn layer(&self, inner: S) -> Self::Service {
        Completion { inner }
    }
}

/// See [`CompletionLayer`].
#[derive(Debug, Clone)]
pub(super) struct Completion<S> {
    inner: S,
}

impl<S> Service<Task<Job>> for Completion<S>
where
    S: Service<Task<Job>, Response = Done, Error = BoxDynError>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = BoxDynError;
    type Future = BoxFuture<'static, Result<(), BoxDynError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, task: Task<Job>) -> Self::Future {
        let lease = task.ctx().data().get::<Lease>().expect("the claimer puts a lease into every task").clone();
        let job = lease.job();
        let span = tracing::info_span!(
            "job",
            call_id = %job.call_id,
            step = lease.policy().name,
            attempt = job.attempt,
            job_id = job.id.0
        );
        // Not polled here: apalis polls all workers of a monitor in one task, where a busy handler delays the others.
        let handler = self.inner.call(task);
        let mut run = AbortOnDrop(tokio::spawn(conduct(handler, lease).instrument(span)));
        async move { Ok((&mut run.0).await?) }.boxed()
    }
}

/// Runs the handler to its end, its time limit, or the loss of its lease, and ends the lease accordingly.
async fn conduct(handler: impl Future<Output = Result<Done, BoxDynError>>, lease: Lease) {
    let max_run = lease.policy().max_run;
    let bounded = timeout(max_run, AssertUnwindSafe(handler).catch_unwind());
    let ended = tokio::select! {
        biased;
        () = lease.lost() => {
            tracing::warn!("Somebody else has this job: the lease had run out. Stopping.");
            return;
        }
        ended = bounded => ended,
    };
    match ended {
        Ok(Ok(Ok(done))) => {
            tracing::info!(next = done.next.len(), "Step finished.");
            lease.finish(done);
        }
        Ok(Ok(Err(error))) => {
            let error = into_step_error(error);
            report(&error, &lease);
            lease.fail("retry", error);
        }
        Ok(Err(panic)) => {
            let message =
                format!("The step hit a bug ({}). Please report it with the call's id.", panic_text(panic.as_ref()));
            tracing::error!(%message, "Step panicked.");
            lease.fail("panic", StepError::Retry(Failure { class: FailureClass::Panic, message }));
        }
        Err(_) => {
            let message = format!(
                "The step did not end within {} s and was stopped. If calls may take so long, raise STEP_MAX_RUN.",
                max_run.as_secs_f64()
            );
            tracing::warn!(%message, "Step timed out.");
            lease.fail("timeout", StepError::Retry(Failure { class: FailureClass::StepTimeout, message }));
        }
    }
}

fn report(error: &StepError, lease: &Lease) {
    match error {
        StepError::Permanent(failure) => {
            tracing::error!(class = %failure.class, reason = %failure.message, "Step failed for good.");
        }
        StepError::Retry(failure) => {
            let left = lease.policy().max_attempts - lease.job().attempts;
            tracing::warn!(class = %failure.class, reason = %failure.message, attempts_left = left, "Step failed.");
        }
        StepError::RetryAfter(delay, failure) => {
            tracing::info!(class = %failure.class, reason = %failure.message, seconds = delay.as_secs(), "Step waits.");
        }
        StepError::Wait { reason, .. } => {
            tracing::info!(class = %reason.class, reason = %reason.message, "Step waits.");
        }
        // What they all wait for was told once.
        StepError::WaitFor { what, reason, .. } => {
            tracing::debug!(what, class = reason.class.as_str(), reason = %reason.message, "Step waits with others.");
        }
    }
}

fn into_step_error(error: BoxDynError) -> StepError {
    match error.downcast::<StepError>() {
        Ok(error) => *error,
        Err(other) => StepError::Retry(Failure::unforeseen(&other.to_string())),
    }
}

/// What a panic says, without what it quotes: that may be words of a transcript.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let parts = text.unwrap_or("no message").split(['`', '"']).enumerate();
    parts.map(|(index, part)| if index % 2 == 0 { part } else { "..." }).collect()
}

/// A worker that is dropped takes its handlers with it; their leases are then given back.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_repeats_no_word_of_a_transcript() {
        let told = |act: fn()| panic_text(std::panic::catch_unwind(act).unwrap_err().as_ref());
        let text = told(|| assert!(!"Grüße an Alma".split_at(3).0.is_empty()));
        assert!(!text.contains("Alma") && text.len() > 10, "{text}");
        assert_eq!(told(|| panic!("the step panics")), "the step panics");
        assert_eq!(told(|| std::panic::panic_any(7)), "no message");
    }
}
