//! What the text of a `tsquery` is made into, beyond what PostgreSQL makes of words: numbers, and a look that leaves the
//! transcripts out. Lexemes stand in it in quotes, with quotes and backslashes in them doubled.

use super::call_list::plain_digits;

/// Stands for the number with this index in a text that PostgreSQL reads. Of letters and digits, it is a word that no
/// dictionary changes.
pub fn mark(number: usize) -> String {
    format!("number0placeholder{number}")
}

/// Puts numbers in the place of their marks. Of each: its digits, and, where it may be several numbers with blanks between
/// them, the digits of these. A number is known from its end, whatever stands before it.
pub fn with_numbers(query: &str, numbers: &[Vec<String>]) -> String {
    let lexeme = |digits: &String| format!("'#{}':*", plain_digits(digits).chars().rev().collect::<String>());
    let mut query = query.to_owned();
    for (index, digits) in numbers.iter().enumerate() {
        let lexemes: Vec<String> = digits.iter().map(lexeme).collect();
        if let Some((whole, parts)) = lexemes.split_first() {
            let any = if parts.is_empty() { whole.clone() } else { format!("( {whole} | {} )", parts.join(" & ")) };
            query = query.replace(&format!("'{}'", mark(index)), &any);
        }
    }
    query
}

/// The same question, asked of names, numbers, summaries and topics alone: of the weights A and B (`call_texts`).
pub fn outside_of_transcripts(query: &str) -> String {
    let mut labelled = String::with_capacity(query.len() * 2);
    let mut rest = query.chars().peekable();
    let mut within = false;
    while let Some(char) = rest.next() {
        labelled.push(char);
        match char {
            '\\' if within => labelled.extend(rest.next()),
            '\'' if within && rest.peek() == Some(&'\'') => labelled.extend(rest.next()),
            '\'' => {
                within = !within;
                if !within {
                    // What may follow is `:*`, for all words that begin so.
                    rest.next_if_eq(&':');
                    labelled.push_str(":AB");
                }
            }
            _ => {}
        }
    }
    labelled
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("'refund' | 'number0placeholder0'", "5550100002", "'refund' | '#2000010555':*")]
    #[case("'number0placeholder0'", "1234567890/12345/67890", "( '#0987654321':* | '#54321':* & '#09876':* )")]
    #[case("'number0placeholder1' | 'number0placeholder0'", "12345 67890", "'#09876':* | '#54321':*")]
    #[case("'number0placeholder10'", "12345", "'number0placeholder10'")]
    fn numbers_stand_in_their_places(#[case] query: &str, #[case] numbers: &str, #[case] expected: &str) {
        let numbers: Vec<Vec<String>> =
            numbers.split(' ').map(|ways| ways.split('/').map(str::to_owned).collect()).collect();
        assert_eq!(with_numbers(query, &numbers), expected);
    }

    #[rstest]
    #[case("'support' & !'lawsuit'", "'support':AB & !'lawsuit':AB")]
    #[case("'two' <-> 'refund' | '#2000':*", "'two':AB <-> 'refund':AB | '#2000':AB*")]
    #[case("'it''s' & 'b'", "'it''s':AB & 'b':AB")]
    #[case(r"'a\\' & 'b'", r"'a\\':AB & 'b':AB")]
    #[case("''''", "'''':AB")]
    fn every_word_is_looked_for_outside_of_transcripts(#[case] query: &str, #[case] expected: &str) {
        assert_eq!(outside_of_transcripts(query), expected);
    }
}
