//! `jobs`: what is being done, what waits, what needs a person, and the operator's hand.

mod bulk;
mod history;
mod page;
mod stats;
mod steps;
mod which;

use chrono::{DateTime, Utc};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;

pub use history::History;
pub use page::advice;

use self::which::Which;
use super::render::{Cell, Column, Ink, Screen, print, print_json, table, words};
use super::session::{DataDir, Session};
use super::{Failure, Terminal};
use crate::queue::{self, AttemptRow, JobRow};

/// What `--state` takes.
const STATES: [&str; 6] = ["failed", "waiting", "running", "available", "completed", "cancelled"];

const EXAMPLES: &str = "\
Examples:
  goto-automation jobs list --state failed
  goto-automation jobs show 12
  goto-automation jobs retry 12 15
  goto-automation jobs retry --step transcribe --class timeout
  goto-automation jobs cancel --step notify --older-than 2d --dry-run
  goto-automation jobs prioritize --call call-0001
  goto-automation jobs pause transcribe --reason 'Vendor is moving'
  goto-automation jobs stats";

/// Look at jobs, run them again, cancel them, pause steps.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct JobsArgs {
    #[command(subcommand)]
    command: JobsCommand,
    #[command(flatten)]
    data: DataDir,
}

#[derive(Subcommand)]
enum JobsCommand {
    /// List jobs, newest first.
    List(ListArgs),
    /// Show a job with all its attempts, and what to do next.
    Show {
        /// Number of the job.
        #[arg(value_name = "JOB")]
        id: i64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make failed, cancelled or waiting jobs due now. Deletes nothing.
    Retry(bulk::RetryArgs),
    /// End jobs that are open or failed, for good unless they are retried.
    Cancel(bulk::CancelArgs),
    /// Let jobs, and those that follow them, go before others.
    Prioritize(bulk::PrioritizeArgs),
    /// Take no more jobs of a step, in all workers. What runs goes on.
    Pause(steps::PauseArgs),
    /// Let a paused step go on.
    Resume(steps::ResumeArgs),
    /// Say how many jobs of a step each worker process runs at once.
    Limit(steps::LimitArgs),
    /// Show how each step stands and what the last hour was like.
    Stats(stats::StatsArgs),
}

#[derive(Args)]
struct ListArgs {
    /// Only those in this state; `waiting` = due later.
    #[arg(long, value_parser = PossibleValuesParser::new(STATES))]
    state: Option<String>,
    #[command(flatten)]
    which: Which,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A job in `--json`: its row, and until when it waits if it does.
#[derive(Serialize)]
pub struct JobJson<'a> {
    #[serde(flatten)]
    job: &'a JobRow,
    waiting_until: Option<DateTime<Utc>>,
}

/// `jobs list --json`.
#[derive(Serialize)]
struct ListJson<'a> {
    items: Vec<JobJson<'a>>,
}

/// `jobs show --json`: the job, and its attempts in order.
#[derive(Serialize)]
struct ShowJson<'a> {
    #[serde(flatten)]
    job: JobJson<'a>,
    attempts: &'a [AttemptRow],
}

impl<'a> JobJson<'a> {
    /// As it stands now.
    pub fn new(job: &'a JobRow, now: DateTime<Utc>) -> Self {
        let waits = job.state == "available" && job.run_at > now;
        Self { job, waiting_until: waits.then_some(job.run_at) }
    }
}

/// Runs the command.
pub async fn run(args: JobsArgs, terminal: &Terminal) -> Result<(), Failure> {
    let session = Session::open(terminal, &args.data).await?;
    match args.command {
        JobsCommand::List(list) => show_list(&session, list).await,
        JobsCommand::Show { id, json } => show_one(&session, id, json).await,
        JobsCommand::Retry(args) => bulk::retry(&session, args).await,
        JobsCommand::Cancel(args) => bulk::cancel(&session, args).await,
        JobsCommand::Prioritize(args) => bulk::prioritize(&session, args).await,
        JobsCommand::Pause(args) => steps::pause(&session, args).await,
        JobsCommand::Resume(args) => steps::resume(&session, args).await,
        JobsCommand::Limit(args) => steps::limit(&session, args).await,
        JobsCommand::Stats(args) => stats::show(&session, &args).await,
    }
}

async fn show_list(session: &Session, args: ListArgs) -> Result<(), Failure> {
    let unfiltered = args.state.is_none() && args.which.is_empty();
    // One more than shown tells whether there are more.
    let filter = args.which.filter(session, args.state, args.limit + 1).await?;
    let mut jobs = queue::list(&session.db, &filter).await?;
    let more = jobs.len() as i64 > args.limit;
    jobs.truncate(args.limit as usize);
    if args.json {
        let items = jobs.iter().map(|job| JobJson::new(job, session.screen.now)).collect();
        return Ok(print_json(&ListJson { items })?);
    }
    Ok(print(&listed(&session.screen, &jobs, unfiltered, more))?)
}

