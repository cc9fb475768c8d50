//! Text as words that can be compared: lower case, without punctuation, endings that mean little left aside.

/// What stands between a word and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gap {
    /// A blank or a hyphen.
    None,
    /// A comma or a bracket: the thought goes on.
    Soft,
    /// The end of a sentence or of a clause.
    Hard,
}

/// One word, number or sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// Lower case, without apostrophes; `n't` is `not`.
    pub text: String,
    /// It began with an upper-case letter.
    pub capital: bool,
    /// It stands first in a sentence, where a capital says nothing.
    pub first: bool,
    /// What stands before it.
    pub gap: Gap,
}

/// Signs that are words of their own.
const SIGNS: [char; 4] = ['$', '€', '£', '%'];
/// A full stop after these ends no sentence.
const TITLES: [&str; 8] = ["mr", "mrs", "ms", "dr", "st", "no", "nr", "prof"];
/// Two forms of one word share at least this many letters,
const SHORTEST_STEM: usize = 4;
/// and differ in no more than this many of the shorter one's.
const ENDING: usize = 2;
/// Irregular forms, and words that stand for each other on the telephone.
const ALIKE: &[&[&str]] = &[
    &["send", "sent", "sends"],
    &["find", "found", "see", "saw", "seen", "notice", "noticed"],
    &["pay", "paid", "pays", "payment"],
    &["tell", "told", "say", "said", "says"],
    &["bring", "brought"],
    &["buy", "bought", "order", "ordered", "purchase", "purchased"],
    &["give", "gave", "given"],
    &["go", "goes", "went", "gone"],
    &["take", "took", "taken", "takes"],
    &["break", "broke", "broken", "breaks"],
    &["lose", "lost", "loses"],
    &["keep", "kept"],
    &["leave", "left", "leaving"],
    &["speak", "spoke", "talk", "talked"],
    &["write", "wrote", "written"],
    &["run", "ran", "running"],
    &["sorry", "apologise", "apologised", "apologize", "apologized", "apology", "apologises", "apologizes"],
    &["refund", "refunded", "reimburse", "reimbursed", "reimbursement"],
    &["call", "called", "calls", "phone", "ring", "rang", "telephone"],
    &["late", "delayed", "delay", "overdue", "waiting"],
    &["email", "mail", "mails", "emails"],
    &["move", "moved", "moving", "reschedule", "rescheduled", "rescheduling", "postpone", "postponed"],
    &["angry", "upset", "furious", "mad", "annoyed"],
    &["fix", "fixed", "repair", "repaired", "solve", "solved", "correct", "corrected"],
    &["invoice", "bill", "bills", "invoices"],
    &["believe", "believes", "think", "thinks", "thought", "suspect", "suspects"],
    &["happy", "pleased", "glad", "satisfied"],
    &["help", "helped", "helps", "assist", "assisted"],
    &["problem", "issue", "fault", "trouble", "wrong", "faulty"],
    &["text", "sms"],
    &["twice", "double", "second", "duplicate"],
];

/// The words of a text, in order.
pub(super) fn words(text: &str) -> Vec<Word> {
    let text = text.replace(['’', 'ʼ'], "'").replace("a.m.", "am").replace("p.m.", "pm");
    let characters: Vec<char> = text.replace("e-mail", "email").replace("E-mail", "Email").chars().collect();
    let (mut words, mut gap, mut at) = (Vec::<Word>::new(), Gap::Hard, 0);
    while at < characters.len() {
        let start = at;
        while at < characters.len() && belongs(&characters, at, start) {
            at += 1;
        }
        if at == start {
            let character = characters[at];
            if SIGNS.contains(&character) {
                words.push(Word { text: character.into(), capital: false, first: gap == Gap::Hard, gap });
                gap = Gap::None;
            } else {
                let title = words.last().is_some_and(|word| gap == Gap::None && TITLES.contains(&word.text.as_str()));
                gap = gap.max(gap_of(character, title));
            }
            at += 1;
            continue;
        }
        let raw: String = characters[start..at].iter().collect();
        let capital = characters[start].is_uppercase();
        words.push(Word { text: plain(&raw), capital, first: gap == Gap::Hard, gap });
        gap = Gap::None;
    }
    words
}

