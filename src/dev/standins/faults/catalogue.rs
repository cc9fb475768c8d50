//! THE list of faults. Adding one: a line in the list of its kind of upstream, and one in `docs/faults.md`.

use std::sync::LazyLock;
use std::time::Duration;

use poem::Response;
use serde_json::Value;

use super::{Occasion, Stage, mail, openai, recordings, slack};
use crate::dev::standins::Upstream;

static ALL: LazyLock<Vec<Fault>> = LazyLock::new(|| {
    [recordings::faults(), openai::speech(), openai::language_model(), slack::faults(), mail::faults()].concat()
});

/// All faults, upstream by upstream.
pub fn all() -> &'static [Fault] {
    &ALL
}

/// The faults of one upstream.
pub fn of(upstream: Upstream) -> impl Iterator<Item = &'static Fault> {
    all().iter().filter(move |fault| fault.upstream == upstream)
}

/// One way to misbehave.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Who does it.
    pub upstream: Upstream,
    /// Its name in a plan.
    pub name: &'static str,
    /// What happens, in half a sentence.
    pub does: &'static str,
    pub(super) act: Act,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    /// Nothing is done for it, and this is the answer.
    Refuse(fn(&Scene) -> Response),
    /// The same, but only for audio of more than so many seconds.
    RefuseLonger(f64, fn(&Scene) -> Response),
    /// The same as [`Self::Refuse`], but only at the doors of Slack that know the fault's name as a word.
    Word,
    /// It is done, and this is the answer all the same: what was done is lost.
    Lose(fn(&Scene) -> Response),
    /// The same as [`Self::Word`], for words that may follow on something done.
    LoseWord,
    /// It is done, and the answer's head is changed.
    Relabel(fn(&mut Response)),
    /// It is done, and the answer's JSON is changed.
    Change(fn(&mut Value)),
    /// It is done; half of the answer arrives, then the connection breaks.
    Half,
    /// It is done; the connection breaks before the first byte of the answer.
    Reset,
    /// It is done; nobody ever answers.
    Silence,
    /// At a stage of an SMTP conversation.
    Mail(Stage, MailAct),
}

/// What a mail server does instead of its usual reply. From [`Stage::Dot`] on the mail is kept unless it refuses.
#[derive(Debug, Clone, Copy)]
pub(in crate::dev::standins) enum MailAct {
    /// Says this; 421 ends the conversation.
    Say(&'static str),
    /// Closes the connection.
    Cut,
    /// Says nothing until the client leaves.
    Silence,
}

/// What an answer may depend on.
#[derive(Debug, Clone)]
pub(in crate::dev::standins) struct Scene {
    /// The fault's name.
    pub name: &'static str,
    /// Path of the request, without its query.
    pub path: String,
    /// Where the client thinks that it is: `127.0.0.1:4711`.
    pub host: String,
    /// How long the upstream asks to wait.
    pub wait: Duration,
}

impl Fault {
    /// Whether it can happen here.
    pub(super) fn fits(&self, occasion: &Occasion<'_>) -> bool {
        match self.act {
            Act::Mail(stage, _) => occasion.stage == Some(stage),
            Act::Word | Act::LoseWord => slack::knows(self.name, occasion.path),
            _ => true,
        }
    }

    /// Nothing is done for the request.
    pub(in crate::dev::standins) fn refuses(&self) -> bool {
        matches!(self.act, Act::Refuse(_) | Act::Word)
    }

    /// What was done does not reach the client.
    pub(in crate::dev::standins) fn loses(&self) -> bool {
        match self.act {
            Act::Lose(_) | Act::LoseWord | Act::Half | Act::Reset | Act::Silence => true,
            Act::Mail(stage, act) => stage == Stage::Dot && !matches!(act, MailAct::Say(_)),
            Act::Refuse(_) | Act::RefuseLonger(..) | Act::Word | Act::Relabel(_) | Act::Change(_) => false,
        }
    }

    /// What a mail server does, if it is about one.
    pub(in crate::dev::standins) fn mail(&self) -> Option<MailAct> {
        match self.act {
            Act::Mail(_, act) => Some(act),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::dev::standins::faults::plan::Plan;

    const GUIDE: &str = include_str!("../../../../docs/faults.md");

    #[test]
    fn names_are_unique_and_every_upstream_has_some() {
        let names: HashSet<_> = all().iter().map(|fault| (fault.upstream, fault.name)).collect();
        assert_eq!(names.len(), all().len());
        assert!(Upstream::ALL.iter().all(|upstream| of(*upstream).count() > 10));
    }

    #[test]
    fn the_guide_names_every_fault_and_no_other() {
        let list = GUIDE.split("## List of faults").nth(1).unwrap();
        let lines: HashSet<_> = list.lines().filter(|line| line.starts_with("| `")).collect();
        let line = |fault: &Fault| format!("| `{}` | `{}` | {} |", fault.upstream, fault.name, fault.does);
        let expected: Vec<String> = all().iter().map(line).collect();
        let missing: Vec<_> = expected.iter().filter(|line| !lines.contains(line.as_str())).collect();
        assert!(missing.is_empty(), "docs/faults.md lacks {missing:#?}");
        assert_eq!(lines.len(), expected.len());
    }

    #[test]
    fn the_example_of_the_guide_is_a_plan() {
        let example = GUIDE.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        assert!(example.parse::<Plan>().unwrap().rules.len() > 5);
    }
}
