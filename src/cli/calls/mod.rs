//! `calls`: what came in and what became of it.

mod json;
mod page;
pub mod story;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;
use uuid::Uuid;

use self::json::{ListJson, StoryJson};
use self::story::Story;
use super::render::{Cell, Column, Ink, Screen, print, print_json, table, words};
use super::session::{DataDir, Session};
use super::{Failure, Terminal};
use crate::model::{CallBounds, CallState};
use crate::pipeline;
use crate::pipeline::rerun::{RerunError, rerun};
use crate::queue::{self, Waker};
use crate::store::call_list::{self, CallFilter, ListedCall};
use crate::store::calls::CallRow;

const EXAMPLES: &str = "\
Examples:
  goto-automation calls list
  goto-automation calls list --state failed
  goto-automation calls show call-0001 --transcript
  goto-automation calls rerun call-0001 --from analyze

ID is our id or the sender's.";

/// Look at calls and run them again.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct CallsArgs {
    #[command(subcommand)]
    command: CallsCommand,
    #[command(flatten)]
    data: DataDir,
}

#[derive(Subcommand)]
enum CallsCommand {
    /// List calls, newest first.
    List(ListArgs),
    /// Show a call: what it meant, what happened, what to do next.
    Show {
        /// Our id of the call or the sender's.
        id: String,
        /// Print what was said, too.
        #[arg(long)]
        transcript: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run a call again from a step on. Keeps all earlier results.
    Rerun(RerunArgs),
}

#[derive(Args)]
struct ListArgs {
    /// Only those in this state.
    #[arg(long, value_parser = PossibleValuesParser::new(CallState::ALL.iter().map(|state| state.as_str())))]
    state: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct RerunArgs {
    /// Our id of the call or the sender's.
    id: String,
    /// The first step to run again; the later ones follow.
    #[arg(long, value_name = "STEP", value_parser = PossibleValuesParser::new(pipeline::names()))]
    from: String,
    /// Send the messages again even to those who have them.
    #[arg(long)]
    send_again: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `calls rerun --json`.
#[derive(Serialize)]
struct RerunJson<'a> {
    call_id: Uuid,
    external_id: &'a str,
    /// Number of the new run.
    run: i32,
    from: &'a str,
}

/// Runs the command.
pub async fn run(args: CallsArgs, terminal: &Terminal) -> Result<(), Failure> {
    let session = Session::open(terminal, &args.data).await?;
    match args.command {
        CallsCommand::List(list) => show_list(&session, list).await,
        CallsCommand::Show { id, transcript, json } => {
            let call = story::find(&session, &id).await?;
            let story = Story::load(&session.db, call).await?;
            if json {
                print_json(&StoryJson::new(&story, session.screen.now, transcript))?;
            } else {
                print(&page::page(&session.screen, &story, transcript))?;
            }
            Ok(())
        }
        CallsCommand::Rerun(args) => run_again(&session, &args).await,
    }
}

async fn show_list(session: &Session, args: ListArgs) -> Result<(), Failure> {
    // One more than shown tells whether there are more.
    let filter = CallFilter { state: args.state, limit: args.limit + 1, ..CallFilter::default() };
    let mut calls = call_list::list(&session.db, &filter, &CallBounds::default()).await?;
    let more = calls.len() as i64 > args.limit;
    calls.truncate(args.limit as usize);
    if args.json {
        let ids: Vec<Uuid> = calls.iter().map(|listed| listed.call.id).collect();
        let mut costs = queue::costs_of_calls(&session.db, &ids).await?;
        let with_cost = |listed: ListedCall| {
            let cost = costs.remove(&listed.call.id).unwrap_or_default();
            (listed, cost)
        };
        let calls: Vec<_> = calls.into_iter().map(with_cost).collect();
        return Ok(print_json(&ListJson::new(&calls))?);
    }
    let calls: Vec<CallRow> = calls.into_iter().map(|listed| listed.call).collect();
    Ok(print(&page_of_calls(&session.screen, &calls, filter.state.as_deref(), more))?)
}

async fn run_again(session: &Session, args: &RerunArgs) -> Result<(), Failure> {
    let call = story::find(session, &args.id).await?;
    // Nobody listens in this process, and none is needed: workers look for due jobs at least once a second.
    let waker = Waker::default();
    let run = match rerun(&session.db, &waker, call.id.into(), &args.from, args.send_again).await {
        Ok(run) => run,
        Err(RerunError::Database(error)) => return Err(error.into()),
        Err(refused) => return Err(Failure::failed(format!("The call does not run again: {refused}."))),
    };
    if args.json {
        let (external_id, from) = (&call.external_id, &args.from);
        return Ok(print_json(&RerunJson { call_id: call.id, external_id, run, from })?);
    }
    let messages =
        if args.send_again { "Messages are sent again to everybody." } else { "Nobody gets a message twice." };
    let show = session.screen.typed(&format!("calls show {}", handle(&call)));
    let told =
        format!("Run {run} begins with {}. All earlier results are kept.\n{messages}\nSee it:  {show}\n", args.from);
    Ok(print(&told)?)
}

/// How the call is named where it may be typed again: by the sender's id if that is short and needs no quotes, else by
/// ours.
pub fn handle(call: &CallRow) -> String {
    let id = &call.external_id;
    let plain = id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':'));
    let plain = plain && id.starts_with(|c: char| c.is_ascii_alphanumeric()) && id.len() <= 36;
    if plain { id.clone() } else { call.id.to_string() }
}

