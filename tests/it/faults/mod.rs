//! What becomes of a call when an upstream has a bad day: one case for each fault of `docs/faults.md`, and a mix of all.

mod analysis;
mod command;
mod mix;
mod recordings;
mod slack;
mod smtp;
mod speech;

use std::fmt::Write as _;
use std::path::Path;

use goto_automation::dev::standins::{Effect, Upstream};
use goto_automation::model::CallId;

use crate::support::Product;

/// Short limits for upstreams that never answer.
const IMPATIENT: (&str, &str) = ("UPSTREAM_TIMEOUT", "download=2s,transcribe=3s,analyze=3s,notify=2s");

/// One rule of a plan.
fn rule(upstream: &str, fault: &str, rest: &[&str]) -> String {
    let mut rule = format!("[[rule]]\nupstream = '{upstream}'\nfault = '{fault}'\n");
    for line in rest {
        writeln!(rule, "{line}").unwrap();
    }
    rule
}

/// One attempt of a step: its outcome, and the class of its error if it had one.
type Try = (String, Option<String>);

/// What became of each attempt of a step, in order.
async fn tries(product: &Product, id: CallId, step: &str) -> Vec<Try> {
    let attempts = product.attempts(id).await.into_iter().filter(|attempt| attempt.step == step);
    attempts.map(|attempt| (attempt.outcome, attempt.error_class)).collect()
}

/// The same, as it is written down in a story.
fn told(tries: &[(&str, &str)]) -> Vec<Try> {
    let class = |class: &str| (!class.is_empty()).then(|| class.to_owned());
    tries.iter().map(|(outcome, word)| ((*outcome).to_owned(), class(word))).collect()
}

/// An operator can read it, and it ends.
fn assert_sentence(reason: Option<&str>) {
    let reason = reason.expect("it says why");
    assert!(reason.len() > 30 && reason.contains(' ') && reason.ends_with(['.', '"']), "a sentence: {reason:?}");
}

fn effects(product: &Product, upstream: Upstream) -> Vec<Effect> {
    product.standins.effects().into_iter().filter(|effect| effect.upstream == upstream).collect()
}

/// Answers that the product was given, and answers that it has kept: no more was paid for than is there to be used.
async fn assert_paid_once(product: &Product, upstream: Upstream, step: &'static str) {
    let given = effects(product, upstream).iter().filter(|effect| !effect.lost).count();
    let question = match step {
        // Beside the words it keeps which pieces were halved.
        "transcribe" => "SELECT count(*) FROM step_answers WHERE step = 'transcribe' AND answer ? 'text'",
        _ => "SELECT count(*) FROM step_answers WHERE step = 'analyze'",
    };
    assert_eq!(i64::try_from(given).unwrap(), product.count(question).await);
}

/// Files in the store, unfinished ones included.
fn files(product: &Product) -> usize {
    files_below(&product.config.recordings.store.to_file_path().unwrap())
}

fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}
