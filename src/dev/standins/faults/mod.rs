//! Misbehaviour by plan: which request meets which fault, and what then happens to it. `docs/faults.md` is the guide.
//!
//! | part | knows |
//! |---|---|
//! | [`plan`] | the file of `dev --faults`, and what is wrong with it |
//! | [`catalogue`] | THE list of faults |
//! | `openai`, `recordings`, `slack`, `mail` | the faults of one kind of upstream |
//! | `answer` | how a fault becomes bytes on a connection |

pub(super) mod answer;
pub mod catalogue;
mod mail;
mod openai;
pub mod plan;
mod recordings;
mod slack;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};

use self::catalogue::{Act, Fault};
use self::plan::{Plan, Rule, When};
use super::Upstream;
use crate::model::clock;
use crate::text_enum;

text_enum!(
    /// How far an SMTP conversation has come.
    Stage {
        /// Right after the connection.
        Greeting = "greeting",
        /// EHLO.
        Hello = "hello",
        /// AUTH.
        Login = "login",
        /// MAIL FROM.
        Sender = "sender",
        /// RCPT TO.
        Recipient = "recipient",
        /// DATA, before its first reply.
        Data = "data",
        /// In the middle of the message.
        Content = "content",
        /// After the final dot.
        Dot = "dot",
    }
);

/// A plan at work: counts what its rules have seen. The n-th request that a rule sees always meets the same fate.
#[derive(Debug)]
pub(super) struct Faults {
    plan: Plan,
    /// Requests seen, one count per rule.
    seen: Vec<AtomicU64>,
    began_at: DateTime<Utc>,
}

/// A request that a rule may strike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occasion<'a> {
    pub upstream: Upstream,
    /// Path of an HTTP request, query included; empty at SMTP.
    pub path: &'a str,
    /// `None` but for SMTP.
    pub stage: Option<Stage>,
    /// Known from RCPT TO on.
    pub recipients: &'a [String],
}

/// The fault that a request meets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Struck {
    pub fault: &'static Fault,
    /// How long the upstream asks to wait.
    pub wait: Duration,
}

impl Faults {
    pub(super) fn new(plan: Plan) -> Self {
        let seen = plan.rules.iter().map(|_| AtomicU64::new(0)).collect();
        Self { plan, seen, began_at: clock::now() }
    }

    /// The fault of the first rule that strikes. A rule does not see what an earlier one has struck.
    pub(super) fn strike(&self, occasion: &Occasion<'_>) -> Option<Struck> {
        let age = (clock::now() - self.began_at).to_std().unwrap_or_default();
        let rules = self.plan.rules.iter().zip(&self.seen).enumerate();
        let struck = rules.filter(|(_, (rule, _))| rule.is_about(occasion, age)).find(|(index, (rule, seen))| {
            let number = seen.fetch_add(1, Ordering::Relaxed) + 1;
            rule.when.is_due(number, || chance(self.plan.seed, *index as u64, number))
        });
        struck.map(|(_, (rule, _))| Struck { fault: rule.fault, wait: rule.wait })
    }

    /// Some rule is about logins, so that the mail server must offer one.
    pub(super) fn offers_login(&self) -> bool {
        self.plan.rules.iter().any(|rule| matches!(rule.fault.act, Act::Mail(Stage::Login, _)))
    }
}

impl Rule {
    fn is_about(&self, occasion: &Occasion<'_>, age: Duration) -> bool {
        let path = self.path.as_ref().is_none_or(|part| occasion.path.contains(part.as_str()));
        let recipient = self
            .recipient
            .as_ref()
            .is_none_or(|wanted| occasion.recipients.iter().any(|recipient| recipient.eq_ignore_ascii_case(wanted)));
        let in_time = self.lasts.is_none_or(|lasts| age < lasts);
        self.fault.upstream == occasion.upstream && path && recipient && in_time && self.fault.fits(occasion)
    }
}

impl When {
    /// Whether the `number`-th request, from 1, is struck.
    fn is_due(self, number: u64, chance: impl FnOnce() -> f64) -> bool {
        match self {
            Self::Always => true,
            Self::First(count) => number <= count,
            Self::Every(count) => number.is_multiple_of(count),
            Self::Probability(probability) => chance() < probability,
        }
    }
}

/// A number from 0 to 1 that looks random and follows from its place (splitmix64 of Steele, Lea and Flood, 2014).
fn chance(seed: u64, rule: u64, number: u64) -> f64 {
    let mut mixed = seed;
    for part in [rule, number] {
        mixed = mixed.wrapping_add(part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Occasion<'_> = Occasion { upstream: Upstream::Speech, path: "/v1", stage: None, recipients: &[] };

    fn fates(plan: &str, occasions: usize) -> Vec<&'static str> {
        let faults = Faults::new(plan.parse().unwrap());
        (0..occasions).map(|_| faults.strike(&PLAIN).map_or("-", |struck| struck.fault.name)).collect()
    }

    #[test]
    fn rules_strike_one_after_the_other() {
        let plan = "[[rule]]\nupstream = 'speech'\nfault = 'server_error'\nfirst = 2\n\
                    [[rule]]\nupstream = 'slack'\nfault = 'reset'\n\
                    [[rule]]\nupstream = 'speech'\nfault = 'html'\nevery = 2\n";
        assert_eq!(fates(plan, 7), ["server_error", "server_error", "-", "html", "-", "html", "-"]);
    }

    #[test]
    fn a_seed_is_a_fate() {
        let plan =
            |seed: u64| format!("seed = {seed}\n[[rule]]\nupstream = 'speech'\nfault = 'reset'\nprobability = 0.25\n");
        assert_eq!(fates(&plan(7), 400), fates(&plan(7), 400));
        assert_ne!(fates(&plan(7), 400), fates(&plan(8), 400));
        let struck = fates(&plan(7), 400).iter().filter(|fate| **fate == "reset").count();
        assert!((70..130).contains(&struck), "{struck}");
    }

    #[test]
    fn only_what_a_rule_names_is_struck() {
        let plan = "[[rule]]\nupstream = 'smtp'\nfault = 'recipient_550'\nrecipient = 'A@example.com'\n\
                    [[rule]]\nupstream = 'recordings'\nfault = 'gone'\npath = 'mono.wav'\n\
                    [[rule]]\nupstream = 'slack'\nfault = 'not_in_channel'\n\
                    [[rule]]\nupstream = 'speech'\nfault = 'html'\nfor_seconds = 0.0\n";
        let faults = Faults::new(plan.parse().unwrap());
        let struck = |occasion: &Occasion<'_>| faults.strike(occasion).is_some();
        let (one, other) = (["a@example.com".to_owned()], ["b@example.com".to_owned()]);
        let mail = |stage, recipients| Occasion { upstream: Upstream::Smtp, path: "", stage, recipients };
        assert!(struck(&mail(Some(Stage::Recipient), &one)));
        assert!(!struck(&mail(Some(Stage::Recipient), &other)) && !struck(&mail(Some(Stage::Data), &one)));
        let http = |upstream, path| Occasion { upstream, path, ..PLAIN };
        assert!(struck(&http(Upstream::Recordings, "/recordings/mono.wav?x=1")));
        assert!(!struck(&http(Upstream::Recordings, "/recordings/monologue.wav")));
        assert!(struck(&http(Upstream::Slack, "/slack/api/chat.postMessage")));
        assert!(!struck(&http(Upstream::Slack, "/slack/webhook")), "a webhook has no such word");
        assert!(!struck(&PLAIN), "its time is over");
    }
}
