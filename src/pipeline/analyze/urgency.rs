//! Urgency that alarms people needs somebody who said so.

use super::said::{Language, Said};
use super::words::{Word, alike, words};
use crate::model::Statement;

/// The most that the model's word alone can say: from 4 on people are alarmed, and 5 passes the quiet hours.
const UNPROVEN: i16 = 3;
/// The most that "today" can say.
const TODAY: i16 = 4;
/// What people say when something is badly wrong, or hurries.
const ALARMING: &str = "urgent urgently emergency immediately immediate asap deadline angry furious upset complain \
    complaint cancel late overdue delayed stop stopped stops broken breaks broke fail failed failure down outage lost \
    leak leaking fire flood danger dangerous injured injury hurt pain hospital police lawyer lawsuit sue legal court \
    stolen theft fraud hacked breach locked stuck stranded missing wrong threaten threatened competitor unacceptable \
    escalate damage damaged dringend notfall sofort wütend verärgert kündigen kündigung kaputt defekt ausgefallen ausfall \
    verspätet frist anwalt polizei gefahr schaden falsch beschwerde";
/// What they say when it is a matter of this day or the next.
const PRESSING: &str = "now today tonight tomorrow twice leave leaving expire expires \
    disappointed manager waiting problem closed closes heute morgen";

/// The model's urgency as far as supported statements speak of it, and their evidence too: 5 needs an alarm, 4 at least
/// a matter of today. In languages that are not read here, any supported statement will do.
pub(super) fn effective(urgency: i16, statements: &[Statement], said: &Said) -> i16 {
    let spoken_of = |signs: &str| {
        statements.iter().filter(|statement| statement.supported).any(|statement| {
            said.language == Language::Other
                || speak_of(signs, &words(&statement.text)) && speak_of(signs, &said.words_of(&statement.evidence))
        })
    };
    if urgency <= UNPROVEN || spoken_of(ALARMING) {
        urgency
    } else if spoken_of(PRESSING) {
        urgency.min(TODAY)
    } else {
        UNPROVEN
    }
}

/// The word "urgency" is no sign: people say "urgent", and those who speak to a machine say "urgency".
fn speak_of(signs: &str, words: &[Word]) -> bool {
    let is_sign = |word: &Word| {
        let form = |sign: &str| sign.len() > 4 && word.text != "urgency" && alike(sign, &word.text);
        signs.split(' ').any(|sign| sign == word.text || form(sign))
    };
    words.iter().any(is_sign)
}
