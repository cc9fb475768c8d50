//! The words that people read, the same as on the dashboard.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Ink, Screen};
use crate::queue::JobRow;
use crate::store::deliveries::DeliveryRow;

/// `Completed`, with the ink that it deserves.
pub fn call_state(state: &str) -> (Ink, &str) {
    match state {
        "processing" => (Ink::Plain, "Processing"),
        "waiting" => (Ink::Amber, "Waiting"),
        "completed" => (Ink::Plain, "Completed"),
        "no_recording" => (Ink::Plain, "No recording"),
        "failed" => (Ink::Red, "Failed"),
        other => (Ink::Plain, other),
    }
}

/// Where a job stands, and the time that belongs to it: `Running since` + its start, `Failed` + its end.
pub fn job_state<'a>(screen: &Screen, job: &'a JobRow) -> (Ink, &'a str, String) {
    let time = |at: Option<DateTime<Utc>>| at.map(|at| screen.time(at)).unwrap_or_default();
    match job.state.as_str() {
        "available" if screen.is_soon(job.run_at) => (Ink::Amber, "Goes on", screen.soon(job.run_at)),
        "available" if job.run_at > screen.now => (Ink::Amber, "Waits until", screen.time(job.run_at)),
        "available" if job.paused_at.is_some() => (Ink::Amber, "Paused since", time(job.paused_at)),
        "available" => (Ink::Plain, "Due since", screen.time(job.run_at)),
        "running" if lease_is_over(screen, job) => (Ink::Amber, "Lease over", time(job.lease_until)),
        "running" => (Ink::Plain, "Running since", time(job.claimed_at)),
        "completed" => (Ink::Plain, "Completed", time(job.finished_at)),
        "failed" => (Ink::Red, "Failed", time(job.finished_at)),
        "cancelled" => (Ink::Grey, "Cancelled", time(job.finished_at)),
        other => (Ink::Plain, other, String::new()),
    }
}

/// That a step is paused, by whom, since when and why, if it is; followed by the command that ends it.
pub fn pause(
    screen: &Screen,
    step: &str,
    since: Option<DateTime<Utc>>,
    by: Option<&str>,
    reason: Option<&str>,
) -> Option<String> {
    let since = screen.time(since?);
    let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    // Whoever wrote the reason may have ended it as a sentence.
    let end = if reason.ends_with(['.', '!', '?']) { "" } else { "." };
    Some(format!("{step} is paused{by} since {since}{reason}{end} To let it go on:"))
}

/// From when on other workers may take a running job: a living worker renews its lease long before.
pub fn free_for_others(screen: &Screen, job: &JobRow) -> Option<String> {
    let until = job.lease_until.filter(|_| job.state == "running")?;
    let word = if lease_is_over(screen, job) { "since" } else { "at" };
    Some(format!("free for others {word} {}", screen.clock(until)))
}

/// Whether the worker of a running job has stopped renewing its lease: it is dead, frozen, or cut off.
fn lease_is_over(screen: &Screen, job: &JobRow) -> bool {
    job.state == "running" && job.lease_until.is_some_and(|until| until <= screen.now)
}

/// A step that has ended well.
pub fn step_done(step: &str) -> String {
    match step {
        "download" => "Recording downloaded".to_owned(),
        "transcribe" => "Transcribed".to_owned(),
        "analyze" => "Analyzed".to_owned(),
        "notify" => "Messages sent".to_owned(),
        other => format!("{} done", capitalised(other)),
    }
}

/// Where a message stands. `job` is the latest one that was made to send it: while that is open, a message whose answer
/// was lost is not held but sent once more.
pub fn delivery_state(screen: &Screen, delivery: &DeliveryRow, job: Option<&JobRow>) -> (Ink, String) {
    let (ink, state) = match delivery.state.as_str() {
        "pending" => (Ink::Plain, "Not sent yet"),
        "sending" => (Ink::Plain, "Being sent"),
        "sent" => (Ink::Plain, "Sent"),
        "unknown" => match job.filter(|job| goes_again(delivery, job)) {
            Some(job) => return (Ink::Amber, format!("Answer lost, sent once more {}", screen.soon(job.run_at))),
            None => (Ink::Amber, "Held: answer lost"),
        },
        "failed" => (Ink::Red, "Refused"),
        other => (Ink::Plain, other),
    };
    (ink, format!("{state}{}", if delivery.repeated { ", possible repeat" } else { "" }))
}

/// Whether an open job sends a message once more whose answer was lost; nobody gets it a third time.
pub fn goes_again(delivery: &DeliveryRow, job: &JobRow) -> bool {
    job.target == Some(delivery.id) && is_open(job) && !delivery.repeated
}

