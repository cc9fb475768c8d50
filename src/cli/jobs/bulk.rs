//! `jobs retry`, `cancel` and `prioritize`: some jobs by their numbers, or all that match, after their count was shown and
//! somebody said yes.

use std::io::{IsTerminal, Write};

use clap::Args;
use serde::Serialize;

use super::steps::parse_reason;
use super::which::Which;
use crate::cli::Failure;
use crate::cli::render::{Cell, Column, Ink, Page, Screen, print, print_json, table, words};
use crate::cli::session::Session;
use crate::pipeline::operate;
use crate::queue::{self, Act, JobFilter, Lot, Waker, WhyNot};

/// Jobs that an act is for where nobody says how many.
const MOST: i64 = 1_000_000;

#[derive(Args)]
pub struct RetryArgs {
    /// Only those in this state; failed ones unless told.
    #[arg(long, value_parser = ["failed", "waiting", "cancelled"])]
    state: Option<String>,
    #[command(flatten)]
    chosen: ChosenArgs,
}

#[derive(Args)]
pub struct CancelArgs {
    /// Only those in this state; all that are open unless told.
    #[arg(long, value_parser = ["available", "waiting", "running", "failed"])]
    state: Option<String>,
    /// Why, for those who look at the job.
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    note: Option<String>,
    #[command(flatten)]
    chosen: ChosenArgs,
}

#[derive(Args)]
pub struct PrioritizeArgs {
    /// -100 to 100; a higher one goes first, and 0 is the usual.
    #[arg(long, value_name = "N", default_value_t = 10, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(i16).range(-100..=100))]
    priority: i16,
    /// Only those in this state; all that are open unless told.
    #[arg(long, value_parser = ["available", "waiting", "running", "failed"])]
    state: Option<String>,
    #[command(flatten)]
    chosen: ChosenArgs,
}

#[derive(Args)]
struct ChosenArgs {
    /// Numbers of the jobs, in place of filters.
    #[arg(value_name = "JOB")]
    ids: Vec<i64>,
    #[command(flatten)]
    which: Which,
    /// All of them, without a filter.
    #[arg(long)]
    all: bool,
    /// At most so many, the oldest first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=MOST))]
    limit: Option<i64>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Only show what would be done.
    #[arg(long, conflicts_with_all = ["yes", "ids"])]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `--json` of an act on jobs by their numbers.
#[derive(Serialize)]
pub(super) struct ItemsJson {
    pub(super) items: Vec<ItemJson>,
}

#[derive(Serialize)]
pub(super) struct ItemJson {
    pub(super) id: i64,
    /// `due`, `cancelled` or `prioritized`; else `not_found` or `refused`.
    pub(super) result: &'static str,
    /// Why it was refused: its state.
    pub(super) reason: Option<String>,
}

/// `--json` of an act on all jobs that match.
#[derive(Serialize)]
struct BulkJson<'a> {
    /// `retry`, `cancel` or `prioritize`.
    action: &'static str,
    /// True where nothing was done.
    dry_run: bool,
    /// So many matched.
    matched: usize,
    /// To so many it was done; the others had changed meanwhile.
    changed: usize,
    breakdown: &'a [Lot],
}

pub async fn retry(session: &Session, args: RetryArgs) -> Result<(), Failure> {
    run(session, Act::Retry, args.state, args.chosen).await
}

pub async fn cancel(session: &Session, args: CancelArgs) -> Result<(), Failure> {
    let by = &session.actor.name;
    let reason = match args.note {
        Some(note) => format!("Cancelled by {by}: {note}"),
        None => format!("Cancelled by {by}."),
    };
    run(session, Act::Cancel(reason), args.state, args.chosen).await
}

pub async fn prioritize(session: &Session, args: PrioritizeArgs) -> Result<(), Failure> {
    run(session, Act::Prioritize(args.priority), args.state, args.chosen).await
}

async fn run(session: &Session, act: Act, state: Option<String>, args: ChosenArgs) -> Result<(), Failure> {
    let filtered = !args.which.is_empty() || state.is_some() || args.all || args.limit.is_some();
    match (args.ids.is_empty(), filtered) {
        (false, false) => by_number(session, &act, &args.ids, args.json).await,
        (true, true) => all_that_match(session, &act, state, args).await,
        (false, true) => Err(Failure::usage("Name jobs by their numbers or by filters, not by both.")),
        (true, false) => Err(Failure::usage(format!(
            "Which jobs? Name their numbers, or filters such as --step and --state; --all takes all that can be {}.",
            done_word(&act)
        ))),
    }
}

