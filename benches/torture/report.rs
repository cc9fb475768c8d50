//! One line per scenario: its figures, and which of them are not as they must be.

use std::fmt;
use std::time::Duration;

/// What a scenario has found out.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<String>,
    broken: usize,
    skipped: Option<String>,
    /// For whoever looks for the cause.
    pub details: Vec<String>,
}

/// All scenarios together.
#[derive(Debug, Default)]
pub struct Tally {
    passed: usize,
    pub failed: usize,
    skipped: usize,
}

impl Report {
    /// The scenario could not be played to its end.
    pub fn broken(error: &anyhow::Error) -> Self {
        Self { figures: vec![format!("{error:#}")], broken: 1, ..Self::default() }
    }

    /// The scenario cannot be played here.
    pub fn skipped(why: &str) -> Self {
        Self { skipped: Some(why.to_owned()), ..Self::default() }
    }

    /// Something to know that must not be anything.
    pub fn figure(&mut self, text: impl Into<String>) {
        self.figures.push(text.into());
    }

    /// Something that must be so.
    pub fn require(&mut self, text: impl Into<String>, holds: bool, rule: &str) {
        let text = text.into();
        self.figures.push(if holds { text } else { format!("{text} (MUST BE {rule})") });
        self.broken += usize::from(!holds);
    }

    /// A count that must be this.
    pub fn exactly(&mut self, what: &str, count: usize, expected: usize) {
        self.require(format!("{what} {count}"), count == expected, &expected.to_string());
    }

    /// A count that must not be nothing.
    pub fn some(&mut self, what: &str, count: usize) {
        self.require(format!("{what} {count}"), count > 0, "more than 0");
    }

    /// A set that must be empty.
    pub fn none(&mut self, what: &str, found: &[String]) {
        self.exactly(what, found.len(), 0);
        self.details.extend(found.iter().take(10).map(|one| format!("{what}: {one}")));
    }

    /// A time that must not be longer.
    pub fn within(&mut self, what: &str, time: Option<Duration>, limit: Duration) {
        let told = time.map_or_else(|| "never".to_owned(), shown);
        let holds = time.is_some_and(|time| time <= limit);
        self.require(format!("{what} {told}"), holds, &format!("at most {}", shown(limit)));
    }
}

impl Tally {
    /// Counts and prints a scenario.
    pub fn add(&mut self, name: &str, report: &Report, took: Duration) {
        let verdict = match (&report.skipped, report.broken) {
            (Some(why), _) => {
                self.skipped += 1;
                println!("{name} skipped: {why}");
                return;
            }
            (None, 0) => {
                self.passed += 1;
                "passed"
            }
            (None, _) => {
                self.failed += 1;
                "FAILED"
            }
        };
        println!("{name} {verdict} in {} s: {}", took.as_secs(), report.figures.join(", "));
        for detail in &report.details {
            eprintln!("  {detail}");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 { write!(f, ", {} skipped", self.skipped) } else { Ok(()) }
    }
}

/// As people say it.
pub fn shown(time: Duration) -> String {
    match time.as_millis() {
        ms @ 0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{:.1} s", time.as_secs_f64()),
        _ => format!("{:.0} s", time.as_secs_f64()),
    }
}

/// The time that so many of a hundred are not above; `None` of nothing.
pub fn percentile(times: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}
