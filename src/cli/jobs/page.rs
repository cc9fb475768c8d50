//! One job on a page.

use chrono::{DateTime, Utc};

use super::History;
use crate::cli::render::{Ink, Page, Screen, words};
use crate::model::FailureClass;
use crate::queue::{AttemptRow, JobRow, NOT_READY_DEADLINE, PAUSED_DEADLINE};
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
    let (ink, state, at) = words::job_state(screen, job);
    page.title(&format!("Job {}: {}", job.id, job.step), (ink, &format!("{state} {at}")));
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
    if job.priority != 0 {
        page.fact("Priority", &format!("{}, where 0 is the usual and a higher one goes first", job.priority));
    }
    page.fact("Starts", &format!("{}, {} of them used as attempts", job.starts, job.attempts));
    if let Some(worker) = &job.worker {
        page.fact(if job.state == "running" { "Worker" } else { "Last worker" }, worker);
    }
    if let (Some(since), Some(free)) = (job.claimed_at, words::free_for_others(screen, job)) {
        page.fact("Lease", &format!("since {}; {free}, unless its worker renews it", screen.time(since)));
    }
    if !attempts.is_empty() {
        page.section("What happened");
        History { attempts, jobs: std::slice::from_ref(job), deliveries }.write(&mut page, screen);
    }
    page.section("Next");
    if call.is_some_and(|call| call.run > job.run) {
        page.text(2, Ink::Plain, "A later run of the call has taken its place; nothing is to do.");
    } else if !advice(&mut page, screen, job, attempts) {
        page.text(2, Ink::Plain, nothing_to_do(job));
    }
    if let Some(call) = call {
        page.text(2, Ink::Plain, "The whole call:");
        page.command(&format!("calls show {}", crate::cli::calls::handle(call)));
    }
    page.finish()
}

/// What happens next to the job, with the command to type if a person can do something; false = nothing. `attempts` may
/// be those of other jobs too.
pub fn advice(page: &mut Page, screen: &Screen, job: &JobRow, attempts: &[AttemptRow]) -> bool {
    let name = format!("Job {} ({})", job.id, job.step);
    let pause = words::pause(screen, &job.step, job.paused_at, job.paused_by.as_deref(), job.pause_reason.as_deref());
    if let Some(pause) = pause.filter(|_| job.state == "available") {
        page.text(2, Ink::Amber, &format!("{name} waits: {pause}"));
        page.command(&format!("jobs resume {}", job.step));
        return true;
    }
    let sentence = match job.state.as_str() {
        "failed" => format!("{name} failed and needs a person. Remove the cause, then run it again:"),
        "available" if job.run_at > screen.now => {
            let end =
                deadline(job, attempts).map(|end| format!(" It is given up {} if nothing changes.", screen.time(end)));
            let next = screen.soon(job.run_at);
            format!("{name} waits and goes on by itself: {next}.{} To try at once:", end.unwrap_or_default())
        }
        "cancelled" => format!("{name} was cancelled. Should it be done after all:"),
        "running" => {
            page.text(2, Ink::Plain, &running(&name, screen, job));
            return true;
        }
        _ => return false,
    };
    page.text(2, Ink::Plain, &sentence);
    page.command(&format!("jobs retry {}", job.id));
    true
}

/// When the wait of a job ends for good, if it waits for something that may never come.
fn deadline(job: &JobRow, attempts: &[AttemptRow]) -> Option<DateTime<Utc>> {
    let since = job.waiting_since?;
    let last = attempts.iter().rfind(|attempt| attempt.job_id == job.id)?;
    match last.error_class.as_deref().and_then(|class| class.parse().ok()) {
        Some(FailureClass::NotReady) => Some(since + NOT_READY_DEADLINE),
        // The night ends by itself.
        Some(FailureClass::QuietHours) => None,
        _ => Some(since + PAUSED_DEADLINE),
    }
}

/// Who is at it since when, and what happens should that worker be gone.
fn running(name: &str, screen: &Screen, job: &JobRow) -> String {
    let worker = job.worker.as_deref().unwrap_or("A worker");
    let since = job.claimed_at.map(|at| format!(" since {}", screen.time(at))).unwrap_or_default();
    match words::free_for_others(screen, job) {
        Some(free) => format!("{worker} is at {name}{since}. Should it be gone, the job is {free}."),
        None => format!("{worker} is at {name}{since}."),
    }
}

fn nothing_to_do(job: &JobRow) -> &'static str {
    match job.state.as_str() {
        "available" => "It is due and starts as soon as a worker is free. Is one running?",
        _ => "It has ended well; nothing is to do.",
    }
}