/// Whether something is still to come of a job.
pub fn is_open(job: &JobRow) -> bool {
    matches!(job.state.as_str(), "available" | "running")
}

/// Name of a channel.
pub fn channel(channel: &str) -> String {
    if channel == "email" { "E-mail".to_owned() } else { capitalised(channel) }
}

/// What there is to hear of a call in this state.
pub fn recording<'a>(recording: &'a str, call_state: &str) -> &'a str {
    match recording {
        "available" => "Available",
        "none" => "None, the call was not recorded",
        "pending" if call_state == "failed" => "Not downloaded: it failed",
        "pending" => "Not downloaded yet",
        "expired" => "Deleted by age",
        "erased" => "Erased on request",
        other => other,
    }
}

/// 1 to 5 as a word.
pub fn urgency(urgency: i16) -> &'static str {
    match urgency {
        i16::MIN..=1 => "No hurry",
        2 => "This week",
        3 => "Soon",
        4 => "Today",
        5..=i16::MAX => "Now",
    }
}

/// The customer's mood.
pub fn sentiment(sentiment: crate::model::Sentiment) -> &'static str {
    use crate::model::Sentiment;
    match sentiment {
        Sentiment::Positive => "Pleased",
        Sentiment::Neutral => "Neutral",
        Sentiment::Negative => "Upset",
        Sentiment::Mixed => "Mixed",
    }
}

/// How long a call took: `29 s`, `4 min 8 s`, `1 h 5 min`.
pub fn seconds(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// How long an attempt took: under ten seconds with tenths.
pub fn duration(duration: Duration) -> String {
    if duration < Duration::from_secs(10) {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        seconds(duration.as_secs() as i64)
    }
}

/// Time between two moments; a clock that went back counts as nothing.
pub fn between(start: DateTime<Utc>, end: DateTime<Utc>) -> String {
    duration((end - start).to_std().unwrap_or_default())
}

/// A place in the recording: `0:54`, `1:02:03`.
pub fn position(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1000;
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds % 3600 / 60, seconds % 60),
    }
}

/// An amount in millionths of a US dollar: `$0.54`, under one cent with four decimals.
pub fn money(micro_units: i64) -> String {
    let (ten_thousandths, cents) = (micro_units.saturating_add(50) / 100, micro_units.saturating_add(5_000) / 10_000);
    match micro_units {
        ..=0 => "$0.00".to_owned(),
        _ if ten_thousandths == 0 => "under $0.0001".to_owned(),
        _ if ten_thousandths < 100 => format!("$0.{ten_thousandths:04}"),
        _ => format!("${}.{:02}", cents / 100, cents % 100),
    }
}

/// `1 job`, `2 jobs`.
pub fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// With a capital first letter.
pub fn capitalised(word: &str) -> String {
    let mut rest = word.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, "0 s")]
    #[case(59, "59 s")]
    #[case(248, "4 min 8 s")]
    #[case(3900, "1 h 5 min")]
    #[case(-1, "0 s")]
    fn lengths_are_said_in_two_parts(#[case] value: i64, #[case] expected: &str) {
        assert_eq!(seconds(value), expected);
    }

    #[rstest]
    #[case(0, "$0.00")]
    #[case(49, "under $0.0001")]
    #[case(50, "$0.0001")]
    #[case(5_200, "$0.0052")]
    #[case(9_949, "$0.0099")]
    #[case(9_950, "$0.01")]
    #[case(544_999, "$0.54")]
    #[case(12_345_678, "$12.35")]
    #[case(-1, "$0.00")]
    #[case(i64::MAX, "$9223372036854.77")]
    fn money_under_a_cent_has_four_decimals(#[case] micro_units: i64, #[case] expected: &str) {
        assert_eq!(money(micro_units), expected);
    }

    #[rstest]
    #[case(420, "0.4 s")]
    #[case(12_400, "12 s")]
    #[case(248_000, "4 min 8 s")]
    fn attempts_are_told_to_a_tenth(#[case] milliseconds: u64, #[case] expected: &str) {
        assert_eq!(duration(Duration::from_millis(milliseconds)), expected);
    }

    #[rstest]
    #[case("pending", "waiting", "Not downloaded yet")]
    #[case("pending", "failed", "Not downloaded: it failed")]
    #[case("available", "failed", "Available")]
    fn a_recording_that_failed_says_so(#[case] state: &str, #[case] call_state: &str, #[case] expected: &str) {
        assert_eq!(recording(state, call_state), expected);
    }

    #[rstest]
    #[case(54_900, "0:54")]
    #[case(3_723_000, "1:02:03")]
    fn positions_read_like_a_player(#[case] milliseconds: i64, #[case] expected: &str) {
        assert_eq!(position(milliseconds), expected);
    }
}
