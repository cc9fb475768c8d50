//! Promises: whether two runs of the analysis speak of the same one, in other words.

use std::collections::HashSet;

/// So alike are the words of two texts that say the same (Dice coefficient, 0 to 1), or more alike where each has words that
/// the other has not. Rather too high: a promise that is not known again is shown twice, but one that is taken for another
/// is not shown at all.
const ALIKE: f64 = 0.75;
/// Shorter words are most often none that matter: the, to, der, les. Those with a digit always do.
const SHORT: usize = 3;

/// Pairs what is known with what a new run says. For each new text: the place of the known one that says the same, each at
/// most once, the most alike first. A known one may have several texts: what the analysis said, and what a person made
/// of it.
pub fn pair(known: &[Vec<&str>], new: &[&str]) -> Vec<Option<usize>> {
    let known: Vec<Vec<HashSet<String>>> =
        known.iter().map(|texts| texts.iter().map(|text| words(text)).collect()).collect();
    let new: Vec<HashSet<String>> = new.iter().map(|text| words(text)).collect();
    let mut candidates = Vec::new();
    for (new_at, new_words) in new.iter().enumerate() {
        for (known_at, texts) in known.iter().enumerate() {
            let alike = texts.iter().map(|text| likeness(text, new_words)).fold(0.0, f64::max);
            if alike > 0.0 {
                candidates.push((alike, new_at, known_at));
            }
        }
    }
    // Stable: between equals the first of each decides.
    candidates.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut pairs = vec![None; new.len()];
    let mut taken = HashSet::new();
    for (_, new_at, known_at) in candidates {
        if pairs[new_at].is_none() && taken.insert(known_at) {
            pairs[new_at] = Some(known_at);
        }
    }
    pairs
}

/// The words that matter; where none does, all.
fn words(text: &str) -> HashSet<String> {
    let text = text.to_lowercase();
    let all = || text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let matters = |word: &&str| word.chars().count() > SHORT || has_digit(word);
    let words: HashSet<String> = all().filter(matters).map(str::to_owned).collect();
    if words.iter().all(|word| has_digit(word)) { all().map(str::to_owned).collect() } else { words }
}

fn has_digit(word: &str) -> bool {
    word.chars().any(char::is_numeric)
}

/// How alike the words of two texts are that may say the same; 0 = they do not.
fn likeness(one: &HashSet<String>, other: &HashSet<String>) -> f64 {
    // An amount, a date, an invoice: another one is another promise.
    if one.symmetric_difference(other).any(|word| has_digit(word)) {
        return 0.0;
    }
    let all = one.len() + other.len();
    let alike = if all == 0 { 1.0 } else { 2.0 * one.intersection(other).count() as f64 / all as f64 };
    let adds_only = one.is_subset(other) || other.is_subset(one);
    if alike > ALIKE || (adds_only && alike >= ALIKE) { alike } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Refund the second charge.", "refund the second charge", true)]
    #[case("Refund the second charge", "Dana will refund the second charge", true)]
    #[case("Send the invoice by mail", "Send the corrected invoice by mail", true)]
    #[case("Refund the second charge", "Call the customer back", false)]
    #[case("Send the invoice", "Send a technician", false)]
    #[case("Send the invoice to Dana", "Send the contract to Dana", false)]
    #[case("Refund 20 USD", "Refund 500 USD", false)]
    #[case("Refund 20 USD", "Refund the 20 USD", true)]
    #[case("Call the customer back on Monday", "Call the customer back on Tuesday", false)]
    #[case("Send the customer a copy of invoice 4417", "Send the customer a copy of invoice 4418", false)]
    #[case("Call at 9", "Call at 10", false)]
    #[case("Überweisung prüfen", "überweisung PRÜFEN!", true)]
    fn the_same_in_other_words(#[case] known: &str, #[case] new: &str, #[case] same: bool) {
        assert_eq!(pair(&[vec![known]], &[new]), [same.then_some(0)]);
    }

    #[test]
    fn each_is_paired_once_and_the_most_alike_first() {
        let known = [vec!["Send the invoice"], vec!["Call back on Monday", "Ring Ms Doe on Tuesday"]];
        let new = ["Send the invoice again", "Send the invoice", "Ring Ms Doe on Tuesday", "Something else"];
        assert_eq!(pair(&known, &new), [None, Some(0), Some(1), None]);
    }
}
