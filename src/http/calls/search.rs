//! `q`: what calls are to speak of. Web-search syntax (words, "phrases", or, -without), and numbers in any notation.

use std::sync::LazyLock;

use regex::Regex;

use super::super::problem::Problem;
use crate::store::call_list::plain_digits;
use crate::store::tsquery;

/// More is no question of a person.
const LONGEST: usize = 200;
/// A number has so many digits at least; shorter ones are words.
const SHORTEST_NUMBER: usize = 5;

/// A question, with its numbers apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// In web-search syntax, with a [`mark`](tsquery::mark) in the place of each number.
    pub text: String,
    /// Of each number: its digits from the end backwards, as many as are known, so neither `00` nor the `0` of a city code;
    /// then, where it may be several numbers with blanks between them, the digits of these.
    pub numbers: Vec<Vec<String>>,
    /// The words that are to be found, without syntax and without those that must not be there.
    pub wanted: String,
}

/// Reads `q`.
pub fn read(q: &str) -> Result<Question, Problem> {
    static WITHOUT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"(^|\s)-("[^"]*"?|\S+)"#).expect("a constant"));
    if q.trim().is_empty() || q.chars().count() > LONGEST {
        return Err(Problem::bad_parameter("q", format!("words to look for, at most {LONGEST} characters")));
    }
    let (mut text, mut words, mut numbers, mut end) = (String::new(), String::new(), Vec::new(), 0);
    for Number { start, stop, digits, parts } in numbers_in(q) {
        // A part of a phrase, of a word or of what must not be there is no number by itself.
        let before = &q[..start];
        let is_part = before.matches('"').count() % 2 == 1
            || before.ends_with(|c: char| c.is_alphanumeric() || "-_@#".contains(c))
            || q[stop..].starts_with(char::is_alphanumeric);
        if !is_part {
            text.extend([&q[end..start], " ", &tsquery::mark(numbers.len()), " "]);
            words.extend([&q[end..start], " "]);
            let mut ways = vec![known_digits(&q[start..stop], &digits)];
            if parts.iter().all(Part::is_number) {
                ways.extend(parts.iter().map(|part| known_digits(&q[part.start..part.stop], &part.digits)));
            }
            numbers.push(ways);
            end = stop;
        }
    }
    text += &q[end..];
    words += &q[end..];
    let wanted = WITHOUT.replace_all(&words, " ").into_owned();
    Ok(Question { text, numbers, wanted })
}

/// A number in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number {
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub stop: usize,
    /// Its digits.
    pub digits: String,
    /// What stands between blanks, if it has any: these may be several numbers.
    pub parts: Vec<Part>,
}

/// A part of a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub stop: usize,
    /// Its digits.
    pub digits: String,
}

impl Part {
    /// Whether it may be a number by itself.
    pub fn is_number(&self) -> bool {
        self.digits.len() >= SHORTEST_NUMBER
    }
}

/// The numbers in a text. The index of words finds them in the same way (`number_words` in `migrations/0016_numbers.sql`).
pub fn numbers_in(text: &str) -> Vec<Number> {
    static NUMBER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\+?\(?[0-9][0-9 ()./-]{3,30}[0-9]").expect("a constant"));
    NUMBER
        .find_iter(text)
        .map(|found| {
            let (start, digits) = (found.start(), plain_digits(found.as_str()));
            let part = |part: &str| {
                let at = part.as_ptr() as usize - text.as_ptr() as usize;
                Part { start: at, stop: at + part.len(), digits: plain_digits(part) }
            };
            let parts: Vec<_> = found.as_str().split_whitespace().map(part).collect();
            let parts = if parts.len() > 1 { parts } else { Vec::new() };
            Number { start, stop: found.end(), digits, parts }
        })
        .filter(|number| number.digits.len() >= SHORTEST_NUMBER)
        .collect()
}

/// What is left of a number without what depends on where it is dialled.
fn known_digits(number: &str, digits: &str) -> String {
    let digits = if number.contains("(0)") { digits.replacen('0', "", 1) } else { digits.to_owned() };
    let digits = digits.strip_prefix("00").or(digits.strip_prefix('0')).unwrap_or(&digits);
    digits.to_owned()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("refund", "refund", "")]
    #[case("+1 (555) 010-0002", "", "15550100002")]
    #[case("001 555 010 0002", "", "15550100002")]
    #[case("(0555) 010.0002", "", "5550100002")]
    #[case("+49 (0)30 901820", "", "4930901820")]
    #[case("refund 5550100002 -late", "refund", "5550100002")]
    #[case("5550100002 or 5550100003", "or", "5550100002 5550100003")]
    #[case("5550100002 05550100003", "", "555010000205550100003/5550100002/5550100003")]
    #[case("5550100002 100", "", "5550100002100")]
    #[case("\"call 5550100002 now\"", "\"call 5550100002 now\"", "")]
    #[case("refund -\"by mail\" -5550100002", "refund", "")]
    #[case("order 1234", "order 1234", "")]
    #[case("AB55501", "AB55501", "")]
    fn words_and_numbers(#[case] q: &str, #[case] wanted: &str, #[case] numbers: &str) {
        let question = read(q).unwrap();
        let found: Vec<String> = question.numbers.iter().map(|ways| ways.join("/")).collect();
        assert_eq!((question.wanted.trim(), found.join(" ").as_str()), (wanted, numbers));
    }

    #[test]
    fn numbers_keep_their_places_among_the_words() {
        let question = read("refund or 5550100002 late or 5550100003").unwrap();
        let words: Vec<&str> = question.text.split_whitespace().collect();
        assert_eq!(words, ["refund", "or", &tsquery::mark(0), "late", "or", &tsquery::mark(1)]);
    }

    #[rstest]
    #[case("")]
    #[case("  ")]
    fn nothing_is_no_question(#[case] q: &str) {
        assert!(read(q).is_err());
        assert!(read(&"a".repeat(LONGEST + 1)).is_err());
    }
}