async fn show_one(session: &Session, id: i64, json: bool) -> Result<(), Failure> {
    let Some(job) = queue::show(&session.db, id).await? else {
        let list = session.screen.typed("jobs list");
        return Err(Failure::failed(format!("There is no job {id}. `{list}` shows the newest.")));
    };
    let attempts = queue::attempts_of_job(&session.db, id).await?;
    if json {
        let job = JobJson::new(&job, session.screen.now);
        return Ok(print_json(&ShowJson { job, attempts: &attempts })?);
    }
    let call_id = job.call_id.into();
    let call = crate::store::calls::get(&session.db, call_id).await?;
    let deliveries = crate::store::deliveries::of_call(&session.db, call_id).await?;
    Ok(print(&page::page(&session.screen, &job, call.as_ref(), &attempts, &deliveries))?)
}

fn listed(screen: &Screen, jobs: &[JobRow], unfiltered: bool, more: bool) -> String {
    const COLUMNS: [Column; 7] = [
        Column::number("JOB"),
        Column::fixed("STEP"),
        Column::fixed("STATE"),
        Column::fixed("WHEN").expendable(1),
        Column::number("TRIES").expendable(3),
        Column::narrowing("REASON", 16).expendable(2),
        Column::optional("CALL"),
    ];
    if jobs.is_empty() {
        return nothing(screen, unfiltered);
    }
    let row = |job: &JobRow| {
        let (ink, state, at) = words::job_state(screen, job);
        let lease = words::free_for_others(screen, job).map(|lease| words::capitalised(&lease));
        vec![
            Cell::plain(&job.id.to_string()),
            Cell::plain(&job.step),
            Cell::new(ink, state),
            Cell::plain(&at),
            Cell::plain(&job.starts.to_string()),
            Cell::plain(job.reason.as_deref().or(lease.as_deref()).unwrap_or_default()),
            Cell::plain(&job.call_id.to_string()),
        ]
    };
    let mut text = table(screen, &COLUMNS, &jobs.iter().map(row).collect::<Vec<_>>());
    if more {
        text += &screen.paint(Ink::Grey, &format!("The newest {}; more with --limit.\n", jobs.len()));
    }
    let failed = jobs.iter().find(|job| job.state == "failed");
    let hint = |job: &JobRow| screen.hint("What happened and what to do:", &format!("jobs show {}", job.id));
    text += &failed.map(hint).unwrap_or_default();
    let mut paused: Vec<&JobRow> = jobs.iter().filter(|job| job.paused_at.is_some()).collect();
    paused.sort_by_key(|job| &job.step);
    paused.dedup_by_key(|job| &job.step);
    for job in paused {
        let pause =
            words::pause(screen, &job.step, job.paused_at, job.paused_by.as_deref(), job.pause_reason.as_deref());
        text += &screen.hint(&pause.unwrap_or_default(), &format!("jobs resume {}", job.step));
    }
    text
}

fn nothing(screen: &Screen, unfiltered: bool) -> String {
    if unfiltered {
        return format!("No jobs yet. Each call that comes in makes some:\n  {}\n", screen.typed("simulate --count 1"));
    }
    "No job is like that. Leave out --state or another filter to see more.\n".to_owned()
}

#[cfg(test)]
pub mod samples {
    //! Jobs and attempts for the tests of all pages.

    use uuid::Uuid;

    use super::*;

    /// A job, made at 07:21 in Berlin.
    pub fn job(id: i64, step: &str, state: &str) -> JobRow {
        let ended = matches!(state, "completed" | "failed" | "cancelled");
        JobRow {
            id,
            step: step.to_owned(),
            call_id: Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001),
            target: None,
            run: 1,
            state: state.to_owned(),
            run_at: at("06:21:10"),
            starts: 1,
            attempts: 1,
            crashes: 0,
            reason: None,
            waiting_since: None,
            worker: Some("desk-4711".to_owned()),
            claimed_at: Some(at("06:21:12")),
            lease_until: (state == "running").then(|| at("07:05:10")),
            created_at: at("06:21:10"),
            finished_at: ended.then(|| at("06:21:40")),
            priority: 0,
            paused_at: None,
            paused_by: None,
            pause_reason: None,
        }
    }

    /// An attempt that began then and took so many milliseconds.
    pub fn attempt(job: &JobRow, number: i32, start: &str, milliseconds: i64, outcome: &str) -> AttemptRow {
        AttemptRow {
            job_id: job.id,
            step: job.step.clone(),
            attempt: number,
            worker: "desk-4711".to_owned(),
            started_at: at(start),
            ended_at: at(start) + chrono::TimeDelta::milliseconds(milliseconds),
            outcome: outcome.to_owned(),
            error_class: None,
            message: None,
            request_id: None,
            model: None,
            input_tokens: 0,
            output_tokens: 0,
            audio_seconds: 0.0,
            cost_micro_units: Some(0),
            late_outcome: None,
            late_at: None,
        }
    }

    /// A time of day (UTC) on the day of the tests.
    pub fn at(time: &str) -> DateTime<Utc> {
        format!("2026-11-17T{time}Z").parse().expect("a time")
    }
}

#[cfg(test)]
mod tests;
