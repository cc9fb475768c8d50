//! Where in a call the words stand that were looked for: short pieces of text, with the words apart.
//!
//! PostgreSQL could do it (`ts_headline`), but reads every transcript of the page as a whole for it, which takes longer
//! than the search. Here words are told apart, and those that may be meant are given to the index's own dictionary.

use std::borrow::Cow;

use hashbrown::HashSet;
use poem_openapi::Object;
use serde::Serialize;

use super::super::schema::Nullable;
use super::search::numbers_in;
use super::words::Part;
use crate::model::Segment;

/// A call shows so many of them.
const MOST: usize = 3;
/// Characters of a piece, before and after its first word that was looked for.
const BEFORE: usize = 60;
const AFTER: usize = 120;

/// A place in a call where something that was looked for stands.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "SearchExcerpt")]
pub struct Excerpt {
    /// Of which part of the call it is.
    part: Part,
    /// Index of the transcript's segment; null outside of it.
    segment: Nullable<i32>,
    /// Start of that segment in milliseconds from the start of the recording.
    start_ms: Nullable<i64>,
    /// The text, in pieces.
    text: Vec<Piece>,
}

impl Excerpt {
    /// Whether it is of what was said.
    pub fn is_of_transcript(&self) -> bool {
        self.part == Part::Transcript
    }
}

/// A piece of text that was looked for, or is around it. Together they are the text; no piece is markup.
#[derive(Debug, PartialEq, Eq, Object, Serialize)]
#[oai(rename = "SearchExcerptPiece")]
struct Piece {
    /// The words.
    text: String,
    /// Whether it was looked for.
    hit: bool,
}

/// What can be found in a call.
pub struct Texts<'a> {
    /// Names and numbers of the caller.
    pub caller: [Option<&'a str>; 2],
    /// Names and numbers of the called.
    pub called: [Option<&'a str>; 2],
    /// The summary.
    pub summary: Option<&'a str>,
    /// What was said, if the key opens it.
    pub segments: &'a [Segment],
}

impl<'a> Texts<'a> {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &'a str> {
        let outside = self.caller.into_iter().chain(self.called).chain([self.summary]);
        outside.flatten().chain(self.segments.iter().map(|segment| segment.text.as_str()))
    }
}

/// Knows what was looked for.
pub struct Finder {
    /// The words as they stand in texts, in lower case.
    words: HashSet<String>,
    /// How they begin.
    begins: Beginnings,
    /// Ends of numbers, backwards.
    numbers: Vec<String>,
}

/// The words of these texts, in lower case, that may be among those with these entries in the index, as often as they stand
/// there: dictionaries change how a word ends, and take accents away.
pub fn candidates<'a>(texts: impl Iterator<Item = &'a str>, entries: &[String]) -> impl Iterator<Item = Cow<'a, str>> {
    let begins = Beginnings::of(entries);
    texts.flat_map(words_of).filter(move |(_, word)| begins.has(word)).map(|(_, word)| lower(word))
}

/// How some words begin. Most others begin in another way, and need no closer look.
struct Beginnings(Vec<char>);

impl Beginnings {
    fn of<'a>(words: impl IntoIterator<Item = &'a String>) -> Self {
        Self(words.into_iter().filter_map(|word| word.chars().next()).collect())
    }

    fn has(&self, word: &str) -> bool {
        let first = word.chars().next().unwrap_or_default();
        !first.is_ascii()
            || self.0.contains(&first.to_ascii_lowercase())
            || self.0.iter().any(|first| !first.is_ascii())
    }
}

fn lower(word: &str) -> Cow<'_, str> {
    let is_lower = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if is_lower { Cow::Borrowed(word) } else { Cow::Owned(word.to_lowercase()) }
}

