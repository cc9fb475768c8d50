//! `jobs stats`: how each step stands, and what the last hour was like.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::cli::Failure;
use crate::cli::render::{Cell, Column, Ink, Page, Screen, print, print_json, table, words};
use crate::cli::session::Session;
use crate::pipeline;
use crate::queue::{self, StepStats};

#[derive(Args)]
pub struct StatsArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `jobs stats --json`.
#[derive(Serialize)]
struct StatsJson<'a> {
    steps: &'a [StepStats],
}

pub async fn show(session: &Session, args: &StatsArgs) -> Result<(), Failure> {
    let steps = queue::stats(&session.db, &pipeline::names().collect::<Vec<_>>()).await?;
    if args.json {
        return Ok(print_json(&StatsJson { steps: &steps })?);
    }
    Ok(print(&page(&session.screen, &steps))?)
}

fn page(screen: &Screen, steps: &[StepStats]) -> String {
    let mut page = Page::new(screen);
    for step in steps {
        said(&mut page, screen, step);
    }
    format!("{}\n{}{}", now(screen, steps), last_hour(screen, steps), page.finish())
}

fn now(screen: &Screen, steps: &[StepStats]) -> String {
    const COLUMNS: [Column; 8] = [
        Column::fixed("NOW"),
        Column::number("DUE"),
        Column::fixed("OLDEST").expendable(3),
        Column::number("WAITING").expendable(1),
        Column::fixed("NEXT").expendable(4),
        Column::number("RUNNING"),
        Column::number("FAILED"),
        Column::number("CANCELLED").expendable(2),
    ];
    let row = |step: &StepStats| {
        let ink = |count: i64, ink| if count > 0 { ink } else { Ink::Plain };
        let oldest = step.oldest_due_seconds.map(|seconds| words::seconds(seconds as i64));
        let due = if step.paused_at.is_some() { Ink::Amber } else { Ink::Plain };
        vec![
            Cell::plain(&step.step),
            Cell::new(ink(step.due, due), &step.due.to_string()),
            Cell::plain(&oldest.unwrap_or_default()),
            Cell::plain(&step.waiting.to_string()),
            Cell::plain(&step.next_run_at.map(|at| screen.soon(at)).unwrap_or_default()),
            Cell::plain(&step.running.to_string()),
            Cell::new(ink(step.failed, Ink::Red), &step.failed.to_string()),
            Cell::plain(&step.cancelled.to_string()),
        ]
    };
    table(screen, &COLUMNS, &steps.iter().map(row).collect::<Vec<_>>())
}

fn last_hour(screen: &Screen, steps: &[StepStats]) -> String {
    const COLUMNS: [Column; 5] = [
        Column::fixed("LAST HOUR"),
        Column::number("COMPLETED"),
        Column::fixed("RUN P50/P95"),
        Column::fixed("QUEUED P50/P95").expendable(1),
        Column::narrowing("OTHER ATTEMPTS", 14).expendable(2),
    ];
    let row = |step: &StepStats| {
        let hour = &step.last_hour;
        let mut others: Vec<_> = hour.attempts.iter().filter(|count| count.outcome != "completed").collect();
        // The most frequent first: the rest may be cut off.
        others.sort_by_key(|count| -count.attempts);
        let others: Vec<String> = others.iter().map(|count| format!("{} {}", count.attempts, count.outcome)).collect();
        vec![
            Cell::plain(&step.step),
            Cell::plain(&hour.completed.to_string()),
            Cell::plain(&quantiles(hour.run_seconds_p50, hour.run_seconds_p95)),
            Cell::plain(&quantiles(hour.queue_seconds_p50, hour.queue_seconds_p95)),
            Cell::plain(&others.join(", ")),
        ]
    };
    table(screen, &COLUMNS, &steps.iter().map(row).collect::<Vec<_>>())
}

fn quantiles(half: Option<f64>, most: Option<f64>) -> String {
    let word = |seconds: f64| words::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    match (half, most) {
        (Some(half), Some(most)) => format!("{} / {}", word(half), word(most)),
        _ => String::new(),
    }
}

/// What operators said of the step.
fn said(page: &mut Page, screen: &Screen, step: &StepStats) {
    if let Some(sentence) =
        words::pause(screen, &step.step, step.paused_at, step.paused_by.as_deref(), step.pause_reason.as_deref())
    {
        page.gap();
        page.text(0, Ink::Amber, &sentence);
        page.command(&format!("jobs resume {}", step.step));
    }
    if let Some(slots) = step.slots {
        page.gap();
        let many = if slots == 1 { "1 job at a time".to_owned() } else { format!("{slots} jobs at the same time") };
        let sentence = format!("{}: {many} in each worker process. As in its settings again:", step.step);
        page.text(0, Ink::Plain, &sentence);
        page.command(&format!("jobs limit {} default", step.step));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::jobs::samples::at;
    use crate::cli::render::width_of;
    use crate::queue::{LastHour, OutcomeCount};

    fn steps() -> Vec<StepStats> {
        let count = |outcome: &str, attempts| OutcomeCount { outcome: outcome.to_owned(), attempts };
        let transcribe = StepStats {
            step: "transcribe".to_owned(),
            available: 1_532,
            due: 1_520,
            oldest_due_seconds: Some(4_021.3),
            waiting: 12,
            next_run_at: Some(at("07:04:30")),
            running: 4,
            failed: 2,
            cancelled: 1,
            last_hour: LastHour {
                completed: 312,
                attempts: vec![count("completed", 312), count("lost", 1), count("retry", 21), count("waiting", 107)],
                run_seconds_p50: Some(41.2),
                run_seconds_p95: Some(312.0),
                queue_seconds_p50: Some(0.02),
                queue_seconds_p95: Some(3.4),
            },
            paused_at: Some(at("06:21:00")),
            paused_by: Some("dana@desk".to_owned()),
            pause_reason: Some("The vendor moves its servers.".to_owned()),
            slots: Some(2),
        };
        vec![StepStats { step: "download".to_owned(), ..StepStats::default() }, transcribe]
    }

    #[test]
    fn the_page_fits_80_columns() {
        let text = page(&Screen::for_tests(), &steps());
        assert!(text.lines().all(|line| width_of(line) <= 80), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn json_keeps_its_shape() {
        insta::assert_json_snapshot!("stats", StatsJson { steps: &steps() });
    }
}
