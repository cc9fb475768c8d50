//! `docs/failures.md` as the stories read it: whatever goes wrong in any of them must be as its row says.

use std::sync::LazyLock;

use goto_automation::config::VARIABLES;
use goto_automation::queue::AttemptRow;

/// The guide.
pub const GUIDE: &str = include_str!("../../../docs/failures.md");

/// A row of one of its tables.
#[derive(Debug)]
pub struct Row {
    /// The word in its first cell.
    pub word: &'static str,
    /// The other cells.
    pub cells: Vec<&'static str>,
}

/// The rows about jobs and deliveries: step, what happened, by itself, what to do.
pub static FAILURES: LazyLock<Vec<Row>> = LazyLock::new(|| rows("## Jobs and deliveries"));
/// The rows about requests: status, what happened, what to do.
pub static PROBLEMS: LazyLock<Vec<Row>> = LazyLock::new(|| rows("## Webhooks and requests"));

/// The rows below a heading whose first cell is a word.
fn rows(heading: &str) -> Vec<Row> {
    let section = GUIDE.split(heading).nth(1).unwrap().split("\n## ").next().unwrap();
    let row = |line: &'static str| {
        let mut cells = line.trim_matches(['|', ' ']).split(" | ");
        let word = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        Some(Row { word, cells: cells.collect() })
    };
    section.lines().filter_map(row).collect()
}

impl Row {
    pub fn is_about(&self, step: &str) -> bool {
        self.cells[0] == "every step" || self.cells[0].split(", ").any(|named| named == step)
    }

    fn follows(&self, words: &str) -> bool {
        self.cells[2].contains(words)
    }
}

/// The attempt is as its row says: where, what follows, and what a person may set.
pub fn assert_told(attempt: &AttemptRow) {
    let Some(class) = attempt.error_class.as_deref() else { return };
    let row = FAILURES.iter().find(|row| row.word == class);
    let row = row.unwrap_or_else(|| panic!("docs/failures.md has no row for {attempt:#?}"));
    assert!(row.is_about(&attempt.step), "{row:#?} {attempt:#?}");
    let follows = match attempt.outcome.as_str() {
        // An upstream that fails for everybody is waited for.
        "waiting" => row.follows("waits") || row.follows("tries again"),
        // What was tried or waited for in vain has failed as well.
        "failed" => row.follows("fails") || attempt.attempt > 1,
        _ => row.follows("tries again") || row.follows("fails") && attempt.outcome == "lost",
    };
    assert!(follows, "{row:#?} {attempt:#?}");
    let message = attempt.message.as_deref().unwrap_or_default();
    let told = message.ends_with(['.', '"']) && [". ", ": ", "; "].iter().any(|end| message.contains(end));
    assert!(told, "what happened, and what to do: {attempt:#?}");
    let words = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for word in words.filter(|word| VARIABLES.iter().any(|variable| variable.name == *word)) {
        assert!(row.cells.iter().any(|cell| cell.contains(&format!("`{word}`"))), "{word}: {row:#?}");
    }
}