/// Whether the character at `at` goes on with the word that began at `start`. Digits keep their separators.
fn belongs(characters: &[char], at: usize, start: usize) -> bool {
    let character = characters[at];
    if character.is_alphanumeric() {
        return true;
    }
    let next = characters.get(at + 1).copied().unwrap_or(' ');
    let inside = at > start;
    inside
        && (character == '\'' && next.is_alphabetic()
            || matches!(character, '.' | ',' | ':') && characters[at - 1].is_ascii_digit() && next.is_ascii_digit())
}

fn gap_of(character: char, after_title: bool) -> Gap {
    match character {
        '.' if after_title => Gap::None,
        '.' | '!' | '?' | ';' | ':' | '"' | '“' | '”' | '„' | '«' | '»' | '\n' | '…' | '•' => Gap::Hard,
        ',' | '(' | ')' | '–' | '—' => Gap::Soft,
        _ => Gap::None,
    }
}

fn plain(raw: &str) -> String {
    let lower = raw.to_lowercase();
    if lower.ends_with("n't") {
        return "not".to_owned();
    }
    let suffix = ["'s", "'ll", "'re", "'ve", "'d", "'m"].iter().find_map(|suffix| lower.strip_suffix(suffix));
    suffix.unwrap_or(&lower).replace('\'', "")
}

/// Whether two words are forms of one, or mean the same.
pub(super) fn alike(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let shared = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    let shorter = one.chars().count().min(other.chars().count());
    if shared >= SHORTEST_STEM && shared + ENDING >= shorter && shorter > SHORTEST_STEM - 1 {
        // "desk", "desks"; "confirm", "confirmation"; but not "charger" for "chart".
        return shared == shorter || shared > SHORTEST_STEM;
    }
    ALIKE.iter().any(|group| group.contains(&one) && group.contains(&other))
}

/// Words that carry no meaning of their own, and those of reporting: "the customer asked whether ...".
pub(super) fn is_function_word(word: &str) -> bool {
    const WORDS: &str = " a about after again all also am an and any anyone are as asked asks at back be because been \
        before being both but by calling called caller calls can clear confirmed could customer client agent did do does \
        done during each either else end ended even ever every everything explained explains for from get gets getting \
        got had has have having he her here hers him his how i if in into is it its itself just kind let like made make \
        makes many may me mentioned mentions might more most much must my need needs neither now of off on once one only \
        or other our out over own per promised promises please quite rather really reported reports said says see she \
        should so some somebody someone something spoke stated such tell than thank thanks that the their them themselves \
        then there these they thing this those through till to told too under until up upon us very via want wanted \
        wants was we well were what when where whether which while who whom whose why will wish wished wishes with within \
        would yet you your yours agreed agrees states conversation phone telephone ";
    WORDS.contains(&format!(" {word} "))
}

/// Words that turn a sentence round.
pub(super) fn is_negation(word: &str) -> bool {
    const WORDS: &str = " not no never none nothing nobody without neither nor cannot ";
    WORDS.contains(&format!(" {word} "))
}

/// Whether `wanted` stands in `said`, word for word.
pub(super) fn holds(said: &[&str], wanted: &[&str]) -> bool {
    wanted.is_empty() || said.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_know_their_place() {
        let words = words("Dr. Hall's bill, $1,200.50: don't pay twenty-five! Then it's 10:30 p.m.");
        let texts: Vec<_> = words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(
            texts,
            ["dr", "hall", "bill", "$", "1,200.50", "not", "pay", "twenty", "five", "then", "it", "10:30", "pm"]
        );
        let firsts: Vec<_> = words.iter().filter(|word| word.first).map(|word| word.text.as_str()).collect();
        assert_eq!(firsts, ["dr", "not", "then"]);
        assert_eq!((words[1].capital, words[3].gap, words[8].gap), (true, Gap::Soft, Gap::None));
    }

    #[test]
    fn forms_of_a_word_are_alike_and_others_are_not() {
        for (one, other) in [
            ("refund", "refunded"),
            ("confirm", "confirmation"),
            ("desk", "desks"),
            ("sent", "send"),
            ("switching", "switched"),
            ("appointment", "appointments"),
            ("sorry", "apologised"),
        ] {
            assert!(alike(one, other), "{one} {other}");
        }
        for (one, other) in
            [("charge", "change"), ("contract", "contact"), ("car", "card"), ("july", "june"), ("monday", "money")]
        {
            assert!(!alike(one, other), "{one} {other}");
        }
    }
}
