//! How jobs read at 80 columns, and what `--json` looks like.

use uuid::Uuid;

use super::bulk::{ItemJson, ItemsJson};
use super::samples::{at, attempt, job};
use super::*;
use crate::cli::render::width_of;
use crate::queue::Act;
use crate::store::deliveries::DeliveryRow;

const KEY_REFUSED: &str = "The transcription server refused our key. Check TRANSCRIPTION_API_KEY or OPENAI_API_KEY; \
                           the job goes on by itself once the key is right.";

fn jobs() -> Vec<JobRow> {
    let mut failed = job(15, "transcribe", "failed");
    (failed.starts, failed.attempts) = (8, 8);
    failed.reason = Some("The transcription server answered 500 eight times. Look at its status page.".to_owned());
    let mut waiting = job(14, "analyze", "available");
    (waiting.run_at, waiting.reason) = (at("07:10:00"), Some(KEY_REFUSED.to_owned()));
    let mut cancelled = job(9, "download", "cancelled");
    cancelled.reason = Some("A later run of the call took its place.".to_owned());
    vec![
        failed,
        waiting,
        job(13, "download", "running"),
        job(12, "notify", "available"),
        job(11, "notify", "completed"),
        cancelled,
    ]
}

fn assert_fits(text: &str) {
    for line in text.lines() {
        assert!(width_of(line) <= 80, "{} columns: {line}", width_of(line));
    }
}

