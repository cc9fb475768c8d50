//! The transcript as a witness: who said which words, who is called what, in which language.

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;

use super::words::{Gap, Word, is_function_word, words};
use crate::model::{Speaker, Transcript};

/// What claims can be read in this language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// All of them.
    English,
    /// Numbers, times, quotes, and those names that are no nouns.
    German,
    /// Numbers in digits, quotes and names.
    Other,
}

const GERMAN: &str =
    " der die das und ist ich sie nicht ein eine zu mit auf für den dem wir haben mir ihnen bitte ja nein ";
/// Of a text's words, at least one in so many belongs to the small words of its language.
const ONE_IN: usize = 6;
/// Before somebody's own name.
const INTRODUCTIONS: [&[&str]; 7] = [
    &["this", "is"],
    &["name", "is"],
    &["i", "am"],
    &["name", "ist"],
    &["hier", "ist"],
    &["hier", "spricht"],
    &["ich", "bin"],
];
/// Before the other one's name.
const GREETINGS: [&str; 8] = ["hi", "hello", "hey", "dear", "you", "thanks", "hallo", "danke"];
/// Who says this speaks of the other one.
const YOU: [&str; 9] = ["you", "your", "yours", "yourself", "sie", "ihnen", "ihr", "dir", "dich"];

/// One segment.
struct Turn {
    speaker: Speaker,
    words: Vec<Word>,
}

/// A transcript, read once for all checks of an answer.
pub(super) struct Said {
    turns: Vec<Turn>,
    /// Names that belong to a speaker.
    names: Vec<(Speaker, String)>,
    /// In which claims are read.
    pub language: Language,
    /// The moment of the call.
    pub call: DateTime<Utc>,
    /// In which days are counted.
    pub zone: Tz,
}

impl Said {
    /// Reads a transcript of a call at this moment.
    pub fn new(transcript: &Transcript, call: DateTime<Utc>, zone: Tz) -> Self {
        let turn = |segment: &crate::model::Segment| Turn { speaker: segment.speaker, words: words(&segment.text) };
        let turns: Vec<Turn> = transcript.segments.iter().map(turn).collect();
        let names = turns.iter().flat_map(names).collect();
        let language = language(transcript.language.as_deref(), &turns);
        Self { turns, names, language, call, zone }
    }

    /// How many segments there are.
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// The call's day where the team is.
    pub fn today(&self) -> NaiveDate {
        self.call.with_timezone(&self.zone).date_naive()
    }

    /// All words of these segments.
    pub fn words_of(&self, evidence: &[i32]) -> Vec<Word> {
        self.turns(evidence).flat_map(|turn| turn.words.iter().cloned()).collect()
    }

    /// Whether a word was said anywhere in the call.
    pub fn anywhere(&self, word: &str) -> bool {
        self.turns.iter().flat_map(|turn| &turn.words).any(|said| same_name(&said.text, word))
    }

    /// Whether these segments speak of somebody of this name: it is said there, it is a speaker's own, or, unless the
    /// name is that of who acts (`acts`), it belongs to the one that a speaker says "you" to.
    pub fn speaks_of(&self, evidence: &[i32], name: &str, acts: bool) -> bool {
        if self.turns(evidence).flat_map(|turn| &turn.words).any(|word| same_name(&word.text, name)) {
            return true;
        }
        let owners = self.names.iter().filter(|(_, known)| same_name(known, name)).map(|(speaker, _)| *speaker);
        owners.into_iter().any(|owner| {
            self.turns(evidence).any(|turn| {
                let unclear = owner == Speaker::Unknown || turn.speaker == Speaker::Unknown;
                let addressed = !acts && turn.words.iter().any(|word| YOU.contains(&word.text.as_str()));
                unclear || turn.speaker == owner || addressed
            })
        })
    }

    fn turns(&self, evidence: &[i32]) -> impl Iterator<Item = &Turn> {
        evidence.iter().filter_map(|&index| self.turns.get(usize::try_from(index).ok()?))
    }
}

/// "Susan", "Susans"; also "IBM" heard letter by letter is left to the caller.
fn same_name(one: &str, other: &str) -> bool {
    one == other || one.strip_suffix('s') == Some(other) || other.strip_suffix('s') == Some(one)
}

/// The names that a turn gives to its speaker and to the other one.
fn names(turn: &Turn) -> Vec<(Speaker, String)> {
    let words = &turn.words;
    let other = match turn.speaker {
        Speaker::Agent => Speaker::Customer,
        Speaker::Customer => Speaker::Agent,
        Speaker::Unknown => Speaker::Unknown,
    };
    let name_from = |from: usize| {
        let name = words[from..].iter().enumerate().take_while(|(at, word)| {
            (word.capital || *at == 0 && !is_function_word(&word.text)) && (*at == 0 || word.gap == Gap::None)
        });
        name.map(|(_, word)| word.text.clone()).collect::<Vec<_>>()
    };
    let mut names = Vec::new();
    for at in 0..words.len() {
        let text = |back: usize| at.checked_sub(back).map_or("", |at| words[at].text.as_str());
        if INTRODUCTIONS.iter().any(|words| [text(2), text(1)] == **words) || text(1) == "i" && words[at].capital {
            names.extend(name_from(at).into_iter().map(|name| (turn.speaker, name)));
        } else if GREETINGS.contains(&text(1)) && words[at].capital && words[at].gap < Gap::Hard {
            names.extend(name_from(at).into_iter().map(|name| (other, name)));
        } else if words[at].text == "speaking" && at > 0 && words[at - 1].capital {
            names.push((turn.speaker, text(1).to_owned()));
        }
    }
    names
}

fn language(named: Option<&str>, turns: &[Turn]) -> Language {
    match named.map(str::to_lowercase).as_deref() {
        Some("en" | "english") => return Language::English,
        Some("de" | "german") => return Language::German,
        Some(_) => return Language::Other,
        None => {}
    }
    let all: Vec<&str> = turns.iter().flat_map(|turn| &turn.words).map(|word| word.text.as_str()).collect();
    let many = |is: &dyn Fn(&str) -> bool| all.iter().filter(|word| is(word)).count() * ONE_IN >= all.len();
    if many(&|word| GERMAN.contains(&format!(" {word} "))) {
        Language::German
    } else if many(&is_function_word) {
        Language::English
    } else {
        Language::Other
    }
}
