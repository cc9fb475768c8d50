//! Whether the segments that a claim names bear it out. Names, numbers, times and quotes must have been said; the rest
//! may be put in other words. Rather strict than kind: what fails is shown as not confirmed, never lost.

use chrono::{Datelike, NaiveDate};

use super::calendar::{self, Named};
use super::lexicon::{currency, direction, month, relative_day, span, weekday};
use super::names::{is_role, names};
use super::numbers::{self, Run};
use super::said::{Language, Said};
use super::words::{Word, alike, holds, is_function_word, is_negation, words};

/// Of what a claim says, at least this part must be in its evidence, in whatever form.
const ENOUGH: f64 = 0.4;
/// Words that change everything, and those that say the same.
const WEIGHTY: &[&[&str]] = &[
    &["cancel", "terminate", "quit", "withdraw", "resign"],
    &["refuse", "reject", "decline", "deny", "denied"],
    &["sue", "lawsuit", "lawyer", "court", "legal", "attorney"],
    &["fraud", "steal", "stole", "stolen", "theft"],
    &["approve", "guarantee"],
    &["discount", "free", "waive", "credit", "compensation", "voucher"],
    &["fire", "fired", "dismiss"],
];
/// Words that say that something is not, without a "not".
const LACKING: &[&str] = &[
    "lost", "late", "missing", "miss", "missed", "fail", "failed", "fails", "stop", "stopped", "stops", "wrong",
    "refuse", "refused", "deny", "denied", "unable", "broken", "problem", "without", "asked", "whether", "nothing",
    "lack", "waiting", "still", "delayed", "unclear", "forgot", "hardly", "instead", "few", "delay", "outage", "down",
];
/// Who says this may mean that it is not so.
const COMPLAINTS: &[&str] = &["promised", "supposed", "expected", "should", "angry", "upset", "furious"];
/// A negation reaches this many words.
const REACH: usize = 2;
/// Quotation marks: opening, closing.
const QUOTES: [(char, &[char]); 6] =
    [('“', &['”', '“']), ('„', &['“', '”']), ('"', &['"']), ('«', &['»']), ('‘', &['’']), ('\'', &['\''])];

/// Whether the segments `evidence` bear the sentence `claim` out.
pub(super) fn supports(said: &Said, claim: &str, evidence: &[i32]) -> bool {
    if evidence.is_empty() {
        return false;
    }
    let heard = said.words_of(evidence);
    let claimed = words(claim);
    let names = names(&claimed, said);
    names.iter().all(|name| said.speaks_of(evidence, name.text, name.acts))
        && quotes(claim).iter().all(|quote| was_said(&heard, quote))
        && Times::new(said, &claimed, &heard).is_some_and(|times| {
            said.language != Language::English || {
                let names: Vec<usize> = names.iter().map(|name| name.at).collect();
                means_the_same(&claimed, &heard, &names, times.facts)
            }
        })
}

/// Whether the segments `evidence` speak of the one who is said to have promised. Somebody without a name ("the
/// warehouse") was spoken of anywhere in the call, or is a party to it ("the customer").
pub(super) fn names_owner(said: &Said, owner: &str, evidence: &[i32]) -> bool {
    words(owner).iter().all(|word| {
        let text = word.text.as_str();
        is_role(text)
            || if word.capital {
                said.speaks_of(evidence, text, false)
            } else {
                is_function_word(text) || said.anywhere(text)
            }
    })
}

/// Whether somebody says these words, word for word but for the small ones in front.
pub(super) fn says(said: &Said, wanted: &str, evidence: &[i32]) -> bool {
    let small =
        |word: &str| matches!(word, "by" | "on" | "at" | "the" | "until" | "till" | "bis" | "am" | "um" | "zum");
    let without = |list: Vec<String>| list.into_iter().filter(|word| !small(word)).collect::<Vec<_>>();
    let wanted = without(in_digits(&words(wanted)));
    let heard = without(in_digits(&said.words_of(evidence)));
    !wanted.is_empty() && holds_all(&heard, &wanted)
}

/// What stands in quotation marks.
fn quotes(claim: &str) -> Vec<String> {
    let characters: Vec<char> = claim.chars().collect();
    let letter = |at: Option<usize>| at.and_then(|at| characters.get(at)).is_some_and(|c| c.is_alphanumeric());
    let (mut quotes, mut at) = (Vec::new(), 0);
    while at < characters.len() {
        let opening = QUOTES.iter().find(|(open, _)| *open == characters[at] && !letter(at.checked_sub(1)));
        let closing = opening.and_then(|(_, closing)| {
            // An apostrophe closes nothing.
            (at + 1..characters.len()).find(|&end| closing.contains(&characters[end]) && !letter(Some(end + 1)))
        });
        if let Some(end) = closing {
            quotes.push(characters[at + 1..end].iter().collect());
            at = end;
        }
        at += 1;
    }
    quotes
}

fn was_said(heard: &[Word], quote: &str) -> bool {
    holds_all(&in_digits(heard), &in_digits(&words(quote)))
}

