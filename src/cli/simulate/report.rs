//! What became of all webhooks.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::send::{Answer, Verdict};
use crate::cli::render::words;

/// Counts, reasons and times.
#[derive(Debug, Default)]
pub struct Report {
    accepted: usize,
    duplicates: usize,
    ignored: usize,
    refused: BTreeMap<String, usize>,
    times: Vec<Duration>,
    /// From the first request to the last answer.
    pub took: Duration,
}

impl Report {
    /// Counts one in; `None` = our own task broke.
    pub fn add(&mut self, answer: Option<Answer>) {
        let broken = || Answer { verdict: Verdict::Refused("not sent: an error of our own".to_owned()), took: None };
        let answer = answer.unwrap_or_else(broken);
        match answer.verdict {
            Verdict::Accepted => self.accepted += 1,
            Verdict::Duplicate => self.duplicates += 1,
            Verdict::Ignored => self.ignored += 1,
            Verdict::Refused(reason) => *self.refused.entry(reason).or_default() += 1,
        }
        self.times.extend(answer.took);
    }

    /// Whether nothing was refused.
    pub fn all_taken(&self) -> bool {
        self.refused.is_empty()
    }

    /// The report, and where to look next; `flags` lead the next command to the same `dev`.
    pub fn told(&self, last_id: Option<String>, outbox_url: Option<&str>, flags: &str) -> String {
        let refused: usize = self.refused.values().sum();
        let sent = self.accepted + self.duplicates + self.ignored + refused;
        let mut text = format!(
            "{} sent in {}: {} accepted, {}",
            words::count(sent, "webhook"),
            words::duration(self.took),
            self.accepted,
            words::count(self.duplicates, "duplicate")
        );
        if self.ignored > 0 {
            let _ = write!(text, ", {} ignored", self.ignored);
        }
        let _ = writeln!(text, ", {refused} refused.");
        for (reason, count) in &self.refused {
            let _ = writeln!(text, "  {count} x {reason}");
        }
        if let (Some(half), Some(most)) = (self.percentile(50), self.percentile(95)) {
            let _ = writeln!(text, "Answer times: p50 {half} ms, p95 {most} ms.");
        }
        if self.accepted > 0 {
            let command = match last_id {
                Some(id) if self.accepted == 1 && sent == 1 => format!("calls show {id}"),
                _ => "calls list".to_owned(),
            };
            let _ = writeln!(text, "\nWhat becomes of them:  goto-automation {command}{flags}");
            if let Some(url) = outbox_url {
                let _ = writeln!(text, "Their messages:        {url}");
            }
        }
        text
    }

    /// The time within which so many of a hundred answers came, in milliseconds; the nearest rank.
    fn percentile(&self, percent: usize) -> Option<u128> {
        let mut times = self.times.clone();
        times.sort_unstable();
        let rank = (times.len() * percent).div_ceil(100).max(1);
        times.get(rank - 1).map(Duration::as_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(verdict: Verdict, milliseconds: u64) -> Answer {
        Answer { verdict, took: Some(Duration::from_millis(milliseconds)) }
    }

    #[test]
    fn all_is_told() {
        let mut report = Report { took: Duration::from_millis(2_140), ..Report::default() };
        for milliseconds in 1..=20 {
            report.add(Some(answer(Verdict::Accepted, milliseconds)));
        }
        report.add(Some(answer(Verdict::Duplicate, 1)));
        report.add(Some(answer(Verdict::Ignored, 1)));
        report.add(Some(answer(Verdict::Refused("401 invalid_signature: No.".to_owned()), 1)));
        report.add(None);
        assert!(!report.all_taken());
        insta::assert_snapshot!(report.told(Some("sim-1-0001".to_owned()), Some("http://127.0.0.1:8000/dev/outbox"), " --data-dir /d"), @r"
        24 webhooks sent in 2.1 s: 20 accepted, 1 duplicate, 1 ignored, 2 refused.
          1 x 401 invalid_signature: No.
          1 x not sent: an error of our own
        Answer times: p50 9 ms, p95 19 ms.

        What becomes of them:  goto-automation calls list --data-dir /d
        Their messages:        http://127.0.0.1:8000/dev/outbox
        ");
    }

    #[test]
    fn a_single_call_is_named() {
        let mut report = Report::default();
        report.add(Some(answer(Verdict::Accepted, 4)));
        assert!(report.told(Some("sim-1-0001".to_owned()), None, "").contains("calls show sim-1-0001"));
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut report = Report::default();
        assert_eq!(report.percentile(50), None);
        for milliseconds in [30, 10, 20] {
            report.add(Some(answer(Verdict::Accepted, milliseconds)));
        }
        assert_eq!((report.percentile(50), report.percentile(95)), (Some(20), Some(30)));
    }
}
