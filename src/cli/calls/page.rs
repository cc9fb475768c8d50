//! One call on a page: the answer first, then the proof, then what happened and what to type next.

use super::story::Story;
use super::{handle, title};
use crate::cli::jobs::{History, advice};
use crate::cli::render::{Ink, Page, Screen, words};
use crate::dev::standins::MODEL;
use crate::model::{Segment, Speaker};
use crate::pipeline::TRANSCRIBE;
use crate::queue::{AttemptRow, CallCost};
use crate::store::calls::CallRow;
use crate::store::deliveries::DeliveryRow;
use crate::store::summaries::{ActionItemRow, StoredAnalysis};

/// What is said of words of the model that no line of the call proves.
const UNSUPPORTED: &str = "Nothing that was said supports this.";

/// The whole story; what was said only if asked for.
pub fn page(screen: &Screen, story: &Story, transcript: bool) -> String {
    let mut page = Page::new(screen);
    head(&mut page, screen, story);
    if let Some(analysis) = &story.analysis {
        summary(&mut page, story, analysis);
        action_items(&mut page, screen, story);
    }
    messages(&mut page, screen, story);
    if transcript {
        said(&mut page, story);
    }
    if !story.attempts.is_empty() {
        page.section("What happened");
        let history = History { attempts: &story.attempts, jobs: &story.jobs, deliveries: &story.deliveries };
        history.write(&mut page, screen);
    }
    next(&mut page, screen, story, transcript);
    page.finish()
}

fn head(page: &mut Page, screen: &Screen, story: &Story) {
    let call = &story.call;
    let (ink, state) = words::call_state(&call.state);
    page.title(&title(call), (ink, state));
    if let Some(reason) = &call.state_reason {
        page.text(2, ink, reason);
    }
    if let Some(until) = call.waiting_until {
        page.text(2, Ink::Plain, &format!("Goes on by itself: {}. Nothing is lost.", screen.soon(until)));
    }
    page.section("Facts");
    page.fact("When", &when(screen, call));
    page.fact("Caller", &party(call.caller_name.as_deref(), call.caller_number.as_deref()));
    page.fact("Called", &party(call.called_name.as_deref(), call.called_number.as_deref()));
    page.fact("Recording", words::recording(&call.recording, &call.state));
    if let Some(made) = stood_in(story) {
        page.fact("Made by", &made);
    }
    page.fact("Cost", &cost(&story.cost));
    page.fact("Sender's id", &call.external_id);
    page.fact("Our id", &call.id.to_string());
}

/// What no real model has made.
fn stood_in(story: &Story) -> Option<String> {
    let transcribed = |attempt: &&AttemptRow| attempt.step == TRANSCRIBE && attempt.model.is_some();
    let listener = story.attempts.iter().rfind(transcribed).and_then(|attempt| attempt.model.as_deref());
    let analyst = story.analysis.as_ref().and_then(|analysis| analysis.model.as_deref());
    let made = [("transcript", listener), ("summary", analyst)];
    let made: Vec<&str> = made.iter().filter(|(_, model)| *model == Some(MODEL)).map(|(what, _)| *what).collect();
    (!made.is_empty())
        .then(|| format!("{} by a stand-in, not by a real model", words::capitalised(&made.join(" and "))))
}

fn when(screen: &Screen, call: &CallRow) -> String {
    let mut parts = match call.started_at {
        Some(at) => vec![screen.time(at)],
        None => vec![format!("Start not told; arrived {}", screen.time(call.created_at))],
    };
    parts.extend(call.duration_seconds.map(|seconds| words::seconds(seconds.into())));
    if call.direction != "unknown" {
        parts.push(call.direction.clone());
    }
    parts.join(", ")
}

fn party(name: Option<&str>, number: Option<&str>) -> String {
    let parts: Vec<&str> = [name, number].into_iter().flatten().filter(|part| !part.trim().is_empty()).collect();
    if parts.is_empty() { "Not told".to_owned() } else { parts.join(", ") }
}

/// What the call cost so far and for what, or why nobody knows.
fn cost(cost: &CallCost) -> String {
    let steps: Vec<String> = cost.steps.iter().filter_map(|step| paid(&step.step, step.cost.micro_units)).collect();
    let of_steps = if steps.len() > 1 { format!(" ({})", steps.join(", ")) } else { String::new() };
    let total = cost.total.micro_units.map_or_else(|| format!("Unknown: {}", why_unknown(cost)), words::money);
    let waste = match cost.total.waste_micro_units {
        Some(0) => String::new(),
        Some(waste) => format!(", of it {} for failed attempts", words::money(waste)),
        None => ", of it an unknown part for failed attempts".to_owned(),
    };
    format!("{total}{of_steps}{waste}")
}

fn paid(step: &str, micro_units: Option<i64>) -> Option<String> {
    match micro_units {
        Some(0) => None,
        Some(amount) => Some(format!("{step} {}", words::money(amount))),
        None => Some(format!("{step} unknown")),
    }
}

fn why_unknown(cost: &CallCost) -> String {
    let mut reasons = Vec::new();
    if !cost.unpriced_models.is_empty() {
        reasons.push(format!("no price for {}", cost.unpriced_models.join(", ")));
    }
    if !cost.unmeasured_models.is_empty() {
        reasons.push(format!("{} did not say what was used", cost.unmeasured_models.join(", ")));
    }
    if reasons.is_empty() {
        reasons.push("an earlier version of this program did not keep what was used".to_owned());
    }
    reasons.join("; ")
}