impl Finder {
    /// Finds these words, and numbers that end with these digits.
    pub fn new(words: HashSet<String>, numbers: &[Vec<String>]) -> Self {
        let backwards = |digits: &String| digits.chars().rev().collect();
        Self { begins: Beginnings::of(&words), words, numbers: numbers.iter().flatten().map(backwards).collect() }
    }

    /// The best places of a call: those with the most different words, in the order of the call.
    pub fn excerpts(&self, texts: &Texts<'_>) -> Vec<Excerpt> {
        let outside = |part: Part, text: Option<&str>| {
            self.find(text?)
                .map(|(score, text)| (score, Excerpt { part, segment: None.into(), start_ms: None.into(), text }))
        };
        let [caller, called] = [(Part::Caller, texts.caller), (Part::Called, texts.called)];
        let mut found: Vec<(usize, Excerpt)> = [caller, called]
            .into_iter()
            .flat_map(|(part, texts)| texts.map(|text| outside(part, text)))
            .chain([outside(Part::Summary, texts.summary)])
            .flatten()
            .collect();
        for (index, segment) in texts.segments.iter().enumerate() {
            if let Some((score, text)) = self.find(&segment.text) {
                let (index, start) = (Some(index as i32).into(), Some(segment.start_ms).into());
                found.push((score, Excerpt { part: Part::Transcript, segment: index, start_ms: start, text }));
            }
        }
        let mut best: Vec<usize> = (0..found.len()).collect();
        best.sort_by_key(|index| std::cmp::Reverse(found[*index].0));
        best.truncate(MOST);
        let mut index = 0;
        found.retain(|_| {
            index += 1;
            best.contains(&(index - 1))
        });
        found.into_iter().map(|(_, excerpt)| excerpt).collect()
    }

    /// How many different things of a text were looked for, and the text around them; `None` = nothing.
    fn find(&self, text: &str) -> Option<(usize, Vec<Piece>)> {
        let mut hits: Vec<(usize, usize)> = words_of(text)
            .filter(|(_, word)| self.begins.has(word) && self.words.contains(&*lower(word)))
            .map(|(start, word)| (start, start + word.len()))
            .collect();
        if !self.numbers.is_empty() {
            let is_wanted = |digits: &str| {
                let backwards: String = digits.chars().rev().collect();
                self.numbers.iter().any(|number| backwards.starts_with(number))
            };
            for number in numbers_in(text) {
                if is_wanted(&number.digits) {
                    hits.push((number.start, number.stop));
                } else {
                    let parts = number.parts.iter().filter(|part| part.is_number() && is_wanted(&part.digits));
                    hits.extend(parts.map(|part| (part.start, part.stop)));
                }
            }
            hits.sort_unstable();
        }
        let first = *hits.first()?;
        let different: HashSet<String> = hits.iter().map(|(start, stop)| text[*start..*stop].to_lowercase()).collect();
        Some((different.len(), pieces(text, first, &hits)))
    }
}

/// The text around the first hit, cut at blanks.
fn pieces(text: &str, first: (usize, usize), hits: &[(usize, usize)]) -> Vec<Piece> {
    let from = cut(text, text[..first.0].char_indices().rev().nth(BEFORE - 1).map_or(0, |(at, _)| at), first.0);
    let to = text[first.1..].char_indices().nth(AFTER).map_or(text.len(), |(at, _)| {
        let limit = first.1 + at;
        text[first.1..limit].rfind(char::is_whitespace).map_or(limit, |blank| first.1 + blank)
    });
    let plain = |text: &str| Piece { text: text.to_owned(), hit: false };
    let mut pieces = Vec::new();
    let mut at = from;
    if from > 0 {
        pieces.push(plain("… "));
    }
    for (start, stop) in hits.iter().filter(|(_, stop)| *stop <= to) {
        if *start < at {
            continue;
        }
        pieces.push(plain(&text[at..*start]));
        pieces.push(Piece { text: text[*start..*stop].to_owned(), hit: true });
        at = *stop;
    }
    pieces.push(plain(&text[at..to]));
    if to < text.len() {
        pieces.push(plain(" …"));
    }
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces.into_iter().filter(|piece| !piece.text.is_empty()) {
        match joined.last_mut() {
            Some(last) if !last.hit && !piece.hit => last.text += &piece.text,
            _ => joined.push(piece),
        }
    }
    joined
}

