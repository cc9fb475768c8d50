//! How calls read at 80 columns, and what `--json` looks like.

use chrono::TimeDelta;

use super::*;
use crate::cli::jobs::samples::{at, attempt, job};
use crate::cli::render::width_of;
use crate::model::{Segment, Sentiment, Speaker, Statement, Timing, Transcript};
use crate::queue::{CallCost, Cost, StepCost};
use crate::store::call_list::{Brief, ListedCall};
use crate::store::deliveries::DeliveryRow;
use crate::store::summaries::{ActionItemRow, StoredAnalysis};

fn call(state: &str) -> CallRow {
    CallRow {
        id: job(1, "download", "completed").call_id,
        external_id: "call-0001".to_owned(),
        state: state.to_owned(),
        state_reason: None,
        waiting_until: None,
        direction: "inbound".to_owned(),
        caller_name: Some("Alma Reyes".to_owned()),
        caller_number: Some("+15550104711".to_owned()),
        called_name: Some("Support".to_owned()),
        called_number: Some("+15550100001".to_owned()),
        started_at: Some(at("06:17:00")),
        ended_at: Some(at("06:21:08")),
        duration_seconds: Some(248),
        recording: "available".to_owned(),
        recording_url: Some("https://media.example.com/rec/1.wav?signature=secret".to_owned()),
        run: 1,
        notify_round: 1,
        created_at: at("06:21:10"),
        occurred_at: at("06:17:00"),
    }
}

fn segment(speaker: Speaker, start_ms: i64, text: &str) -> Segment {
    Segment { speaker, start_ms, end_ms: start_ms + 4_000, text: text.to_owned() }
}

fn delivery(number: u128, channel: &str, to: &str, state: &str) -> DeliveryRow {
    DeliveryRow {
        id: Uuid::from_u128(number),
        channel: channel.to_owned(),
        destination: to.to_owned(),
        state: state.to_owned(),
        repeated: false,
        reference: None,
        detail: None,
        message_date: at("06:21:30"),
        updated_at: at("06:21:32"),
    }
}

fn item(text: &str, owner: Option<&str>, due: Option<&str>, supported: bool) -> ActionItemRow {
    ActionItemRow {
        id: Uuid::from_u128(7),
        text: text.to_owned(),
        owner: owner.map(str::to_owned),
        due_words: due.map(str::to_owned),
        due_at: due.map(|_| at("11:00:00") + TimeDelta::days(1)),
        state: "open".to_owned(),
        evidence: vec![1],
        supported,
    }
}

fn analysis() -> StoredAnalysis {
    let statement = |text: &str, evidence: &[i32]| Statement {
        text: text.to_owned(),
        evidence: evidence.to_vec(),
        supported: !evidence.is_empty(),
    };
    let statements = vec![
        statement("Alma Reyes was charged twice for order four four one seven and wants the second charge back.", &[1]),
        statement("Dana refunds it today.", &[0, 2, 99]),
        statement("The customer threatens to leave for a competitor next month.", &[]),
    ];
    StoredAnalysis {
        run: 1,
        summary: statements.iter().map(|statement| statement.text.as_str()).collect::<Vec<_>>().join(" "),
        statements,
        sentiment: Sentiment::Negative,
        urgency: 4,
        topics: vec!["billing".to_owned(), "refund".to_owned()],
        model: Some("gpt-6-luna".to_owned()),
        parts: Some(3),
    }
}

/// A call that went through, with one message held and one refused.
fn complete() -> Story {
    let segments = vec![
        segment(Speaker::Agent, 200, "Thank you for calling, this is Dana. How can I help you today?"),
        segment(Speaker::Customer, 5_400, "I was charged twice for order four four one seven.\u{1b}[2J"),
        segment(Speaker::Agent, 54_900, "I am sorry. I refund the second charge today."),
    ];
    let transcript =
        Transcript { language: Some("en".to_owned()), timing: Timing::Estimated, segments, ends_early: None };
    let mut held = delivery(1, "slack", "#calls", "unknown");
    held.detail = Some("Slack's answer was lost; the message may have arrived.".to_owned());
    let mut jobs: Vec<_> = ["download", "transcribe", "analyze", "notify", "notify", "notify"]
        .iter()
        .zip(10..)
        .map(|(step, id)| job(id, step, "completed"))
        .collect();
    jobs[4].target = Some(Uuid::from_u128(1));
    jobs[5].target = Some(Uuid::from_u128(2));
    jobs[5].state = "failed".to_owned();
    let mut attempts: Vec<_> = jobs
        .iter()
        .zip(10..)
        .map(|(job, second)| attempt(job, 1, &format!("06:21:{second}"), 420, "completed"))
        .collect();
    (attempts[1].cost_micro_units, attempts[2].cost_micro_units) = (Some(18_600), Some(1_100));
    attempts[5].outcome = "failed".to_owned();
    attempts[5].message = Some("The mail server refused the address (550): no such user here.".to_owned());
    attempts[5].error_class = Some("smtp_recipient_refused".to_owned());
    Story {
        call: CallRow { state_reason: attempts[5].message.clone(), ..call("completed") },
        transcript: Some(transcript),
        analysis: Some(analysis()),
        action_items: vec![
            item("Refund the second charge of order four four one seven", Some("Dana"), Some("by tomorrow noon"), true),
            item("Call the competitor", None, None, false),
        ],
        deliveries: vec![held, delivery(2, "email", "nobody@example.com", "failed")],
        jobs,
        attempts,
        cost: CallCost {
            total: Cost { micro_units: Some(19_700), waste_micro_units: Some(0) },
            steps: vec![paid("download", Some(0)), paid("transcribe", Some(18_600)), paid("analyze", Some(1_100))],
            ..CallCost::default()
        },
    }
}