/// A call in a sentence: who called whom, and when.
pub fn one_line(screen: &Screen, call: &CallRow) -> String {
    format!("{}, {}", title(call), screen.time(call.occurred_at))
}

/// Who called whom.
fn title(call: &CallRow) -> String {
    match label(call.called_name.as_deref(), call.called_number.as_deref()) {
        Some(other) => format!("{} called {other}", caller(call)),
        None => format!("{} called", caller(call)),
    }
}

fn caller(call: &CallRow) -> &str {
    label(call.caller_name.as_deref(), call.caller_number.as_deref()).unwrap_or("Somebody unknown")
}

fn label<'a>(name: Option<&'a str>, number: Option<&'a str>) -> Option<&'a str> {
    let told = |text: &&str| !text.trim().is_empty();
    name.filter(told).or(number.filter(told))
}

fn page_of_calls(screen: &Screen, calls: &[CallRow], state: Option<&str>, more: bool) -> String {
    const COLUMNS: [Column; 6] = [
        Column::fixed("STARTED").expendable(3),
        Column::narrowing("CALLER", 10).expendable(2),
        // What every other command asks for.
        Column::fixed("ID"),
        Column::fixed("STATE").expendable(1),
        Column::optional("LENGTH"),
        Column::optional("CALLED"),
    ];
    if calls.is_empty() {
        return nothing(screen, state);
    }
    let row = |call: &CallRow| {
        let (ink, state) = words::call_state(&call.state);
        let length = call.duration_seconds.map(|seconds| words::seconds(seconds.into()));
        let called = label(call.called_name.as_deref(), call.called_number.as_deref());
        vec![
            Cell::plain(&screen.time(call.occurred_at)),
            Cell::plain(caller(call)),
            Cell::plain(&handle(call)),
            Cell::new(ink, state),
            Cell::plain(&length.unwrap_or_default()),
            Cell::plain(called.unwrap_or_default()),
        ]
    };
    let mut text = table(screen, &COLUMNS, &calls.iter().map(row).collect::<Vec<_>>());
    if more {
        text += &screen.paint(Ink::Grey, &format!("The newest {}; more with --limit.\n", calls.len()));
    }
    let unwell = calls.iter().find(|call| matches!(call.state.as_str(), "failed" | "waiting"));
    let hint = |call| screen.hint("What happened and what to do:", &format!("calls show {}", handle(call)));
    text + &unwell.map(hint).unwrap_or_default()
}

fn nothing(screen: &Screen, state: Option<&str>) -> String {
    match state {
        None => {
            let simulate = screen.typed("simulate --count 1");
            format!("No calls yet. They appear when a webhook comes in:\n  {simulate}\n")
        }
        Some(state) => format!("No call is `{state}`. Leave out --state to see all calls.\n"),
    }
}

#[cfg(test)]
mod tests;
