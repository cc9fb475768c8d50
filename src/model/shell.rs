//! Words that a person pastes into a shell.

/// The word as a POSIX shell reads it back: as it is where nothing in it means anything to a shell, else in single quotes.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/tmp/data-dir_1.0", "/tmp/data-dir_1.0")]
    #[case("", "''")]
    #[case("a b", "'a b'")]
    #[case("it's", r"'it'\''s'")]
    #[case("''", r"''\'''\'''")]
    #[case("$(x) `y` \"z\" \\ * ~", "'$(x) `y` \"z\" \\ * ~'")]
    #[case("bücher", "bücher")]
    fn a_shell_reads_it_back(#[case] word: &str, #[case] expected: &str) {
        assert_eq!(quoted(word), expected);
        let read = Command::new("sh").args(["-c", &format!("printf %s {}", quoted(word))]).output().unwrap();
        assert_eq!(String::from_utf8(read.stdout).unwrap(), word);
    }
}