#[test]
fn the_list_fits_80_columns() {
    let text = listed(&Screen::for_tests(), &jobs(), true, true);
    assert_fits(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn a_wide_screen_shows_more() {
    let screen = Screen { width: 150, ..Screen::for_tests() };
    let text = listed(&screen, &jobs()[..2], true, false);
    insta::assert_snapshot!(text);
}

#[test]
fn an_empty_list_says_what_fills_it() {
    let text = listed(&Screen::for_tests(), &[], true, false);
    assert!(text.contains("simulate"), "{text}");
    assert!(listed(&Screen::for_tests(), &[], false, false).contains("Leave out --state"));
}

#[test]
fn a_failed_job_on_a_page() {
    let mut failed = jobs().remove(0);
    failed.reason = Some("The transcription server answered 500 eight times. Look at its status page.".to_owned());
    let mut first = attempt(&failed, 1, "06:21:14", 2_100, "retry");
    first.message = Some("The transcription server answered 500. It is tried again in 30 s.".to_owned());
    (first.error_class, first.request_id) = (Some("server_error".to_owned()), Some("req_0a1b2c3d4e5f".to_owned()));
    let mut lost = attempt(&failed, 2, "06:22:00", 90_000, "lost");
    lost.message = Some("The worker stopped without an end; the lease ran out.".to_owned());
    (lost.late_outcome, lost.late_at) = (Some("completed".to_owned()), Some(at("06:25:10")));
    let mut end = attempt(&failed, 8, "06:50:00", 600_000, "failed");
    end.message = failed.reason.clone();
    let text = page::page(&Screen::for_tests(), &failed, None, &[first, lost, end], &[]);
    assert_fits(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn a_running_job_tells_when_others_may_take_it() {
    let mut running = job(13, "download", "running");
    let text = page::page(&Screen::for_tests(), &running, None, &[], &[]);
    assert_fits(&text);
    assert!(text.contains("Running since Today 07:21\n") && text.contains("Worker      desk-4711\n"), "{text}");
    let lease = "Lease       since Today 07:21; free for others at 08:05:10, unless its worker\n";
    assert!(text.contains(lease), "{text}");
    assert!(text.contains("desk-4711 is at Job 13 (download) since Today 07:21. Should it be gone,"), "{text}");
    running.lease_until = Some(at("07:01:00"));
    let listed = listed(&Screen::for_tests(), &[running], true, false);
    assert!(listed.contains("Lease over  Today 08:01      1  Free for others since 08:01:00"), "{listed}");
}

#[test]
fn looks_for_what_is_not_there_yet_are_one_row() {
    let mut waiting = job(14, "download", "available");
    (waiting.starts, waiting.attempts) = (7, 0);
    (waiting.run_at, waiting.waiting_since) = (at("07:04:12"), Some(at("06:21:15")));
    let look = |number: i32| {
        let mut look = attempt(&waiting, number, &format!("06:{}:14", 20 + number), 350, "waiting");
        look.message = Some("media.example.com does not have the recording yet (HTTP 404).".to_owned());
        look.error_class = Some("not_ready".to_owned());
        look
    };
    let mut looks: Vec<_> = (1..=7).map(look).collect();
    let page = |looks: &[AttemptRow]| {
        let text = page::page(&Screen::for_tests(), &waiting, None, looks, &[]);
        assert_fits(&text);
        text
    };
    insta::assert_snapshot!(page(&looks));
    // A wait of another kind is a row of its own, and has another deadline.
    looks[6].error_class = Some("key_refused".to_owned());
    let text = page(&looks);
    assert!(text.contains("6 times (starts 1 to 6)") && text.contains("has to wait (start 7)"), "{text}");
    assert!(text.replace("\n  ", " ").contains("given up Tue 24 Nov"), "{text}");
}

#[test]
fn a_message_on_a_page() {
    let mut waiting = job(16, "notify", "available");
    let delivery = DeliveryRow {
        id: Uuid::from_u128(16),
        channel: "email".to_owned(),
        destination: "team@example.com".to_owned(),
        state: "pending".to_owned(),
        repeated: false,
        reference: None,
        detail: None,
        message_date: at("06:21:30"),
        updated_at: at("06:21:31"),
    };
    (waiting.target, waiting.run_at) = (Some(delivery.id), at("07:10:00"));
    waiting.reason = Some("The mail server is busy (451).".to_owned());
    let mut busy = attempt(&waiting, 1, "06:21:30", 310, "retry");
    busy.message = waiting.reason.clone();
    let text = page::page(&Screen::for_tests(), &waiting, None, &[busy], &[delivery]);
    assert_fits(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn json_keeps_its_shape() {
    let now = Screen::for_tests().now;
    let jobs = jobs();
    let items = jobs[..2].iter().map(|job| JobJson::new(job, now)).collect();
    insta::assert_json_snapshot!("list", ListJson { items });
    let attempts = [attempt(&jobs[0], 1, "06:21:14", 2_100, "retry")];
    insta::assert_json_snapshot!("show", ShowJson { job: JobJson::new(&jobs[0], now), attempts: &attempts });
    let refused = ItemJson { id: 13, result: "refused", reason: Some("running".to_owned()) };
    let items = vec![ItemJson { id: 12, result: "due", reason: None }, refused];
    insta::assert_json_snapshot!("retry", ItemsJson { items });
}

#[test]
fn acts_are_told_one_by_one() {
    let item = |act: &Act, result, reason: Option<&str>| {
        bulk::told(act, &ItemJson { id: 7, result, reason: reason.map(str::to_owned) })
    };
    let cancel = Act::Cancel(String::new());
    assert_eq!(item(&Act::Retry, "due", None), "Job 7 is due now, with all its attempts.\n");
    assert_eq!(item(&Act::Retry, "not_found", None), "There is no job 7.\n");
    assert_eq!(item(&Act::Retry, "refused", Some("running")), "Job 7 is running: it cannot be retried.\n");
    assert_eq!(item(&cancel, "cancelled", None), "Job 7 is cancelled.\n");
    assert_eq!(item(&cancel, "refused", Some("completed")), "Job 7 is completed: it cannot be cancelled.\n");
    assert_eq!(item(&Act::Prioritize(10), "prioritized", None), "Job 7 has priority 10.\n");
}

#[test]
fn a_paused_step_is_explained_where_its_jobs_are_seen() {
    let mut due = job(12, "transcribe", "available");
    due.paused_at = Some(at("06:30:00"));
    due.paused_by = Some("dana@desk".to_owned());
    due.pause_reason = Some("The vendor moves its servers".to_owned());
    let list = listed(&Screen::for_tests(), &[due.clone(), job(11, "download", "completed")], true, false);
    assert_fits(&list);
    insta::assert_snapshot!("paused_list", list);
    let text = page::page(&Screen::for_tests(), &due, None, &[], &[]);
    assert_fits(&text);
    insta::assert_snapshot!("paused_page", text);
}
