//! Which words of a claim are names.

use super::calendar::is_month;
use super::lexicon::{relative_day, weekday};
use super::said::{Language, Said};
use super::words::{Word, is_function_word};

/// Capitalised words that name nobody.
const ROLES: &str = " i mr mrs ms dr prof sir madam customer caller agent client team support service ai ok okay english \
    herr herrn frau kunde kundin kunden anrufer anruferin mitarbeiter mitarbeiterin der die das den dem des ein eine einen \
    einer er sie es wir ihr ihre sein seine unser unsere beide alle diese dieser dieses kein keine man was wer nach laut ";
/// Who stands first in a sentence before one of these, without an article, is somebody.
const VERBS: &str = " is was will would has had can could should may might must wants wanted needs asks says said told \
    promises reports calls complains confirms agrees thanks sends refunds offers found took gave sent paid went came \
    made got bought brought left kept spoke wrote lost saw knows knew thinks thought does did from and hat ist wird war \
    möchte kann soll muss rief ruft ";
/// Nouns that stand so without an article.
const NOUNS: &str = " everybody everyone people staff nobody payment delivery information news feedback confirmation \
    refund order request nothing shipment service billing management accounting sales support today tomorrow order \
    clarification agreement resolution details nothing zahlung lieferung rechnung rückerstattung ";

/// A name in a claim.
pub(super) struct Name<'a> {
    /// Lower case.
    pub text: &'a str,
    /// It is that of who acts in the sentence.
    pub acts: bool,
    /// Its place.
    pub at: usize,
}

/// The names in a claim. German writes all nouns with a capital: there only what follows a title, another such word, or
/// stands as the subject.
pub(super) fn names<'a>(claim: &'a [Word], said: &Said) -> Vec<Name<'a>> {
    let mut names = Vec::new();
    for at in 0..claim.len() {
        let word = &claim[at];
        if !word.capital || is_no_name(claim, at) {
            continue;
        }
        let is_name = match (word.first, said.language) {
            (true, Language::Other) => false,
            (true, _) => is_subject(claim, at) && !NOUNS.contains(&format!(" {} ", word.text)),
            (false, Language::German) => follows_a_name(claim, at),
            (false, _) => true,
        };
        // Only a subject that nobody in the call has heard of is nothing but a word.
        if is_name && !(word.first && said.anywhere(&word.text) && !starts_a_name(claim, at)) {
            names.push(Name { text: &word.text, acts: acts(claim, at), at });
        }
    }
    names
}

/// Whether the word stands for a party to the call, or says nothing of who is meant.
pub(super) fn is_role(word: &str) -> bool {
    ROLES.contains(&format!(" {word} "))
}

fn is_no_name(claim: &[Word], at: usize) -> bool {
    let text = claim[at].text.as_str();
    is_role(text)
        || claim[at].first && is_function_word(text)
        || weekday(text).is_some()
        || relative_day(text).is_some()
        || is_month(claim, at)
        || text.starts_with(|c: char| c.is_ascii_digit())
}

/// "Peter Hall called": capitals, then a verb.
fn is_subject(claim: &[Word], at: usize) -> bool {
    let next = claim[at + 1..].iter().find(|word| !word.capital || word.first);
    next.is_some_and(|word| {
        !word.first && (VERBS.contains(&format!(" {} ", word.text)) || word.text.ends_with("ed") && word.text.len() > 4)
    })
}

/// A capital after it: "Peter Hall".
fn starts_a_name(claim: &[Word], at: usize) -> bool {
    claim.get(at + 1).is_some_and(|next| next.capital && !next.first && !is_no_name(claim, at + 1)) || acts(claim, at)
}

fn acts(claim: &[Word], at: usize) -> bool {
    let start = (0..=at).rev().take_while(|&at| claim[at].capital).last().unwrap_or(at);
    claim[start].first && is_subject(claim, at)
}

/// "Herr Meyer", "Peter Hall" within a sentence.
fn follows_a_name(claim: &[Word], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|at| &claim[at]) else { return false };
    let title = matches!(before.text.as_str(), "herr" | "herrn" | "frau" | "dr");
    title || before.capital && !is_role(&before.text) && before.first && is_subject(claim, at)
}
