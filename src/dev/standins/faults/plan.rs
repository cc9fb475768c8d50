//! The file of `dev --faults`: a seed and a list of rules, in TOML.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::catalogue::{self, Fault};
use crate::dev::standins::Upstream;

/// What an upstream asks for when a rule does not say how long.
const WAIT: Duration = Duration::from_secs(5);
/// Longest time in a plan: a day.
const LONGEST: f64 = 86_400.0;

/// Who misbehaves how and when.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Decides what a probability hits.
    pub seed: u64,
    /// Asked in order.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What happens.
    pub fault: &'static Fault,
    /// To which of the requests.
    pub when: When,
    /// Only so long after the start.
    pub lasts: Option<Duration>,
    /// Only to requests whose path and query contain this.
    pub path: Option<String>,
    /// Only to mails for this address.
    pub recipient: Option<String>,
    /// How long the upstream asks to wait, where it asks for it.
    pub wait: Duration,
}

/// Which of the requests that a rule sees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// All.
    Always,
    /// The first ones.
    First(u64),
    /// Every n-th.
    Every(u64),
    /// Each with this probability, decided by the seed.
    Probability(f64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    rule: Vec<WrittenRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    upstream: String,
    fault: String,
    first: Option<u64>,
    every: Option<u64>,
    probability: Option<f64>,
    for_seconds: Option<f64>,
    path: Option<String>,
    recipient: Option<String>,
    wait_seconds: Option<f64>,
}

impl Plan {
    /// Reads a plan from a file. The error says what is wrong, rule by rule, and what is known.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        text.parse().with_context(|| format!("{} is no plan of faults (see docs/faults.md)", path.display()))
    }

    /// Nothing misbehaves.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl FromStr for Plan {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let written: Written = toml::from_str(text)?;
        let (mut rules, mut problems) = (Vec::new(), Vec::new());
        for (index, rule) in written.rule.into_iter().enumerate() {
            match rule.check() {
                Ok(rule) => rules.push(rule),
                Err(problem) => problems.push(format!("rule {}: {problem}", index + 1)),
            }
        }
        ensure!(problems.is_empty(), "{}", problems.join("\n"));
        Ok(Self { seed: written.seed, rules })
    }
}

impl WrittenRule {
    fn check(self) -> anyhow::Result<Rule> {
        let upstream: Upstream = self.upstream.parse().map_err(anyhow::Error::msg)?;
        let known = || catalogue::of(upstream).map(|fault| fault.name).collect::<Vec<_>>().join(", ");
        let fault = catalogue::of(upstream).find(|fault| fault.name == self.fault);
        let fault =
            fault.with_context(|| format!("{upstream} knows no fault `{}`; it knows {}", self.fault, known()))?;
        let is_mail = upstream == Upstream::Smtp;
        ensure!(self.recipient.is_none() || is_mail, "`recipient` is for smtp only");
        ensure!(self.path.is_none() || !is_mail, "`path` is not for smtp");
        Ok(Rule {
            fault,
            when: self.when()?,
            lasts: self.for_seconds.map(|seconds| duration("for_seconds", seconds)).transpose()?,
            wait: self.wait_seconds.map_or(Ok(WAIT), |seconds| duration("wait_seconds", seconds))?,
            path: self.path,
            recipient: self.recipient,
        })
    }

    fn when(&self) -> anyhow::Result<When> {
        let conditions =
            [self.first.map(When::First), self.every.map(When::Every), self.probability.map(When::Probability)];
        let mut given = conditions.into_iter().flatten();
        let when = given.next().unwrap_or(When::Always);
        ensure!(given.next().is_none(), "only one of `first`, `every` and `probability` can be given");
        match when {
            When::Every(0) => anyhow::bail!("`every` is at least 1"),
            When::Probability(p) if !(0.0..=1.0).contains(&p) => anyhow::bail!("`probability` is from 0 to 1"),
            when => Ok(when),
        }
    }
}

fn duration(name: &str, seconds: f64) -> anyhow::Result<Duration> {
    ensure!((0.0..=LONGEST).contains(&seconds), "`{name}` is from 0 to {LONGEST} seconds");
    Ok(Duration::from_secs_f64(seconds))
}

/// One line per rule, for whoever starts `dev`.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  seed {}", self.seed)?;
        self.rules.iter().try_for_each(|rule| write!(f, "\n  {rule}"))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { upstream, name, does, .. } = self.fault;
        write!(f, "{upstream} {name}: {does}; ")?;
        match self.when {
            When::Always => write!(f, "always"),
            When::First(count) => write!(f, "the first {count}"),
            When::Every(count) => write!(f, "every {count}."),
            When::Probability(probability) => write!(f, "with probability {probability}"),
        }?;
        if let Some(lasts) = self.lasts {
            write!(f, ", for {} s", lasts.as_secs_f64())?;
        }
        if let Some(part) = self.path.as_ref().or(self.recipient.as_ref()) {
            write!(f, ", only {part}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_plan_tells_what_it_will_do() {
        let plan: Plan = "seed = 7\n[[rule]]\nupstream = 'smtp'\nfault = 'recipient_550'\nrecipient = 'a@b'\nfirst = 2\n\
             for_seconds = 30\n[[rule]]\nupstream = 'speech'\nfault = 'rate_limited'\nprobability = 0.1\nwait_seconds = 1.5"
            .parse()
            .unwrap();
        let told = plan.to_string();
        let told: Vec<_> = told.lines().collect();
        assert_eq!(told[0], "  seed 7");
        assert!(
            told[1].starts_with("  smtp recipient_550: ") && told[1].ends_with("; the first 2, for 30 s, only a@b")
        );
        assert!(told[2].ends_with("; with probability 0.1"), "{}", told[2]);
        assert_eq!((plan.rules[0].wait, plan.rules[1].wait), (WAIT, Duration::from_millis(1_500)));
        assert!("".parse::<Plan>().unwrap().is_empty());
    }

    #[rstest]
    #[case("upstream = 'fax'\nfault = 'gone'", &["rule 1", "fax", "recordings", "smtp"])]
    #[case("upstream = 'recordings'\nfault = 'gona'", &["`gona`", "gone", "cut_off"])]
    #[case("upstream = 'slack'\nfault = 'reset'\nfirst = 1\nevery = 2", &["only one of"])]
    #[case("upstream = 'slack'\nfault = 'reset'\nevery = 0", &["`every`"])]
    #[case("upstream = 'slack'\nfault = 'reset'\nprobability = 1.5", &["`probability`"])]
    #[case("upstream = 'slack'\nfault = 'reset'\nrecipient = 'a@b'", &["`recipient`"])]
    #[case("upstream = 'smtp'\nfault = 'data_451'\npath = 'x'", &["`path`"])]
    #[case("upstream = 'slack'\nfault = 'reset'\nwait_seconds = -1", &["`wait_seconds`"])]
    #[case("upstream = 'slack'\nfault = 'reset'\nwhenever = 1", &["whenever"])]
    fn what_is_wrong_is_told(#[case] rule: &str, #[case] words: &[&str]) {
        let error = format!("[[rule]]\n{rule}").parse::<Plan>().unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let rule = "[[rule]]\nupstream = 'slack'\nfault = 'x'\n";
        let error = format!("{rule}{rule}").parse::<Plan>().unwrap_err().to_string();
        assert!(error.contains("rule 1: ") && error.contains("rule 2: "), "{error}");
    }
}
