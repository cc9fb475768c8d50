//! Text in columns. What callers, models and upstreams say is data: no control character of theirs reaches a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::model::plain::plain;

/// Columns that a text takes.
pub fn width_of(text: &str) -> usize {
    text.width()
}

/// The text in one line, without control characters (escape sequences among them) and without the marks that turn the
/// direction of writing around.
pub fn clean(text: &str) -> String {
    plain(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text in at most so many columns, with `…` where something is left out.
pub fn truncate(text: &str, width: usize) -> String {
    if width_of(text) <= width {
        return text.to_owned();
    }
    let head = take(text, width.saturating_sub(1));
    format!("{}…", head.trim_end())
}

/// The text in lines of at most so many columns, broken at blanks; a longer word is broken where it must. At least one
/// line.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        add(&mut lines, word, width);
        break_last(&mut lines, width);
    }
    lines
}

/// A command in lines of at most so many columns. Its words, with what stands in their single quotes, stay whole even
/// where they are wider.
pub fn command_lines(command: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in shell_words(command) {
        add(&mut lines, word, width);
    }
    lines
}

/// Puts a word behind the last line, or into a new one where it does not fit.
fn add(lines: &mut Vec<String>, word: &str, width: usize) {
    let last = lines.last_mut().expect("there is always a line");
    if last.is_empty() {
        last.push_str(word);
    } else if width_of(last) + 1 + width_of(word) <= width {
        last.push(' ');
        last.push_str(word);
    } else {
        lines.push(word.to_owned());
    }
}

/// Words between blanks that are not in single quotes; outside of them a backslash takes the next character as it is.
fn shell_words(command: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let blank = move |c: char| {
        let taken = std::mem::take(&mut escaped);
        escaped = c == '\\' && !quoted && !taken;
        quoted ^= c == '\'' && !taken;
        c == ' ' && !quoted && !taken
    };
    command.split(blank).filter(|word| !word.is_empty())
}

/// Breaks the last line while it is too long.
fn break_last(lines: &mut Vec<String>, width: usize) {
    while let Some(last) = lines.last_mut().filter(|last| width_of(last) > width) {
        let head = take(last, width);
        // A character wider than the whole width stays as it is.
        if head.is_empty() {
            return;
        }
        let rest = last.split_off(head.len());
        lines.push(rest);
    }
}

/// As much of the text's beginning as fits.
fn take(text: &str, width: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > width {
            return &text[..at];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("short", 5, "short")]
    #[case("longer", 5, "long…")]
    #[case("two words", 5, "two…")]
    #[case("電話電話", 5, "電話…")]
    fn long_texts_end_in_an_ellipsis(#[case] text: &str, #[case] width: usize, #[case] expected: &str) {
        assert_eq!(truncate(text, width), expected);
    }

    #[rstest]
    #[case("one two three", 7, &["one two", "three"])]
    #[case("", 7, &[""])]
    #[case("abcdefghij kl", 4, &["abcd", "efgh", "ij", "kl"])]
    #[case("ab cdefgh i", 4, &["ab", "cdef", "gh i"])]
    fn lines_break_at_blanks(#[case] text: &str, #[case] width: usize, #[case] expected: &[&str]) {
        assert_eq!(wrap(text, width), expected);
    }

    #[test]
    fn commands_break_between_words_of_the_shell() {
        let command = r"calls show 0123456789 --data-dir 'it'\''s  a dir'";
        assert_eq!(command_lines(command, 12), ["calls show", "0123456789", "--data-dir", r"'it'\''s  a dir'"]);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(clean("Eve\u{1b}[2J\r\n\tB\u{202e}ob\u{9b}31m  x"), "Eve [2J Bob 31m x");
    }
}
