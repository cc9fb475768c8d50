//! Urgency that wakes people needs somebody who said so.

use super::said::{Language, Said};
use super::words::{Word, alike, words};
use crate::model::Statement;

/// From here on people are alarmed: see `channels` and the quiet hours.
const ALARMING: i16 = 4;
/// The most that the model's word alone can say.
const UNPROVEN: i16 = 3;
/// What people say when it hurries, or when something is badly wrong.
const SIGNS: &str = "urgent emergency immediately immediate asap now today tonight tomorrow deadline angry furious upset complain \
    complaint cancel late overdue delayed stop stopped stops broken breaks broke fail failed failure down outage \
    lost leak leaking fire flood water danger dangerous injured injury hurt pain hospital doctor police lawyer \
    lawsuit sue legal court stolen theft fraud hacked breach locked stuck stranded missing wrong twice threaten \
    threatened leave leaving competitor expire expires unacceptable disappointed escalate manager waiting \
    problem damage damaged closed closes minute hour dringend notfall sofort heute morgen wütend verärgert \
    kündigen kündigung kaputt defekt ausgefallen ausfall verspätet frist anwalt polizei gefahr schaden falsch \
    beschwerde";

/// The model's urgency, at most 3 unless a supported statement speaks of it, and its evidence too.
pub(super) fn effective(urgency: i16, statements: &[Statement], said: &Said) -> i16 {
    let proven = |statement: &Statement| {
        statement.supported
            && (said.language == Language::Other
                || hurries(&words(&statement.text)) && hurries(&said.words_of(&statement.evidence)))
    };
    if urgency >= ALARMING && !statements.iter().any(proven) { UNPROVEN } else { urgency }
}

fn hurries(words: &[Word]) -> bool {
    words.iter().any(|word| SIGNS.split(' ').any(|sign| sign == word.text || sign.len() > 4 && alike(sign, &word.text)))
}