fn paid(step: &str, micro_units: Option<i64>) -> StepCost {
    StepCost { step: step.to_owned(), cost: Cost { micro_units, waste_micro_units: Some(0) } }
}

/// A call that waits for a key.
fn waiting() -> Story {
    let reason = "The transcription server refused our key. Check TRANSCRIPTION_API_KEY or OPENAI_API_KEY.";
    let mut waiting = job(11, "transcribe", "available");
    (waiting.run_at, waiting.reason) = (at("07:10:00"), Some(reason.to_owned()));
    let download = job(10, "download", "completed");
    let mut refused = attempt(&waiting, 1, "06:21:14", 350, "waiting");
    refused.message = Some(reason.to_owned());
    (refused.error_class, refused.request_id) = (Some("key_refused".to_owned()), Some("req_0a1b2c".to_owned()));
    Story {
        call: CallRow { state_reason: Some(reason.to_owned()), waiting_until: Some(at("07:10:00")), ..call("waiting") },
        transcript: None,
        analysis: None,
        action_items: Vec::new(),
        deliveries: Vec::new(),
        attempts: vec![attempt(&download, 1, "06:21:11", 1_240, "completed"), refused],
        jobs: vec![download, waiting],
        cost: CallCost::default(),
    }
}

fn assert_fits(text: &str) {
    for line in text.lines() {
        assert!(width_of(line) <= 80, "{} columns: {line}", width_of(line));
    }
}

fn rendered(story: &Story, transcript: bool) -> String {
    let text = page::page(&Screen::for_tests(), story, transcript);
    assert_fits(&text);
    text
}

