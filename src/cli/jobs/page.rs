//! One job on a page.

use super::History;
use crate::cli::render::{Ink, Page, Screen, words};
use crate::queue::{AttemptRow, JobRow};
use crate::store::calls::CallRow;
use crate::store::deliveries::DeliveryRow;

/// The job, its attempts, and what to do next.
pub fn page(
    screen: &Screen,
    job: &JobRow,
    call: Option<&CallRow>,
    attempts: &[AttemptRow],
    deliveries: &[DeliveryRow],
) -> String {
    let mut page = Page::new(screen);
    let (ink, state, at) = words::job_state(job, screen.now);
    let state = at.map_or_else(|| state.to_owned(), |at| format!("{state} {}", screen.time(at)));
    page.title(&format!("Job {}: {}", job.id, job.step), (ink, &state));
    if let Some(reason) = &job.reason {
        page.text(2, ink, reason);
    }
    page.section("Facts");
    match call {
        Some(call) => page.fact("Call", &crate::cli::calls::one_line(screen, call)),
        None => page.fact("Call", &job.call_id.to_string()),
    }
    if let Some(delivery) = deliveries.iter().find(|delivery| Some(delivery.id) == job.target) {
        let (_, state) = words::delivery_state(screen, delivery, Some(job));
        let to = format!("{} to {}: {state}", words::channel(&delivery.channel), delivery.destination);
        page.fact("Message", &to);
    }
    page.fact("Made", &format!("{}, in run {} of the call", screen.time(job.created_at), job.run));
    page.fact("Starts", &format!("{}, {} of them used as attempts", job.starts, job.attempts));
    if let Some(worker) = &job.worker {
        page.fact(if job.state == "running" { "Worker" } else { "Last worker" }, worker);
    }
    if !attempts.is_empty() {
        page.section("What happened");
        History { attempts, jobs: std::slice::from_ref(job), deliveries }.write(&mut page, screen);
    }
    page.section("Next");
    if call.is_some_and(|call| call.run > job.run) {
        page.text(2, Ink::Plain, "A later run of the call has taken its place; nothing is to do.");
    } else if !advice(&mut page, screen, job) {
        page.text(2, Ink::Plain, nothing_to_do(job));
    }
    if let Some(call) = call {
        page.text(2, Ink::Plain, "The whole call:");
        page.command(&format!("goto-automation calls show {}", crate::cli::calls::handle(call)));
    }
    page.finish()
}

/// What a person can do about the job, with the command to type; false = nothing.
pub fn advice(page: &mut Page, screen: &Screen, job: &JobRow) -> bool {
    let name = format!("Job {} ({})", job.id, job.step);
    match words::job_state(job, screen.now) {
        (_, "Failed", _) => {
            page.text(
                2,
                Ink::Plain,
                &format!("{name} failed and needs a person. Remove the cause, then run it again:"),
            );
        }
        (_, "Waits until", Some(until)) => {
            let sentence =
                format!("{name} waits until {} and then goes on by itself. To try at once:", screen.time(until));
            page.text(2, Ink::Plain, &sentence);
        }
        _ => return false,
    }
    page.command(&format!("goto-automation jobs retry {}", job.id));
    true
}

fn nothing_to_do(job: &JobRow) -> &'static str {
    match job.state.as_str() {
        "available" => "It is due and starts as soon as a worker is free. Is one running?",
        "running" => "A worker is at it.",
        "cancelled" => "It was cancelled; nothing follows.",
        _ => "It has ended well; nothing is to do.",
    }
}
