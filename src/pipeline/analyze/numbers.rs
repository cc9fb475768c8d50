//! Numbers as they are said and as they are written: "four four one seven" is 4417, "two hundred dollars" is $200.

use std::collections::BTreeSet;

use super::words::{Gap, Word};

const UNITS: &str = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen \
    seventeen eighteen nineteen";
const ORDINALS: &str = "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth \
    fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth";
const TENS: &str = "twenty thirty forty fifty sixty seventy eighty ninety";
const TENTHS: &str = "twentieth thirtieth fortieth fiftieth sixtieth seventieth eightieth ninetieth";
const GERMAN_UNITS: &str = "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn \
    siebzehn achtzehn neunzehn";
const GERMAN_TENS: &str = "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig";
/// A number of this many single digits is a number to be dialled or typed: its digits mean nothing alone.
const DIALLED: usize = 3;
/// A number is not put together from more pieces than this, nor from a word of more letters than [`LONGEST_WORD`].
const LONGEST: usize = 8;
const LONGEST_WORD: usize = 60;

/// What one word adds to a number.
#[derive(Debug, Clone, PartialEq)]
enum Atom {
    /// Written in digits, or one whole German word.
    Digits(String),
    Unit(u64),
    Tens(u64),
    Hundred,
    Scale(u64),
    And,
    Point,
    Times(usize),
}

/// Numbers that were said in one breath: "March fifteenth, twenty twenty seven" has 15, 20 and 27.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    /// First word.
    pub start: usize,
    /// The word after the last one.
    pub end: usize,
    /// Each number in digits.
    pub pieces: Vec<String>,
    /// Of the pieces, those that come after a comma.
    after_comma: Vec<usize>,
}

impl Run {
    /// All digits behind each other.
    pub fn joined(&self) -> String {
        joined(&self.pieces)
    }

    /// Its parts between commas.
    fn parts(&self) -> impl Iterator<Item = &[String]> {
        let mut cuts = vec![0];
        cuts.extend(self.after_comma.iter().copied().filter(|&cut| cut > 0 && cut < self.pieces.len()));
        cuts.push(self.pieces.len());
        (1..cuts.len()).map(move |at| &self.pieces[cuts[at - 1]..cuts[at]])
    }
}

/// The numbers in a text.
pub(super) fn runs(words: &[Word]) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let start = at;
        let mut atoms: Vec<(Atom, bool)> = Vec::new();
        while let Some(word) = words.get(at).filter(|word| at == start || word.gap != Gap::Hard) {
            let Some(atom) = atom(&word.text, atoms.last().map(|(atom, _)| atom)) else { break };
            let comma = word.gap == Gap::Soft;
            if word.text.contains(':') || is_date(&word.text) {
                let parts = word.text.split([':', '.']).map(|part| (Atom::Digits(part.to_owned()), false));
                atoms.extend(parts);
            } else {
                atoms.push((atom, comma));
            }
            at += 1;
        }
        // A number never ends in "and" or "point".
        while matches!(atoms.last(), Some((Atom::And | Atom::Point | Atom::Times(_), _))) {
            atoms.pop();
            at -= 1;
        }
        if atoms.is_empty() {
            at = start + 1;
        } else {
            let (pieces, after_comma) = pieces(&atoms);
            runs.push(Run { start, end: at, pieces, after_comma });
        }
    }
    runs
}

/// Every number that a listener could have heard.
pub(super) fn heard(words: &[Word]) -> BTreeSet<String> {
    let mut heard = BTreeSet::new();
    let runs = runs(words);
    for run in &runs {
        heard.insert(run.joined());
        for part in run.parts().chain([run.pieces.as_slice()]) {
            heard.insert(joined(part));
            if part.len() >= DIALLED && part.iter().all(|piece| piece.len() == 1) {
                continue;
            }
            for from in 0..part.len() {
                heard.extend((from + 1..=part.len().min(from + LONGEST)).map(|to| joined(&part[from..to])));
            }
        }
        heard.extend(clock_times(words, run));
    }
    for pair in runs.windows(2) {
        heard.extend(with_cents(words, &pair[0], &pair[1]));
    }
    heard.extend(said_otherwise(words));
    heard.iter().map(|number| normal(number)).collect()
}