#[test]
fn a_complete_call_on_a_page() {
    let text = rendered(&complete(), true);
    assert!(!text.contains('\u{1b}') && !text.contains("signature"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn what_a_stand_in_made_says_so() {
    let mut story = complete();
    assert!(!rendered(&story, false).contains("stand-in"));
    story.analysis.as_mut().unwrap().model = Some("stand-in".to_owned());
    assert!(rendered(&story, false).contains("Made by     Summary by a stand-in, not by a real model\n"));
    story.attempts[1].model = Some("stand-in".to_owned());
    assert!(rendered(&story, false).contains("Transcript and summary by a stand-in"));
}

#[test]
fn a_waiting_call_on_a_page() {
    insta::assert_snapshot!(rendered(&waiting(), false));
}

#[test]
fn costs_say_what_was_wasted_and_what_is_not_known() {
    let told = |cost: &CallCost| {
        let text = page::page(&Screen::for_tests(), &Story { cost: cost.clone(), ..waiting() }, false);
        assert_fits(&text);
        let told = text.split_once("Cost ").unwrap().1.split_once("  Sender's id").unwrap().0.to_owned();
        told.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(told(&CallCost::default()), "$0.00");
    let mut cost = CallCost {
        total: Cost { micro_units: Some(5_200), waste_micro_units: Some(1_100) },
        steps: vec![paid("transcribe", Some(5_200))],
        ..CallCost::default()
    };
    assert_eq!(told(&cost), "$0.0052, of it $0.0011 for failed attempts");
    cost.total = Cost { micro_units: None, waste_micro_units: None };
    cost.steps.push(paid("analyze", None));
    cost.unpriced_models = vec!["gpt-x".to_owned()];
    let unknown = "Unknown: no price for gpt-x (transcribe $0.0052, analyze unknown), of it an unknown part for failed \
                   attempts";
    assert_eq!(told(&cost), unknown);
    cost.total.waste_micro_units = Some(0);
    cost.steps.clear();
    cost.unmeasured_models = vec!["mine".to_owned()];
    assert_eq!(told(&cost), "Unknown: no price for gpt-x; mine did not say what was used");
}

#[test]
fn a_message_is_held_only_when_no_job_sends_it_again() {
    let mut story = complete();
    story.jobs[4].state = "available".to_owned();
    story.jobs[4].run_at = Screen::for_tests().now + TimeDelta::seconds(10);
    (story.attempts[4].outcome, story.attempts[4].error_class) =
        ("retry".to_owned(), Some("unknown_outcome".to_owned()));
    let text = rendered(&story, false);
    assert!(text.contains("Answer lost, sent once more in 10 s\n"), "{text}");
    assert!(text.contains("Slack to #calls: answer lost, to be sent once more"), "{text}");
    assert!(!text.contains("eld") && !text.contains("may or may not"), "{text}");
    story.deliveries[0].repeated = true;
    assert!(rendered(&story, false).contains("Held: answer lost, possible repeat, Today 07:21"));
}

#[test]
fn later_runs_and_days_have_lines_of_their_own() {
    let mut story = waiting();
    story.call.run = 2;
    let mut again = job(20, "transcribe", "completed");
    again.run = 2;
    let mut late = attempt(&again, 1, "06:59:00", 12_400, "completed");
    late.started_at += TimeDelta::days(1);
    late.ended_at += TimeDelta::days(1);
    late.cost_micro_units = None;
    story.attempts.push(late);
    story.jobs.push(again);
    let text = rendered(&story, false);
    let told = &text[text.find("What happened").unwrap()..];
    insta::assert_snapshot!(told);
}

#[test]
fn the_list_fits_80_columns() {
    let mut long = call("processing");
    long.external_id = "0d9f4c1e-7c62-4b7e-9f0e-5a3c8f1f2b11".to_owned();
    long.caller_name = Some("Maximiliane Freifrau von und zu Hohenstein".to_owned());
    (long.started_at, long.occurred_at) = (None, at("08:12:00") - TimeDelta::days(4));
    let mut bare = call("no_recording");
    (bare.caller_name, bare.caller_number, bare.duration_seconds) = (None, None, None);
    let calls = [call("completed"), call("waiting"), long, bare, call("failed")];
    let text = page_of_calls(&Screen::for_tests(), &calls, None, true);
    assert_fits(&text);
    insta::assert_snapshot!("list_with_long_ids", text);
    let text = page_of_calls(&Screen::for_tests(), &calls[..2], None, false);
    assert_fits(&text);
    insta::assert_snapshot!("list_with_short_ids", text);
    let narrow = Screen { width: 40, ..Screen::for_tests() };
    for calls in [&calls[..2], &calls] {
        let text = page_of_calls(&narrow, calls, None, true);
        assert!(text.lines().all(|line| width_of(line) <= 40), "{text}");
        assert!(text.contains(&handle(&calls[0])), "{text}");
    }
}

#[test]
fn hints_lead_to_the_same_data_folder() {
    let screen = Screen { flags: " --data-dir 'my data'".to_owned(), ..Screen::for_tests() };
    let texts = [
        page_of_calls(&screen, &[call("failed")], None, false),
        page_of_calls(&screen, &[], None, false),
        page::page(&screen, &waiting(), false),
        page::page(&screen, &complete(), false),
    ];
    for text in texts {
        let commands = text.replace(" \\\n", "").matches("goto-automation ").count();
        assert_eq!(text.matches("--data-dir 'my data'").count(), commands, "{text}");
    }
}

#[test]
fn commands_can_be_pasted() {
    let named = |id: &str| handle(&CallRow { external_id: id.to_owned(), ..call("completed") });
    assert_eq!(named("call-0001"), "call-0001");
    for id in ["; rm -rf x", "-x", "$(x)", "", &"x".repeat(37)] {
        assert_eq!(named(id), call("completed").id.to_string());
    }
}

#[test]
fn an_empty_list_says_what_fills_it() {
    assert!(page_of_calls(&Screen::for_tests(), &[], None, false).contains("simulate"));
    assert!(page_of_calls(&Screen::for_tests(), &[], Some("failed"), false).contains("Leave out --state"));
}

#[test]
fn json_keeps_its_shape() {
    let now = Screen::for_tests().now;
    insta::assert_json_snapshot!("show", StoryJson::new(&complete(), now, true));
    let story = waiting();
    let bare = serde_json::to_value(StoryJson::new(&story, now, false)).unwrap();
    assert!(bare.get("transcript").is_none() && bare["summary"].is_null());
    assert_eq!(bare["jobs"][1]["waiting_until"], "2026-11-17T07:10:00Z");
    let brief = Brief {
        summary: Some("A refund.".to_owned()),
        sentiment: Some("neutral".to_owned()),
        urgency: Some(3),
        topics: Some(vec!["billing".to_owned()]),
    };
    let bare = CallRow { id: Uuid::nil(), ..call("processing") };
    let listed = |call, brief| ListedCall { call, brief, key: 0 };
    let calls =
        [(listed(story.call.clone(), brief), complete().cost), (listed(bare, Brief::default()), CallCost::default())];
    insta::assert_json_snapshot!("list", ListJson::new(&calls));
    let begun = RerunJson { call_id: story.call.id, external_id: "call-0001", run: 2, from: "analyze" };
    insta::assert_json_snapshot!("rerun", begun);
}
