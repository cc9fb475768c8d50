//! *What happened*: every attempt in order, with what it came to and why.

use std::collections::HashMap;

use crate::cli::render::{Ink, Page, Screen, words};
use crate::model::FailureClass;
use crate::queue::{AttemptRow, JobRow};
use crate::store::deliveries::DeliveryRow;

/// Under the time of day of a row.
const UNDER: usize = 12;

/// Attempts, and what they were for.
pub struct History<'a> {
    /// In the order in which they started.
    pub attempts: &'a [AttemptRow],
    /// The jobs that they belong to.
    pub jobs: &'a [JobRow],
    /// The messages that jobs may have been for.
    pub deliveries: &'a [DeliveryRow],
}

impl History<'_> {
    /// Writes one row for each attempt, with its message below, and one for all of a job that came to the same one after
    /// the other; a line before each new day and each later run.
    pub fn write(&self, page: &mut Page, screen: &Screen) {
        let jobs: HashMap<i64, &JobRow> = self.jobs.iter().map(|job| (job.id, job)).collect();
        let (mut day, mut run) = (String::new(), 1);
        for alike in self.folded() {
            let (attempt, job) = (alike[0], jobs.get(&alike[0].job_id).copied());
            let (its_day, its_run) = (screen.day(attempt.started_at), job.map_or(run, |job| job.run));
            if its_run != run {
                page.text(2, Ink::Grey, &format!("Run {its_run}, from {} on", attempt.step));
                run = its_run;
            }
            if its_day != day {
                page.text(2, Ink::Grey, &its_day);
                day = its_day;
            }
            self.row(page, screen, &alike, job);
        }
    }

    /// The attempts in rows: a job that looks every hour for something that is not there yet makes one row.
    fn folded(&self) -> Vec<Vec<&AttemptRow>> {
        let mut rows: Vec<Vec<&AttemptRow>> = Vec::new();
        // Attempts of other jobs may stand between two of one job.
        let mut latest: HashMap<i64, usize> = HashMap::new();
        for attempt in self.attempts {
            match latest.get(&attempt.job_id) {
                Some(row) if are_alike(rows[*row][0], attempt) => rows[*row].push(attempt),
                _ => {
                    latest.insert(attempt.job_id, rows.len());
                    rows.push(vec![attempt]);
                }
            }
        }
        rows
    }

    fn row(&self, page: &mut Page, screen: &Screen, alike: &[&AttemptRow], job: Option<&JobRow>) {
        let (attempt, last) = (alike[0], alike[alike.len() - 1]);
        let delivery = job.and_then(|job| job.target).and_then(|id| self.deliveries.iter().find(|row| row.id == id));
        let (ink, what) = outcome(attempt, delivery);
        let again = match (attempt.attempt, last.attempt) {
            (1, 1) => String::new(),
            (first, last) if first == last => format!(" (start {first})"),
            (first, last) => format!(", {} times (starts {first} to {last})", alike.len()),
        };
        let clock = format!("{}  ", screen.clock(attempt.started_at));
        let took = words::between(attempt.started_at, last.ended_at);
        let effort = match alike.iter().map(|attempt| attempt.cost_micro_units).sum::<Option<i64>>() {
            Some(0) => took,
            Some(cost) => format!("{}, {took}", words::money(cost)),
            None => format!("cost unknown, {took}"),
        };
        page.row(&clock, (ink, &format!("{what}{again}")), (Ink::Grey, &effort));
        if let Some(message) = &attempt.message {
            page.text(UNDER, Ink::Plain, message);
        }
        let codes: Vec<&str> =
            [attempt.error_class.as_deref(), last.request_id.as_deref()].into_iter().flatten().collect();
        if attempt.outcome != "completed" && !codes.is_empty() {
            page.text(UNDER, Ink::Grey, &codes.join(", "));
        }
        if let (Some(late), Some(at)) = (&attempt.late_outcome, attempt.late_at) {
            let sentence = format!(
                "Its worker came back at {} with `{late}` after it had lost its lease: refused, nothing was written.",
                screen.clock(at)
            );
            page.text(UNDER, Ink::Amber, &sentence);
        }
    }
}

/// Whether two attempts of a job came to the same, so that one row tells both.
fn are_alike(one: &AttemptRow, other: &AttemptRow) -> bool {
    let told = |attempt: &AttemptRow| (attempt.outcome.clone(), attempt.error_class.clone(), attempt.message.clone());
    told(one) == told(other) && one.late_outcome.is_none() && other.late_outcome.is_none()
}

/// What an attempt came to, as a sentence about its step or its message.
fn outcome(attempt: &AttemptRow, delivery: Option<&DeliveryRow>) -> (Ink, String) {
    let what = match (attempt.step.as_str(), delivery) {
        (_, Some(delivery)) => format!("{} to {}", words::channel(&delivery.channel), delivery.destination),
        ("notify", None) => "Messages".to_owned(),
        (step, None) => words::capitalised(step),
    };
    match attempt.outcome.as_str() {
        "completed" => match delivery.map(|delivery| delivery.state.as_str()) {
            Some("unknown") => (Ink::Amber, format!("{what} held: answer lost")),
            Some(_) => (Ink::Plain, format!("{what} sent")),
            None if attempt.step == "notify" => (Ink::Plain, format!("{what} planned")),
            None => (Ink::Plain, words::step_done(&attempt.step)),
        },
        "retry" if attempt.error_class.as_deref() == Some(FailureClass::UnknownOutcome.as_str()) => {
            (Ink::Amber, format!("{what}: answer lost, to be sent once more"))
        }
        "retry" => (Ink::Amber, format!("{what}: failed, to be tried again")),
        "waiting" => (Ink::Amber, format!("{what}: has to wait")),
        "failed" => (Ink::Red, format!("{what}: failed for good")),
        "timeout" => (Ink::Red, format!("{what}: took too long, was stopped")),
        "panic" => (Ink::Red, format!("{what}: crashed")),
        "given_back" => (Ink::Grey, format!("{what}: given back, its worker stopped")),
        "cancelled" => (Ink::Grey, format!("{what}: cancelled while it ran")),
        "lost" => (Ink::Red, format!("{what}: its worker was lost")),
        other => (Ink::Plain, format!("{what}: {other}")),
    }
}
