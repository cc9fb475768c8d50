//! What operators do to a history, by the queue's own functions.

use sqlx::PgConnection;

use super::STEPS;
use super::operations::Operation;
use super::world::{Outcome, World, picked, said};
use crate::model::CallId;
use crate::queue::job::NewJob;
use crate::queue::wake::Waker;
use crate::queue::{self, Act, Chosen, JobFilter, Retried};

/// What the jobs of an earlier run say.
const REPLACED: &str = "A later run of the call took its place.";
/// What a cancelled job says.
const CANCELLED: &str = "Cancelled by somebody.";
const OPERATOR: &str = "somebody";

impl World {
    pub(super) async fn retry(&mut self, pick: usize) -> Outcome {
        let Some(index) = pick.checked_rem(self.model.jobs.len()) else { return Ok(()) };
        let Some(id) = self.model.jobs[index].id else { return Ok(()) };
        let retried = queue::retry(&self.db, &Waker::default(), id).await.map_err(said)?;
        let expected = self.model.is_retryable(index);
        if (retried == Retried::Due) != (expected || self.model.is_due(index)) {
            return Err(format!("retried job {id}: {retried:?}, expected {expected}"));
        }
        if expected {
            self.model.retry(index);
        }
        Ok(())
    }

    pub(super) async fn retry_failed(&mut self, step: usize) -> Outcome {
        let filter = JobFilter { step: Some(self.steps[step].to_owned()), limit: 100, ..JobFilter::default() };
        let chosen = queue::choose(&self.db, &Act::Retry, &filter).await.map_err(said)?;
        let jobs = 0..self.model.jobs.len();
        let is_meant = |index: &usize| {
            let job = &self.model.jobs[*index];
            job.state == "failed" && job.new.step == self.steps[step] && self.model.is_retryable(*index)
        };
        let expected: Vec<usize> = jobs.filter(is_meant).collect();
        self.do_to(&Act::Retry, &chosen, expected.len()).await?;
        for index in expected {
            self.model.retry(index);
        }
        Ok(())
    }

    pub(super) async fn cancel(&mut self, pick: usize) -> Outcome {
        let Some(job) = picked(&self.model.jobs, pick) else { return Ok(()) };
        let (id, is_meant) = (job.id, job.is_open() || job.state == "failed");
        self.do_to_one(&Act::Cancel(CANCELLED.to_owned()), id, is_meant).await?;
        self.model.cancel(id, CANCELLED);
        Ok(())
    }

    pub(super) async fn prioritize(&mut self, pick: usize, priority: i16) -> Outcome {
        let Some(index) = pick.checked_rem(self.model.jobs.len()) else { return Ok(()) };
        let job = &mut self.model.jobs[index];
        let (id, is_meant) = (job.id, job.is_open() || job.state == "failed");
        if is_meant {
            job.priority = priority;
        }
        self.do_to_one(&Act::Prioritize(priority), id, is_meant).await
    }

    async fn do_to_one(&self, act: &Act, id: Option<i64>, is_meant: bool) -> Outcome {
        let chosen = queue::choose_these(&self.db, id.as_slice()).await.map_err(said)?;
        self.do_to(act, &chosen, usize::from(is_meant)).await
    }

    async fn do_to(&self, act: &Act, chosen: &Chosen, expected: usize) -> Outcome {
        let mut acting = self.db.begin().await.map_err(said)?;
        let done = queue::act(&mut acting, act, &chosen.ids, chosen.at).await.map_err(said)?;
        acting.commit().await.map_err(said)?;
        if done.len() == expected { Ok(()) } else { Err(format!("{act:?}: {done:?}, expected {expected}")) }
    }

    pub(super) async fn begin_again(&mut self, pick: usize) -> Outcome {
        let Some(index) = pick.checked_rem(self.model.calls.len()) else { return Ok(()) };
        let call = CallId(self.model.calls[index].id);
        let mut acting = self.db.begin().await.map_err(said)?;
        let run = begin_again(&mut acting, call, self.steps[pick % STEPS]).await.map_err(said)?;
        acting.commit().await.map_err(said)?;
        self.model.cancel_open(call.0, REPLACED);
        self.model.calls[index].run += 1;
        self.model.touched.insert(call.0);
        self.model.enqueue(&NewJob::new(self.steps[pick % STEPS], call, run), 0);
        Ok(())
    }

    pub(super) async fn control(&mut self, operation: Operation) -> Result<(), sqlx::Error> {
        let mut db = self.db.acquire().await?;
        match operation {
            Operation::Pause { step } => {
                queue::pause(&mut db, self.steps[step], OPERATOR, None).await?;
                self.model.controls[step].0 = true;
            }
            Operation::Resume { step } => {
                queue::resume(&mut db, self.steps[step]).await?;
                self.model.controls[step].0 = false;
            }
            Operation::Limit { step, slots } => {
                queue::limit(&mut db, self.steps[step], slots.map(|slots| slots as i32), OPERATOR).await?;
                self.model.controls[step].1 = slots;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Begins a new run of a call as the pipeline does, and gives back its number.
pub(super) async fn begin_again(
    acting: &mut PgConnection,
    call: CallId,
    step: &'static str,
) -> Result<i32, sqlx::Error> {
    queue::hold_call(acting, call.0).await?;
    queue::cancel_open_of_call(acting, call.0).await?;
    let begin = "UPDATE calls SET run = run + 1, state = 'processing', state_reason = NULL, waiting_until = NULL
        WHERE id = $1 RETURNING run";
    let run: i32 = sqlx::query_scalar(begin).bind(call.0).fetch_one(&mut *acting).await?;
    queue::enqueue(acting, &[NewJob::new(step, call, run)]).await?;
    Ok(run)
}