fn summary(page: &mut Page, story: &Story, analysis: &StoredAnalysis) {
    page.section("Summary");
    for statement in &analysis.statements {
        if statement.supported {
            let proof = proof(story, &statement.evidence);
            page.hanging("- ", Ink::Plain, &format!("{}{proof}", statement.text));
        } else {
            page.hanging("x ", Ink::Struck, &statement.text);
            page.text(4, Ink::Amber, UNSUPPORTED);
        }
    }
    page.fact("Urgency", &format!("{} ({} of 5)", words::urgency(analysis.urgency), analysis.urgency));
    page.fact("Mood", words::sentiment(analysis.sentiment));
    if !analysis.topics.is_empty() {
        page.fact("Topics", &analysis.topics.join(", "));
    }
    if let Some(parts) = analysis.parts {
        page.fact("Read in", &format!("{parts} parts, since the call was too long for one question"));
    }
}

/// The places in the recording that prove it: ` [0:05, 0:12]`.
fn proof(story: &Story, evidence: &[i32]) -> String {
    let segments = story.transcript.as_ref().map(|transcript| transcript.segments.as_slice()).unwrap_or_default();
    let place = |index: &i32| usize::try_from(*index).ok().and_then(|index| segments.get(index));
    let places: Vec<String> = evidence.iter().filter_map(place).map(|line| words::position(line.start_ms)).collect();
    if places.is_empty() { String::new() } else { format!(" [{}]", places.join(", ")) }
}

fn action_items(page: &mut Page, screen: &Screen, story: &Story) {
    page.section("Action items");
    if story.action_items.is_empty() {
        page.text(2, Ink::Grey, "Nobody promised anything.");
    }
    for item in &story.action_items {
        let mark = if item.state == "done" { "[x] " } else { "[ ] " };
        if item.supported {
            page.hanging(mark, Ink::Plain, &format!("{}{}", item.text, proof(story, &item.evidence)));
        } else {
            page.hanging(mark, Ink::Struck, &item.text);
            page.text(6, Ink::Amber, UNSUPPORTED);
        }
        page.text(6, Ink::Grey, &promise(screen, item));
    }
}

fn promise(screen: &Screen, item: &ActionItemRow) -> String {
    let owner = item.owner.as_deref().unwrap_or("Nobody yet");
    match (item.due_at, &item.due_words) {
        (Some(at), Some(said)) => format!("{owner}, due {} (\"{said}\")", screen.time(at)),
        (Some(at), None) => format!("{owner}, due {}", screen.time(at)),
        (None, Some(said)) => format!("{owner}, due \"{said}\""),
        (None, None) => format!("{owner}, no time named"),
    }
}

fn messages(page: &mut Page, screen: &Screen, story: &Story) {
    if story.deliveries.is_empty() {
        return;
    }
    page.section("Messages");
    for delivery in &story.deliveries {
        let again = story.jobs.iter().find(|job| words::goes_again(delivery, job));
        let (ink, state) = words::delivery_state(screen, delivery, again);
        let to = format!("{} to {}", words::channel(&delivery.channel), delivery.destination);
        let at = if again.is_some() { String::new() } else { format!(", {}", screen.time(delivery.updated_at)) };
        page.row("", (Ink::Plain, &to), (ink, &format!("{state}{at}")));
        // The reason of the call stands at the head of the page.
        if let Some(detail) = delivery.detail.as_ref().filter(|detail| story.call.state_reason.as_ref() != Some(detail))
        {
            page.text(4, Ink::Grey, detail);
        }
    }
}

/// How many messages may or may not have arrived, those left out that are sent again by themselves or were in a later
/// round.
fn held(Story { deliveries, jobs, .. }: &Story) -> usize {
    let same =
        |one: &DeliveryRow, other: &DeliveryRow| one.channel == other.channel && one.destination == other.destination;
    let latest = |index: usize| !deliveries[index + 1..].iter().any(|later| same(later, &deliveries[index]));
    let is_held = |one: &DeliveryRow| one.state == "unknown" && !jobs.iter().any(|job| words::goes_again(one, job));
    deliveries.iter().enumerate().filter(|(index, one)| is_held(one) && latest(*index)).count()
}

fn said(page: &mut Page, story: &Story) {
    page.section("What was said");
    let Some(transcript) = &story.transcript else {
        return page.text(2, Ink::Grey, "Not transcribed yet.");
    };
    let line = |segment: &Segment| {
        let speaker = match segment.speaker {
            Speaker::Agent => "Agent",
            Speaker::Customer => "Customer",
            Speaker::Unknown => "Speaker",
        };
        format!("{:>5}  {speaker:<8}  ", words::position(segment.start_ms))
    };
    for segment in &transcript.segments {
        page.hanging(&line(segment), Ink::Plain, &segment.text);
    }
}

fn next(page: &mut Page, screen: &Screen, story: &Story, transcript: bool) {
    page.section("Next");
    let current: Vec<_> = story.jobs.iter().filter(|job| job.run == story.call.run).collect();
    // All are named, since each needs a command of its own.
    let advised = current.iter().filter(|job| advice(page, screen, job, &story.attempts)).count();
    let open = current.iter().any(|job| words::is_open(job));
    let held = held(story);
    if held > 0 && !open {
        let sentence = format!(
            "{} may or may not have arrived. Look where it went first; to send all messages once more:",
            words::count(held, "message")
        );
        page.text(2, Ink::Plain, &sentence);
        page.command(&format!("calls rerun {} --from notify --send-again", handle(&story.call)));
    } else if advised == 0 && open {
        page.text(2, Ink::Plain, "It is being worked on, or starts as soon as a worker is free.");
    } else if advised == 0 {
        page.text(2, Ink::Plain, "Nothing is to do.");
    }
    if !transcript && story.transcript.is_some() {
        page.text(2, Ink::Plain, "What was said:");
        page.command(&format!("calls show {} --transcript", handle(&story.call)));
    }
}
