//! The apalis backend: the end of a channel that the claimer fills. All database work runs in the queue's own tasks, so
//! polling never fails, which would end the worker and drop its handlers.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use apalis::prelude::{Backend, Task, WorkerContext};
use apalis_core::backend::BackendConfig;
use apalis_core::backend::finalize::Ephemeral;
use tokio::sync::mpsc::UnboundedReceiver;

use super::complete::CompletionLayer;
use super::job::Job;

/// Claimed jobs of one step. Shared, so that a restarted worker goes on where the first one stopped.
#[derive(Clone)]
pub(super) struct StepBackend(Arc<Mutex<UnboundedReceiver<Task<Job>>>>);

impl StepBackend {
    pub(super) fn new(claimed: UnboundedReceiver<Task<Job>>) -> Self {
        Self(Arc::new(Mutex::new(claimed)))
    }
}

impl Backend for StepBackend {
    type Task = Task<Job>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Option<Result<Self::Task, Infallible>>> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).poll_recv(cx) {
            Poll::Ready(Some(task)) => Poll::Ready(Some(Ok(task))),
            // A worker that is told of the stream's end waits for a stop all the same: say "nothing yet".
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Dropping a task that was never started gives its job back.
    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        let mut claimed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while claimed.try_recv().is_ok() {}
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for StepBackend {
    type Args = Job;
    type Id = i64;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = CompletionLayer;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> CompletionLayer {
        CompletionLayer
    }
}