/// Whether somebody who heard these numbers may write this one.
pub(super) fn is_heard(run: &Run, heard: &BTreeSet<String>) -> bool {
    let whole = |pieces: &[String]| heard.contains(&normal(&joined(pieces)));
    let each = |pieces: &[String]| pieces.iter().all(|piece| heard.contains(&normal(piece)));
    let full_hour = |pieces: &[String]| pieces.len() == 2 && pieces[1] == "00" && heard.contains(&normal(&pieces[0]));
    whole(&run.pieces) || run.parts().all(|part| whole(part) || each(part) || full_hour(part))
}

/// The value of a single word: "fifteenth", "15th", "15".
pub(super) fn small(word: &str) -> Option<u32> {
    match atom(word, None)? {
        Atom::Digits(digits) => digits.parse().ok(),
        Atom::Unit(value) | Atom::Tens(value) => u32::try_from(value).ok(),
        _ => None,
    }
}

fn joined(pieces: &[String]) -> String {
    pieces.concat()
}

/// `286.50` and `286.5`, `07` and `7` are the same.
fn normal(number: &str) -> String {
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    // Leading zeros count in what is dialled.
    if number.len() <= 2 { number.trim_start_matches('0').to_owned() } else { number.to_owned() }
}

fn atom(word: &str, before: Option<&Atom>) -> Option<Atom> {
    if let Some(value) = position(UNITS, word).or_else(|| position(ORDINALS, word)) {
        return Some(Atom::Unit(value));
    }
    if let Some(value) = position(TENS, word).or_else(|| position(TENTHS, word)) {
        return Some(Atom::Tens(20 + 10 * value));
    }
    match word {
        "hundred" | "hundredth" => Some(Atom::Hundred),
        "thousand" | "thousandth" => Some(Atom::Scale(1_000)),
        "million" | "millionen" => Some(Atom::Scale(1_000_000)),
        "and" | "point" | "oh" | "o" if before.is_none() => None,
        "and" => matches!(before, Some(Atom::Hundred | Atom::Scale(_))).then_some(Atom::And),
        "point" | "komma" => before.is_some().then_some(Atom::Point),
        "oh" | "o" => Some(Atom::Unit(0)),
        "double" => Some(Atom::Times(2)),
        "triple" => Some(Atom::Times(3)),
        _ => digits(word).or_else(|| german(word).map(|value| value.to_string())).map(Atom::Digits),
    }
}

/// The place of a word in a list.
fn position(list: &str, word: &str) -> Option<u64> {
    list.split(' ').position(|known| known == word).map(|at| at as u64)
}

/// A word that begins with a digit: `1,200.50`, `15th`, `5k`, `10:30`.
fn digits(word: &str) -> Option<String> {
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let end = word.find(|c: char| c.is_alphabetic()).unwrap_or(word.len());
    let (number, suffix) = word.split_at(end);
    let groups: Vec<&str> = number.split(['.', ',']).collect();
    let thousands = groups.len() > 1 && groups[0].len() <= 3 && groups[1..].iter().all(|group| group.len() == 3);
    let whole = match groups.split_last() {
        Some((_, [])) => number.to_owned(),
        _ if thousands => groups.concat(),
        Some((cents, before)) => format!("{}.{cents}", before.concat()),
        None => return None,
    };
    match suffix {
        "k" => whole.parse::<f64>().ok().map(|value| format!("{}", value * 1_000.0)),
        _ => Some(whole),
    }
}

/// `15.03.2027`.
fn is_date(word: &str) -> bool {
    word.matches('.').count() == 2 && word.split('.').map(str::len).eq([2, 2, 4])
}

/// "zweihundertfünfzig", "einundzwanzig", "fünfzehnten".
fn german(word: &str) -> Option<u64> {
    if word.len() > LONGEST_WORD {
        return None;
    }
    let word = word.replace("zwo", "zwei").replace("dreissig", "dreißig");
    let ordinal = ["sten", "ster", "ste", "ten", "ter", "te"].iter().find_map(|end| word.strip_suffix(end));
    german_cardinal(&word).or_else(|| ordinal.and_then(german_cardinal))
}