fn holds_all(heard: &[String], wanted: &[String]) -> bool {
    let texts = |list: &'_ [String]| list.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    let (heard, wanted) = (texts(heard), texts(wanted));
    holds(&heard.split('\n').collect::<Vec<_>>(), &wanted.split('\n').collect::<Vec<_>>())
}

/// The words, numbers in digits.
fn in_digits(words: &[Word]) -> Vec<String> {
    let runs = numbers::runs(words);
    let (mut texts, mut at) = (Vec::new(), 0);
    while at < words.len() {
        if let Some(run) = runs.iter().find(|run| run.start == at) {
            texts.push(run.joined());
            at = run.end;
        } else {
            texts.push(words[at].text.clone());
            at += 1;
        }
    }
    texts
}

/// Numbers and times of a claim that were all said.
struct Times {
    /// How many there are.
    facts: usize,
}

impl Times {
    /// `None` when one was not said.
    fn new(said: &Said, claimed: &[Word], heard: &[Word]) -> Option<Self> {
        let runs = numbers::runs(claimed);
        let days = days(heard, said.today());
        let dates = dates(claimed, &runs, said.today());
        if !dates.iter().all(|(_, date)| days.contains(date) || calendar_says(heard, *date, said.today())) {
            return None;
        }
        let in_a_date = |at: usize| dates.iter().any(|(places, _)| places.contains(&at));
        let undated: Vec<&Run> = runs.iter().filter(|run| !in_a_date(run.start) && !is_idle(claimed, run)).collect();
        let numbers = numbers::heard(heard);
        let silent = said.language == Language::Other && !heard.iter().any(|word| has_digit(&word.text));
        if !silent && !undated.iter().all(|run| numbers::is_heard(run, &numbers)) {
            return None;
        }
        if !silent && !undated.iter().all(|run| unit_is_said(claimed, run, heard)) {
            return None;
        }
        if said.language != Language::Other && !calendar_words_are_said(claimed, heard, &days, &in_a_date) {
            return None;
        }
        let times = claimed.iter().filter(|word| is_time(&word.text)).count();
        Some(Self { facts: undated.len() + times + dates.len() })
    }
}

fn has_digit(word: &str) -> bool {
    word.contains(|c: char| c.is_ascii_digit())
}

fn is_time(word: &str) -> bool {
    weekday(word).is_some() || relative_day(word).is_some() || direction(word).is_some()
}

/// "one of them", "first", "second" as in "one second": counting that says nothing.
fn is_idle(words: &[Word], run: &Run) -> bool {
    run.end == run.start + 1
        && matches!(words[run.start].text.as_str(), "one" | "first" | "second" | "seconds" | "eins" | "oh" | "o")
}

/// The days that the words name, those before the call's day too.
fn days(words: &[Word], today: NaiveDate) -> Vec<NaiveDate> {
    let runs = numbers::runs(words);
    let mut days: Vec<NaiveDate> =
        calendar::named(words, &runs, today).unwrap_or_default().into_iter().map(Named::day).collect();
    for word in words {
        if let Some(day) = weekday(&word.text) {
            days.extend(today.iter_days().skip(1).take(14).filter(|date| date.weekday() == day));
            days.extend(
                (1..8)
                    .filter_map(|ago| today.checked_sub_days(chrono::Days::new(ago)))
                    .filter(|date| date.weekday() == day),
            );
        } else if let Some(ahead) = relative_day(&word.text) {
            days.extend(today.checked_add_signed(chrono::TimeDelta::days(ahead)));
        }
    }
    days
}

/// The calendar dates of a claim with the places of their words.
fn dates(words: &[Word], runs: &[Run], today: NaiveDate) -> Vec<(std::ops::Range<usize>, NaiveDate)> {
    let places = (0..words.len()).filter(|&at| calendar::is_month(words, at)).map(|at| at.saturating_sub(2)..at + 5);
    let digits = runs.iter().filter(|run| run.pieces.len() == 3).map(|run| run.start..run.end);
    let date = |places: std::ops::Range<usize>| {
        let places = places.start..places.end.min(words.len());
        let part = &words[places.clone()];
        let runs = numbers::runs(part);
        let named = calendar::named(part, &runs, today)?;
        named
            .into_iter()
            .find_map(|named| if let Named::Date(date) = named { Some((places.clone(), date)) } else { None })
    };
    places.chain(digits).filter_map(date).collect()
}

/// Whether day and month of a date were said, and the year or none.
fn calendar_says(heard: &[Word], date: NaiveDate, today: NaiveDate) -> bool {
    let numbers = numbers::heard(heard);
    let month_said = heard
        .iter()
        .enumerate()
        .any(|(at, word)| month(&word.text) == Some(date.month()) && calendar::is_month(heard, at));
    let said = |number: u32| numbers.contains(&number.to_string());
    let year_said = numbers.iter().any(|number| number.len() == 4 && number.starts_with("20"));
    let near = (date.year() - today.year()).abs() <= 1;
    month_said && said(date.day()) && (numbers.contains(&date.year().to_string()) || !year_said && near)
}

