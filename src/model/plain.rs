//! Characters of others' texts that nobody sees and that do something.

/// Whether a character turns the direction of writing: with it a text is shown as another one than it is (Unicode TR 36,
/// section 2.7).
pub fn turns(character: char) -> bool {
    matches!(
        character,
        '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
    )
}

/// The text without such characters, and with a blank for each control character.
pub fn plain(text: &str) -> String {
    text.chars().filter(|c| !turns(*c)).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_turns_or_controls() {
        assert_eq!(plain("a\u{202E}b\u{7}\nc\u{2069}\u{61C}"), "ab  c");
        assert_eq!(plain("Łódź, שלום, 👩‍💻"), "Łódź, שלום, 👩‍💻");
    }
}