fn german_cardinal(word: &str) -> Option<u64> {
    let rest_of = |rest: &str| if rest.is_empty() { Some(0) } else { german_cardinal(rest.trim_start_matches("und")) };
    for (name, value) in [("tausend", 1_000), ("hundert", 100)] {
        if let Some((many, rest)) = word.split_once(name) {
            let many = if many.is_empty() || many == "ein" { 1 } else { german_cardinal(many)? };
            return Some(many * value + rest_of(rest)?);
        }
    }
    if let Some(value) = position(GERMAN_UNITS, word) {
        return Some(value);
    }
    if let Some(value) = position(GERMAN_TENS, word) {
        return Some(20 + 10 * value);
    }
    let (unit, tens) = word.split_once("und")?;
    let unit = if unit == "ein" { 1 } else { position(GERMAN_UNITS, unit).filter(|unit| *unit < 10)? };
    Some(20 + 10 * position(GERMAN_TENS, tens)? + unit)
}

/// Puts the words of one breath together, as many to a number as belong to it.
fn pieces(atoms: &[(Atom, bool)]) -> (Vec<String>, Vec<usize>) {
    let (mut pieces, mut after_comma) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < atoms.len() {
        if atoms[at].1 {
            after_comma.push(pieces.len());
        }
        let (piece, next) = number(atoms, at);
        pieces.extend(piece);
        at = next;
    }
    (pieces, after_comma)
}

/// The number that begins at `at`, and where it ends.
fn number(atoms: &[(Atom, bool)], at: usize) -> (Option<String>, usize) {
    let get = |at: usize| atoms.get(at).filter(|(_, comma)| !comma).map(|(atom, _)| atom);
    match (&atoms[at].0, get(at + 1)) {
        (Atom::Times(times), Some(Atom::Unit(unit))) => return (Some(unit.to_string().repeat(*times)), at + 2),
        (Atom::Digits(digits), Some(Atom::Scale(scale))) => {
            let value = digits.parse::<f64>().unwrap_or_default() * *scale as f64;
            return (Some(format!("{value}")), at + 2);
        }
        (Atom::Digits(digits), _) => return (Some(digits.clone()), at + 1),
        (Atom::And | Atom::Point | Atom::Times(_), _) => return (None, at + 1),
        _ => {}
    }
    let (mut total, mut current, mut next) = (0_u64, None::<u64>, at);
    let mut last: Option<&Atom> = None;
    while let Some(atom) = if next == at { Some(&atoms[at].0) } else { get(next) } {
        current = match (atom, current, last) {
            (Atom::Unit(unit), None, _) => Some(*unit),
            (Atom::Unit(unit @ 1..=9), Some(sum), Some(Atom::Tens(_))) => Some(sum + unit),
            (Atom::Unit(value) | Atom::Tens(value), Some(sum), Some(Atom::Hundred | Atom::Scale(_) | Atom::And)) => {
                Some(sum + value)
            }
            (Atom::Tens(tens), None, _) => Some(*tens),
            (Atom::Hundred, sum, _) if sum.unwrap_or(1) < 100 => Some(sum.unwrap_or(1).max(1) * 100),
            (Atom::Scale(scale), sum, _) => {
                total += sum.unwrap_or(1).max(1) * scale;
                Some(0)
            }
            (Atom::And, sum @ Some(_), _) => sum,
            _ => break,
        };
        last = Some(atom);
        next += 1;
    }
    let whole = (total + current.unwrap_or(0)).to_string();
    if get(next) == Some(&Atom::Point) {
        let decimals: String = (next + 1..)
            .map_while(|at| match get(at) {
                Some(Atom::Unit(unit @ 0..=9)) => Some(unit.to_string()),
                _ => None,
            })
            .collect();
        if !decimals.is_empty() {
            let end = next + 1 + decimals.len();
            return (Some(format!("{whole}.{decimals}")), end);
        }
    }
    (Some(whole), next.max(at + 1))
}

