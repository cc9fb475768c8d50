//! What lists are filtered by, as words of the index of texts: `facts_of` in `migrations/0012_search.sql` puts them there.

use super::call_list::{CallFilter, digits_of, digits_of_bound};
use crate::model::{CallBounds, CallState};

/// The index has the beginnings of numbers with so many digits.
const KNOWN_DIGITS: [usize; 3] = [8, 6, 4];
/// And so many characters of a topic.
const KNOWN_CHARACTERS: usize = 500;

/// What the index knows of a filter.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    words: Vec<String>,
    /// Whether it knows more of it than this.
    pub(super) is_part: bool,
}

impl Facts {
    /// Of all calls that pass the filter and are within the bounds, and of no others unless it is a part.
    pub(super) fn of(filter: &CallFilter, bounds: &CallBounds) -> Self {
        let CallFilter {
            state,
            direction,
            external_id,
            from,
            to,
            caller,
            called,
            sentiment,
            urgency_at_least,
            topic,
            ..
        } = filter;
        let mut facts = Self::default();
        for direction in [direction.as_deref(), bounds.direction()].into_iter().flatten() {
            facts.words.push(word("direction", direction));
        }
        if let Some(sentiment) = sentiment {
            facts.words.push(word("sentiment", sentiment));
        }
        if let Some(least) = urgency_at_least {
            facts.any(((*least).clamp(1, 5)..=5).map(|urgency| word("urgency", &urgency.to_string())));
        }
        if let Some(topic) = topic {
            facts.words.push(word("topic", &topic.chars().take(KNOWN_CHARACTERS).collect::<String>()));
            facts.is_part |= topic.chars().nth(KNOWN_CHARACTERS).is_some();
        }
        for (side, digits) in [("caller", caller), ("called", called)] {
            if let Some(digits) = digits {
                facts.number(&[side], &digits_of(digits));
            }
        }
        if let Some(digits) = digits_of_bound(bounds) {
            facts.number(&["caller", "called"], &digits);
        }
        // Also by what is no digit.
        facts.is_part |= bounds.number_prefix().is_some();
        for (is_so, word) in [(filter.has_open_actions, "open"), (filter.missed, "missed")] {
            match is_so {
                Some(true) => facts.words.push(format!("'~{word}'")),
                Some(false) => facts.is_part = true,
                None => {}
            }
        }
        if state.as_deref() == Some(CallState::NoRecording.as_str()) {
            facts.words.push(word("state", CallState::NoRecording.as_str()));
        }
        if from.is_some() || to.is_some() {
            // The times themselves are asked of the texts (`Search::time`).
            facts.words.push("!'~unstarted'".to_owned());
        }
        facts.is_part |= state.is_some() || external_id.is_some();
        facts
    }

    /// What a text must have, for a `tsquery`; empty = nothing.
    pub(super) fn tsquery(&self) -> String {
        self.words.join(" & ")
    }

    fn any(&mut self, words: impl Iterator<Item = String>) {
        let words: Vec<String> = words.collect();
        self.words.push(format!("( {} )", words.join(" | ")));
    }

    /// The number of one of these sides begins so.
    fn number(&mut self, sides: &[&str], digits: &str) {
        let known = KNOWN_DIGITS.into_iter().find(|length| *length <= digits.len());
        self.is_part |= known != Some(digits.len());
        if let Some(length) = known {
            self.any(sides.iter().map(|side| word(side, &digits[..length])));
        }
    }
}

/// A lexeme of a `tsquery`.
fn word(kind: &str, value: &str) -> String {
    format!("'~{kind}/{}'", value.replace('\\', r"\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(filter: &CallFilter) -> (String, bool) {
        let facts = Facts::of(filter, &CallBounds::default());
        (facts.tsquery(), facts.is_part)
    }

    #[test]
    fn filters_are_words() {
        assert_eq!(facts(&CallFilter::default()), (String::new(), false));
        let filter = CallFilter {
            sentiment: Some("negative".into()),
            urgency_at_least: Some(4),
            topic: Some(r"it's \".into()),
            has_open_actions: Some(true),
            ..CallFilter::default()
        };
        let expected =
            r"'~sentiment/negative' & ( '~urgency/4' | '~urgency/5' ) & '~topic/it''s \\' & '~open'".to_owned();
        assert_eq!(facts(&filter), (expected, false));
    }

    #[test]
    fn a_number_is_known_by_its_beginning() {
        let caller = |digits: &str| facts(&CallFilter { caller: Some(digits.into()), ..CallFilter::default() });
        assert_eq!(caller("155500"), ("( '~caller/155500' )".to_owned(), false));
        assert_eq!(caller("1555001"), ("( '~caller/155500' )".to_owned(), true));
        assert_eq!(caller("155"), (String::new(), true));
        let bounds = CallBounds { number_prefix: Some("+1 555".into()), ..CallBounds::default() };
        let bound = Facts::of(&CallFilter::default(), &bounds);
        assert_eq!((bound.tsquery().as_str(), bound.is_part), ("( '~caller/1555' | '~called/1555' )", true));
    }

    #[test]
    fn what_the_index_does_not_know_makes_a_part() {
        for filter in [
            CallFilter { state: Some("failed".into()), ..CallFilter::default() },
            CallFilter { state: Some("no_recording".into()), ..CallFilter::default() },
            CallFilter { missed: Some(false), ..CallFilter::default() },
            CallFilter { external_id: Some("call-0001".into()), ..CallFilter::default() },
        ] {
            assert!(facts(&filter).1, "{filter:?}");
        }
    }
}
