//! Asks for one variable after the other and remembers everything that is wrong.

use super::words::Meaning;
use super::{ConfigErrors, Problem};

/// Reads variables; a wrong one is remembered and read as if it were not set, so that the rest is checked too.
pub struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Reader<'a> {
        Reader { lookup, problems: Vec::new(), warnings: Vec::new() }
    }

    /// The value as it came; `None` when not set or empty. For passwords, whose blanks may count.
    pub fn raw(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.trim().is_empty())
    }

    /// The value without blanks around it.
    pub fn text(&self, name: &str) -> Option<String> {
        self.raw(name).map(|value| value.trim().to_owned())
    }

    /// Whether there is a value, right or wrong.
    pub fn is_set(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// What the value means; `None` when not set or wrong.
    pub fn meaning<T>(&mut self, name: &str, meaning: impl FnOnce(&str) -> Meaning<T>) -> Option<T> {
        match meaning(&self.text(name)?) {
            Ok(meaning) => Some(meaning),
            Err(wrong) => {
                self.problem(name, wrong);
                None
            }
        }
    }

    /// Remembers what is wrong, once: a variable that serves two purposes is read twice.
    pub fn problem(&mut self, name: &str, problem: impl Into<String>) {
        let problem = Problem::new(name, problem);
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    pub fn warn(&mut self, sentence: impl Into<String>) {
        self.warnings.push(sentence.into());
    }

    /// The warnings, if nothing was wrong.
    pub fn finish(self) -> Result<Vec<String>, ConfigErrors> {
        if self.problems.is_empty() { Ok(self.warnings) } else { Err(ConfigErrors(self.problems)) }
    }
}