/// "half past ten", "quarter to five", "two pm", "14 Uhr".
fn clock_times(words: &[Word], run: &Run) -> Vec<String> {
    let word = |at: Option<usize>| at.and_then(|at| words.get(at)).map_or("", |word| word.text.as_str());
    let Some(hour) = run.pieces.first().and_then(|piece| piece.parse::<u32>().ok()).filter(|hour| *hour < 24) else {
        return Vec::new();
    };
    let mut times = Vec::new();
    match (word(run.start.checked_sub(2)), word(run.start.checked_sub(1))) {
        ("half", "past") => times.push(format!("{hour}30")),
        ("quarter", "past") => times.push(format!("{hour}15")),
        ("quarter", "to") => times.push(format!("{}45", (hour + 11) % 12)),
        _ => {}
    }
    match word(Some(run.end)) {
        "pm" if hour < 12 => times.push((hour + 12).to_string()),
        "uhr" if hour > 12 => times.push((hour - 12).to_string()),
        _ => {}
    }
    times
}

/// "two dollars and fifty cents", "two euros fifty", "fifty cents".
fn with_cents(words: &[Word], whole: &Run, cents: &Run) -> Option<String> {
    let between: Vec<&str> = words[whole.end..cents.start].iter().map(|word| word.text.as_str()).collect();
    let money =
        matches!(between.as_slice(), [unit] | [unit, "and" | "und"] if super::lexicon::currency(unit).is_some());
    let cents = cents.pieces.first().filter(|cents| money && cents.len() <= 2)?;
    Some(format!("{}.{cents:0>2}", whole.joined()))
}

/// Numbers in words that are no number words.
fn said_otherwise(words: &[Word]) -> impl Iterator<Item = String> {
    words.iter().filter_map(|word| {
        let number = match word.text.as_str() {
            "twice" | "both" | "zweimal" => 2,
            "thrice" | "dreimal" => 3,
            "dozen" | "noon" | "midday" | "midnight" | "mittag" | "dutzend" => 12,
            "fortnight" => 14,
            text => super::lexicon::month(text)?,
        };
        Some(number.to_string())
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::words::words;
    use super::*;

    #[rstest]
    #[case("The number is four four one seven.", "4417")]
    #[case("number 4417", "four four one seven")]
    #[case("forty four seventeen", "4417")]
    #[case("four-four, one-seven", "4417")]
    #[case("4 4 1 7", "4417")]
    #[case("two hundred dollars", "$200")]
    #[case("$200", "two hundred")]
    #[case("a hundred and five", "105")]
    #[case("two hundred eighty six dollars and fifty cents", "286.50")]
    #[case("two eighty six", "286")]
    #[case("three to five business days", "3 to 5")]
    #[case("3-5 days", "three to five")]
    #[case("one thousand two hundred", "1,200")]
    #[case("twelve hundred", "1200")]
    #[case("5k", "five thousand")]
    #[case("two point five million", "2.5")]
    #[case("1.2 million", "1200000")]
    #[case("March fifteenth, twenty twenty seven", "March 15, 2027")]
    #[case("March fifteenth twenty twenty seven", "2027-03-15")]
    #[case("double five oh one", "5501")]
    #[case("five five five zero one zero four", "555-0104")]
    #[case("half past ten", "10:30")]
    #[case("ten thirty", "10:30")]
    #[case("ten o'clock", "10:00")]
    #[case("two pm", "14:00")]
    #[case("charged twice", "2 times")]
    #[case("zweihundertfünfzig Euro", "250")]
    #[case("vier vier eins sieben", "4417")]
    #[case("am fünfzehnten", "15")]
    #[case("einundzwanzig", "21")]
    #[case("1.200,50 €", "1200.5")]
    fn what_was_heard_may_be_written(#[case] said: &str, #[case] written: &str) {
        let heard = heard(&words(said));
        assert!(runs(&words(written)).iter().all(|run| is_heard(run, &heard)), "{heard:?} {:?}", runs(&words(written)));
    }

    #[rstest]
    #[case("four four one seven", "4471")]
    #[case("four four one seven", "417")]
    #[case("two hundred eighty six", "280")]
    #[case("two hundred dollars", "$20")]
    #[case("two hundred", "2000")]
    #[case("three to five business days", "5 to 7")]
    #[case("half past ten", "10:15")]
    #[case("nothing", "7")]
    #[case("March fifteenth", "March 16")]
    #[case("zweihundertfünfzig", "205")]
    fn what_was_not_heard_may_not(#[case] said: &str, #[case] written: &str) {
        let heard = heard(&words(said));
        assert!(!runs(&words(written)).iter().all(|run| is_heard(run, &heard)), "{heard:?}");
    }
}