async fn by_number(session: &Session, act: &Act, ids: &[i64], json: bool) -> Result<(), Failure> {
    // Nobody listens in this process, and none is needed: workers look for due jobs at least once a second.
    let waker = Waker::default();
    let mut items = Vec::new();
    for id in ids {
        let (result, reason) = match operate::act_on(&session.db, &waker, &session.actor, act, *id).await? {
            None | Some(WhyNot::IsSo) => (result_word(act), None),
            Some(WhyNot::NotFound) => ("not_found", None),
            Some(WhyNot::Refused(state)) => ("refused", Some(state)),
        };
        items.push(ItemJson { id: *id, result, reason });
    }
    let all = items.iter().all(|item| item.result == result_word(act));
    if json {
        print_json(&ItemsJson { items })?;
    } else {
        print(&items.iter().map(|item| told(act, item)).collect::<String>())?;
    }
    // Each has been told above.
    if all { Ok(()) } else { Err(Failure::failed("")) }
}

pub(super) fn told(act: &Act, ItemJson { id, result, reason }: &ItemJson) -> String {
    match (*result, reason) {
        ("not_found", _) => format!("There is no job {id}.\n"),
        ("refused", reason) => {
            format!("Job {id} is {}: it cannot be {}.\n", reason.as_deref().unwrap_or("not for that"), done_word(act))
        }
        _ => match act {
            Act::Retry => format!("Job {id} is due now, with all its attempts.\n"),
            Act::Cancel(_) => format!("Job {id} is cancelled.\n"),
            Act::Prioritize(priority) => format!("Job {id} has priority {priority}.\n"),
        },
    }
}

async fn all_that_match(session: &Session, act: &Act, state: Option<String>, args: ChosenArgs) -> Result<(), Failure> {
    let screen = &session.screen;
    let filter = args.which.filter(session, state, args.limit.unwrap_or(MOST)).await?;
    let chosen = queue::choose(&session.db, act, &filter).await?;
    let lots = queue::lots(&session.db, &chosen).await?;
    let matched = chosen.ids.len();
    let answer = |changed| BulkJson { action: act.name(), dry_run: args.dry_run, matched, changed, breakdown: &lots };
    if matched > 0 && !args.json {
        print(&preview(screen, act, &lots))?;
    }
    let mut changed = 0;
    if matched > 0 && !args.dry_run {
        if !args.yes {
            confirm(act, matched)?;
        }
        let (waker, how) = (Waker::default(), described(act, &filter));
        changed = operate::act(&session.db, &waker, &session.actor, act, &chosen, &how).await?.len();
    }
    if args.json {
        return Ok(print_json(&answer(changed))?);
    }
    let told = match (matched, args.dry_run) {
        (0, _) => format!("No job is like that, so none is {}.\n", done_word(act)),
        (_, true) => "Nothing was done.\n".to_owned(),
        _ => outcome(act, matched, changed),
    };
    Ok(print(&told)?)
}

/// Goes on only if somebody says yes.
fn confirm(act: &Act, matched: usize) -> Result<(), Failure> {
    let question = format!("{} {}?", words::capitalised(act.name()), words::count(matched, "job"));
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::failed(format!(
            "{question} There is no terminal to answer at, so nothing was done. Add --yes to do it, or --dry-run to look."
        )));
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::failed("Nothing was done."))
}

/// What would be done, lot by lot.
fn preview(screen: &Screen, act: &Act, lots: &[Lot]) -> String {
    const COLUMNS: [Column; 5] = [
        Column::number("JOBS"),
        Column::fixed("STEP"),
        Column::fixed("STATE"),
        Column::narrowing("CLASS", 10).expendable(2),
        Column::fixed("MADE SINCE").expendable(1),
    ];
    let row = |lot: &Lot| {
        vec![
            Cell::plain(&lot.jobs.to_string()),
            Cell::plain(&lot.step),
            Cell::plain(&words::capitalised(&lot.state)),
            Cell::plain(lot.class.as_deref().unwrap_or_default()),
            Cell::plain(&screen.time(lot.oldest)),
        ]
    };
    let mut page = Page::new(screen);
    page.text(0, Ink::Plain, effect(act));
    if matches!(act, Act::Cancel(_)) && lots.iter().any(|lot| lot.state == "running") {
        page.text(
            0,
            Ink::Amber,
            "Some run: their workers drop them within a third of LEASE_DURATION, and what they write until then is \
             refused. A message on its way counts as unknown.",
        );
    }
    page.gap();
    page.finish() + &table(screen, &COLUMNS, &lots.iter().map(row).collect::<Vec<_>>())
}