/// What is counted in dollars was not said to be euros, and days are not weeks.
fn unit_is_said(claimed: &[Word], run: &Run, heard: &[Word]) -> bool {
    let word = |at: Option<usize>| at.and_then(|at| claimed.get(at)).map_or("", |word| word.text.as_str());
    let after = [word(Some(run.end)), word(Some(run.end + 1))];
    let money = currency(word(run.start.checked_sub(1))).or_else(|| currency(after[0]));
    let moneys: Vec<_> = heard.iter().filter_map(|word| currency(&word.text)).collect();
    let spans: Vec<_> = heard.iter().filter_map(|word| span(&word.text)).collect();
    let time = after.iter().take(1 + usize::from(after[0] == "business")).find_map(|word| span(word));
    money.is_none_or(|money| moneys.contains(&money) || moneys.is_empty() && money != "percent")
        && time.is_none_or(|time| spans.contains(&time) || spans.is_empty())
}

/// Weekdays, months and days like "tomorrow" were said, or are the same day in other words; "next" is not "last", and
/// the morning not the afternoon.
fn calendar_words_are_said(
    claimed: &[Word],
    heard: &[Word],
    days: &[NaiveDate],
    in_a_date: &dyn Fn(usize) -> bool,
) -> bool {
    let said = |is: &dyn Fn(&str) -> bool| heard.iter().any(|word| is(&word.text));
    let each = claimed.iter().enumerate().all(|(at, word)| {
        let text = word.text.as_str();
        if in_a_date(at) && weekday(text).is_none() {
            return true;
        }
        if let Some(day) = weekday(text) {
            let resolved =
                days.iter().any(|date| date.weekday() == day) && heard.iter().any(|w| relative_day(&w.text).is_some());
            return said(&|word| weekday(word) == Some(day)) || resolved || in_a_date(at);
        }
        if calendar::is_month(claimed, at) {
            return said(&|word| month(word) == month(text));
        }
        relative_day(text).is_none_or(|days| said(&|word| relative_day(word) == Some(days)))
    });
    let opposed = |one: &dyn Fn(&str) -> bool, other: &dyn Fn(&str) -> bool| {
        claimed.iter().any(|word| one(&word.text)) && !said(one) && said(other)
    };
    let ahead = |sign: i64| move |word: &str| direction(word) == Some(sign);
    let (morning, evening) =
        (|word: &str| matches!(word, "am" | "morning"), |word: &str| matches!(word, "pm" | "afternoon" | "evening"));
    each && !opposed(&ahead(1), &ahead(-1))
        && !opposed(&ahead(-1), &ahead(1))
        && !opposed(&morning, &evening)
        && !opposed(&evening, &morning)
}

/// Enough of the claim's words were said, weighty ones and negations all.
fn means_the_same(claimed: &[Word], heard: &[Word], names: &[usize], facts: usize) -> bool {
    let is_content = |at: usize, word: &Word| {
        let text = word.text.as_str();
        let fact = numbers::small(text).is_some() || has_digit(text) || is_time(text) || currency(text).is_some();
        !(names.contains(&at) || is_function_word(text) || is_negation(text) || fact)
    };
    let content: Vec<&str> = claimed
        .iter()
        .enumerate()
        .filter(|(at, word)| is_content(*at, word))
        .map(|(_, word)| word.text.as_str())
        .collect();
    let shared = content.iter().filter(|word| heard.iter().any(|said| alike(&said.text, word))).count();
    let all = content.len() + facts;
    let enough = all == 0 || (shared + facts) as f64 >= ENOUGH * all as f64;
    let weighty = |word: &&&str| {
        !WEIGHTY
            .iter()
            .filter(|group| among(group, word))
            .all(|group| heard.iter().any(|said| among(group, &said.text)))
    };
    enough && !content.iter().any(|word| weighty(&word)) && negations_agree(claimed, heard, &content)
}

fn among(group: &[&str], word: &str) -> bool {
    group.iter().any(|known| *known == word || known.len() > 3 && alike(known, word))
}

/// A "not" in the claim needs one in the evidence, and what was only said with a "not" may not lose it.
fn negations_agree(claimed: &[Word], heard: &[Word], content: &[&str]) -> bool {
    let lacking =
        |words: &[Word]| words.iter().any(|word| is_negation(&word.text) || LACKING.contains(&word.text.as_str()));
    if claimed.iter().any(|word| is_negation(&word.text)) {
        return lacking(heard) || heard.iter().any(|word| COMPLAINTS.contains(&word.text.as_str()));
    }
    if lacking(claimed) {
        return true;
    }
    let negated =
        |at: usize| (1..=REACH + 1).any(|back| at.checked_sub(back).is_some_and(|at| is_negation(&heard[at].text)));
    !content.iter().any(|word| {
        let mut places = (0..heard.len()).filter(|&at| alike(&heard[at].text, word)).peekable();
        places.peek().is_some() && places.all(negated)
    })
}

#[cfg(test)]
mod tests;