/// Behind the first blank from here on, if there is one before the hit.
fn cut(text: &str, from: usize, hit: usize) -> usize {
    if from == 0 {
        return 0;
    }
    text[from..hit].find(char::is_whitespace).map_or(from, |blank| {
        let rest = &text[from + blank..];
        from + blank + rest.len() - rest.trim_start().len()
    })
}

/// Words and where they begin.
fn words_of(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(move |word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Speaker;

    fn finder(words: &[&str], numbers: &[&str]) -> Finder {
        let numbers: Vec<Vec<String>> = numbers.iter().map(|digits| vec![digits.to_string()]).collect();
        Finder::new(words.iter().map(ToString::to_string).collect(), &numbers)
    }

    fn shown(pieces: &[Piece]) -> String {
        pieces.iter().map(|piece| if piece.hit { format!("[{}]", piece.text) } else { piece.text.clone() }).collect()
    }

    #[test]
    fn the_words_stand_apart() {
        let find = |finder: Finder, text: &str| finder.find(text).map(|(score, pieces)| (score, shown(&pieces)));
        let refund = || finder(&["refunds", "refund", "züge"], &["5550100002"]);
        assert_eq!(find(refund(), "Two Refunds, one refund."), Some((2, "Two [Refunds], one [refund].".to_owned())));
        assert_eq!(find(refund(), "<b>Züge</b>"), Some((1, "<b>[Züge]</b>".to_owned())));
        assert_eq!(find(refund(), "Call +1 (555) 010-0002."), Some((1, "Call [+1 (555) 010-0002].".to_owned())));
        assert_eq!(find(refund(), "Call 555 010 0003."), None);
        let long = format!("{} refund {}", "before ".repeat(40), "after ".repeat(40));
        let (_, text) = find(refund(), &long).unwrap();
        assert!(text.starts_with("… before ") && text.contains(" [refund] ") && text.ends_with("after …"), "{text}");
        assert!(text.chars().count() < 220, "{text}");
        let wide = format!("{}refund{}", "ä".repeat(200), "ö".repeat(200));
        assert_eq!(find(refund(), &wide), None, "a part of a word");
        let wide = format!("{}-refund-{}", "ä".repeat(200), "ö".repeat(200));
        assert!(find(refund(), &wide).is_some(), "cut between characters");
    }

    #[test]
    fn the_best_places_are_shown_in_their_order() {
        let segment = |text: &str| Segment { speaker: Speaker::Agent, start_ms: 7, end_ms: 9, text: text.to_owned() };
        let segments = ["a refund", "nothing", "refund by mail", "mail", "refund mail", "a refund"].map(segment);
        let texts = Texts {
            caller: [Some("Mail Order"), None],
            called: [None, None],
            summary: Some("None."),
            segments: &segments,
        };
        let seen: Vec<_> = finder(&["refund", "mail"], &[])
            .excerpts(&texts)
            .iter()
            .map(|excerpt| (excerpt.part, excerpt.segment.0))
            .collect();
        let transcript = |segment| (Part::Transcript, Some(segment));
        assert_eq!(seen, [(Part::Caller, None), transcript(2), transcript(4)]);
    }

    #[test]
    fn only_words_that_begin_alike_may_be_meant() {
        let words =
            |text| candidates([text].into_iter(), &["refund".to_owned(), "uber".to_owned()]).collect::<Vec<_>>();
        assert_eq!(words("Refunds refund, Really? Mail"), ["refunds", "refund", "really"]);
        assert_eq!(words("Über den Zug"), ["über"]);
    }
}