fn effect(act: &Act) -> &'static str {
    match act {
        Act::Retry => {
            "These jobs become due now, with all their attempts. Nothing that was paid for is paid again, and no message \
             that was sent, or may have arrived, is sent again unseen."
        }
        Act::Cancel(_) => "These jobs are never done, and a call that needs one of them counts as failed.",
        Act::Prioritize(_) => {
            "These jobs go before others of their step with a lower priority; so do those that follow."
        }
    }
}

fn outcome(act: &Act, matched: usize, changed: usize) -> String {
    let (jobs, are) = (words::count(changed, "job"), if changed == 1 { "is" } else { "are" });
    let done = match act {
        Act::Retry => format!("{jobs} {are} due now."),
        Act::Cancel(_) => format!("{jobs} {are} cancelled."),
        Act::Prioritize(priority) => format!("{jobs} {are} of priority {priority} now."),
    };
    match matched - changed {
        0 => format!("{done}\n"),
        left => format!("{done} {} had changed meanwhile: left alone.\n", words::count(left, "other")),
    }
}

/// How the jobs were chosen, for the audit log.
fn described(act: &Act, filter: &JobFilter) -> String {
    let usual = if matches!(act, Act::Retry) { "failed" } else { "open" };
    let time = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let filters = [
        ("of step", filter.step.clone()),
        ("of call", filter.call_id.map(|id| id.to_string())),
        ("with class", filter.class.clone()),
        ("with reason", filter.reason.clone()),
        ("made from", filter.created_from.map(time)),
        ("made before", filter.created_before.map(time)),
        ("at most", (filter.limit < MOST).then(|| filter.limit.to_string())),
    ];
    let said = filters.into_iter().filter_map(|(word, value)| Some(format!("{word} {}", value?)));
    let jobs = format!("{} jobs", filter.state.as_deref().unwrap_or(usual));
    std::iter::once(jobs).chain(said).collect::<Vec<_>>().join(", ")
}

fn result_word(act: &Act) -> &'static str {
    match act {
        Act::Retry => "due",
        Act::Cancel(_) => "cancelled",
        Act::Prioritize(_) => "prioritized",
    }
}

fn done_word(act: &Act) -> &'static str {
    match act {
        Act::Retry => "retried",
        Act::Cancel(_) => "cancelled",
        Act::Prioritize(_) => "prioritized",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::jobs::samples::at;

    fn lots() -> Vec<Lot> {
        let lot = |jobs, step: &str, state: &str, class: Option<&str>| Lot {
            step: step.to_owned(),
            state: state.to_owned(),
            class: class.map(str::to_owned),
            jobs,
            oldest: at("06:21:00"),
        };
        vec![lot(12, "transcribe", "failed", Some("key_refused")), lot(6, "notify", "running", None)]
    }

    #[test]
    fn a_preview_tells_lot_by_lot() {
        insta::assert_snapshot!("preview_retry", preview(&Screen::for_tests(), &Act::Retry, &lots()));
        let cancel = Act::Cancel(String::new());
        insta::assert_snapshot!("preview_cancel", preview(&Screen::for_tests(), &cancel, &lots()));
    }

    #[test]
    fn what_had_changed_is_told() {
        assert_eq!(outcome(&Act::Retry, 18, 18), "18 jobs are due now.\n");
        let some = outcome(&Act::Cancel(String::new()), 18, 1);
        assert_eq!(some, "1 job is cancelled. 17 others had changed meanwhile: left alone.\n");
    }

    #[test]
    fn the_audit_log_says_how_they_were_chosen() {
        let filter = JobFilter {
            step: Some("notify".to_owned()),
            class: Some("timeout".to_owned()),
            created_before: Some(at("06:00:00")),
            limit: MOST,
            ..JobFilter::default()
        };
        let said = "failed jobs, of step notify, with class timeout, made before 2026-11-17T06:00:00Z";
        assert_eq!(described(&Act::Retry, &filter), said);
    }

    #[test]
    fn json_keeps_its_shape() {
        let lots = lots();
        let answer = BulkJson { action: "retry", dry_run: false, matched: 18, changed: 17, breakdown: &lots };
        insta::assert_json_snapshot!("bulk", answer);
    }
}
