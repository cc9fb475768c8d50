//! Durable jobs in PostgreSQL under apalis workers. The only module that names apalis.
//!
//! | file | what |
//! |---|---|
//! | `claim` | take due jobs for free slots, with a lease and a fencing token; `enqueue` puts them in |
//! | `heads` | where the next claim from a backlog goes on |
//! | `lease` | the right to work on a job, and the book of all that this process holds |
//! | `complete` | run a handler to its end and say what that end was |
//! | `writer` | write ends, attempts and next jobs in one statement |
//! | `renew` | keep the leases of living workers |
//! | `sweep` | rescue the jobs of dead ones, park those that kill |
//! | `wake` | LISTEN, NOTIFY, and waking within the process |
//! | `workers` | all of these around apalis's monitor, from start to stop |
//! | `waiters` | let those go that wait for the same thing |
//! | `control` | pauses and limits of steps, and how claimers hear of them |
//! | `acts` | the operator's hand: run again, cancel, put first, one or all that match |
//! | `archive` | finished jobs leave the hot tables by age |
//! | `admin` | jobs and attempts as people see them, history included |
//! | `stats` | how the queue stands, step by step |
//! | `costs` | what calls have cost, failed attempts apart |
//!
//! # What each promise rests on
//! - **Nothing is lost**: a job is a row, made in the same transaction as what it is about, and its end is written
//!   together with the jobs that follow.
//! - **Nothing is written twice**: every write of a result carries the claim's random token ([`crate::model::Fence`]);
//!   after a lease has passed on, the database refuses the old token.
//! - **Nothing hangs**: a lease that is not renewed runs out, a step that does not end is dropped at its limit, and a
//!   job that kills its worker is parked.
//! - **Nothing spins**: delays are stored as `run_at`; what an upstream says about time is obeyed to the second.
//!
//! The database's clock decides everything; a worker's clock decides nothing.

mod acts;
mod admin;
mod archive;
mod backend;
mod claim;
mod complete;
mod control;
mod costs;
mod heads;
#[cfg(test)]
mod histories;
mod job;
mod lease;
mod link;
mod renew;
mod stats;
mod sweep;
mod waiters;
mod wake;
mod workers;
mod writer;

pub use acts::{
    Act, BATCH, Chosen, Lot, Retried, Touched, WhyNot, act, cancel_open_of_call, choose, choose_these, hold_call, lots,
    retry, why_not,
};
pub use admin::{JobFilter, attempts_of_call, attempts_of_job, list, show, was_lost};
pub use claim::enqueue;
pub use control::{StepControl, controls, limit, pause, resume};
pub use costs::{CallCost, Cost, SpanCost, StepCost, costs_of_calls, costs_of_spans};
pub use job::{
    AttemptRow, Backoff, Done, Failure, Job, JobRow, NOT_READY_DEADLINE, NewJob, PAUSED_DEADLINE, StepError, StepPolicy,
};
pub use lease::Lease;
pub use stats::{LastHour, OutcomeCount, Pause, Standing, StepStats, standing, stats};
pub use waiters::{Turns, hasten, release};
pub use wake::Waker;
pub use workers::{Handler, WorkerSettings, Workers};
