//! Words of callers and models, made harmless, and ours, made readable: the rules that every channel shares.

use std::borrow::Cow;
use std::sync::LazyLock;

use chrono::{DateTime, Datelike, Timelike, Utc};
use chrono_tz::Tz;
use regex::{Captures, Regex};

use crate::model::Sentiment;

/// An address with a scheme, else a mail address, else what a mail program would take for a host: a name, one with the
/// full stops of other scripts, an address in numbers.
static LINK: LazyLock<Regex> = LazyLock::new(|| {
    let link = [
        r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*)://(?P<rest>\S*)",
        r"[\w.+\-]+@[\w.\-]*\w",
        r"(?:[\w\-]+\.)+[^\W\d_]{2,24}\b",
        r"(?:[A-Za-z0-9\-]+[.。．｡․])+[A-Za-z]{2,24}\b",
        r"\b\d{1,3}(?:\.\d{1,3}){3}\b",
    ];
    Regex::new(&link.join("|")).expect("a constant")
});

/// A text from outside as one plain line: no control and direction characters, no line breaks, no runs of blanks, and
/// no link that a program would make clickable. Everything that a caller, a model or a server said goes through here,
/// once, before the escaping that its channel needs.
pub fn clean(text: &str) -> String {
    let visible: String = text.chars().filter_map(visible).collect();
    let line = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    LINK.replace_all(&line, defang).into_owned()
}

/// Slack's own rule: `&`, `<` and `>`, and nothing else. It defuses every control sequence, since all start with `<`
/// (docs.slack.dev, "Formatting message text").
pub fn slack_escape(text: &str) -> String {
    text.chars().map(slack_entity).collect()
}

/// Like [`slack_escape`], at most `limit` characters long, ending in `…` when cut, never inside a character or entity.
pub fn slack_escape_cut(text: &str, limit: usize) -> String {
    fit(text, limit, slack_entity)
}

/// Like [`slack_escape_cut`], for the one place where words of others stand in Slack's markup: `*`, `_`, `~` and backticks
/// get zero-width spaces around them, since they cannot be escaped.
pub fn slack_escape_markup_cut(text: &str, limit: usize) -> String {
    fit(text, limit, |character| match character {
        '*' | '_' | '~' | '`' => format!("\u{200B}{character}\u{200B}").into(),
        other => slack_entity(other),
    })
}

/// At most `limit` characters, ending in `…` when cut.
pub fn cut(text: &str, limit: usize) -> String {
    fit(text, limit, |character| Cow::Owned(character.to_string()))
}

/// Length as Slack counts it: a character outside the basic plane, such as an emoji, is two.
pub fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Seconds as people say them: `45 s`, `4 min 8 s`, `1 h 2 min`.
pub fn duration(seconds: i32) -> String {
    let seconds = seconds.max(0);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes, rest) {
        (0, 0, rest) => format!("{rest} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, rest) => format!("{minutes} min {rest} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// A moment as people say it: `Tue 17 Nov, 08:04`; with the year when it is not that of `reference`. Never "today": a
/// message is also read tomorrow.
pub fn moment(at: DateTime<Utc>, zone: Tz, reference: DateTime<Utc>) -> String {
    let local = at.with_timezone(&zone);
    format!("{}, {}", day(at, zone, reference), local.format("%H:%M"))
}

/// Until when: like [`moment`], but the first and the last minute of a day stand for the day alone.
pub fn until(at: DateTime<Utc>, zone: Tz, reference: DateTime<Utc>) -> String {
    let local = at.with_timezone(&zone);
    match (local.hour(), local.minute()) {
        (0, 0) | (23, 59) => day(at, zone, reference),
        _ => moment(at, zone, reference),
    }
}

/// Urgency in words; values outside 1 to 5 count as the nearer end.
pub const fn urgency(value: i16) -> &'static str {
    match value {
        ..=1 => "No hurry",
        2 => "This week",
        3 => "Soon",
        4 => "Today",
        5.. => "Now",
    }
}

/// Mood of the customer in one word.
pub const fn mood(sentiment: Sentiment) -> &'static str {
    match sentiment {
        Sentiment::Positive => "Pleased",
        Sentiment::Neutral => "Neutral",
        Sentiment::Negative => "Upset",
        Sentiment::Mixed => "Mixed",
    }
}

/// Line breaks become blanks; what hides or reorders text goes (C0, C1, bidirectional and zero-width controls). Joiners
/// stay: emoji and some scripts need them.
fn visible(character: char) -> Option<char> {
    match character {
        '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some(' '),
        '\u{61C}'
        | '\u{200E}'
        | '\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2066}'..='\u{2069}'
        | '\u{AD}'
        | '\u{200B}'
        | '\u{2060}'..='\u{2064}'
        | '\u{206A}'..='\u{206F}'
        | '\u{FEFF}' => None,
        control if control.is_control() => None,
        character => Some(character),
    }
}

/// Programs make links of host names alone, so the dots go too; what a mail address says before its `@` is no host.
fn defang(found: &Captures<'_>) -> String {
    let dotless = |host: &str| host.replace(['.', '。', '．', '｡', '․'], "[.]");
    if let (Some(scheme), Some(rest)) = (found.name("scheme"), found.name("rest")) {
        let rest = rest.as_str().replace("://", "[:]//");
        let end = rest.trim_end_matches(['.', ',', ')', '!', '?']).len();
        let rest = format!("{}{}", dotless(&rest[..end]), &rest[end..]);
        return match scheme.as_str().to_ascii_lowercase().as_str() {
            "http" => format!("hxxp://{rest}"),
            "https" => format!("hxxps://{rest}"),
            _ => format!("{}[:]//{rest}", scheme.as_str()),
        };
    }
    match found[0].split_once('@') {
        Some((name, host)) => format!("{name}@{}", dotless(host)),
        None => dotless(&found[0]),
    }
}

fn slack_entity(character: char) -> Cow<'static, str> {
    match character {
        '&' => "&amp;".into(),
        '<' => "&lt;".into(),
        '>' => "&gt;".into(),
        other => other.to_string().into(),
    }
}

fn fit(text: &str, limit: usize, escape: impl Fn(char) -> Cow<'static, str>) -> String {
    let (mut result, mut used, mut last_that_leaves_room) = (String::new(), 0, 0);
    for escaped in text.chars().map(escape) {
        used += length(&escaped);
        if used > limit {
            result.truncate(last_that_leaves_room);
            result.truncate(result.trim_end().len());
            if limit > 0 {
                result.push('…');
            }
            return result;
        }
        result.push_str(&escaped);
        if used < limit {
            last_that_leaves_room = result.len();
        }
    }
    result
}

fn day(at: DateTime<Utc>, zone: Tz, reference: DateTime<Utc>) -> String {
    let local = at.with_timezone(&zone);
    let same_year = local.year() == reference.with_timezone(&zone).year();
    local.format(if same_year { "%a %-d %b" } else { "%a %-d %b %Y" }).to_string()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("two\r\nlines\tand\u{2028}more", "two lines and more")]
    #[case("a\u{0}b\u{7}c\u{1b}[31m\u{9f}d", "abc[31md")]
    #[case("\u{202e}txt.exe\u{2066}\u{200f}", "txt[.]exe")]
    #[case("pay at https://evil.example/a?b=c now", "pay at hxxps://evil[.]example/a?b=c now")]
    #[case("HTTP://evil.example", "hxxp://evil[.]example")]
    #[case("https://a.example/http://b.example", "hxxps://a[.]example/http[:]//b[.]example")]
    #[case("ht\u{200b}tps://evil.example", "hxxps://evil[.]example")]
    #[case("ftp://evil.example slack://open", "ftp[:]//evil[.]example slack[:]//open")]
    #[case("www.evil.example or evil.com/x", "www[.]evil[.]example or evil[.]com/x")]
    #[case("write to ines.calloway@example.com, please", "write to ines.calloway@example[.]com, please")]
    #[case("evil。com or 203.0.113.9/x", "evil[.]com or 203[.]0[.]113[.]9/x")]
    #[case("See https://a.example/b.html. Then go.", "See hxxps://a[.]example/b[.]html. Then go.")]
    #[case("It costs 3.50, e.g. at 10.30. Then 2.5kg.", "It costs 3.50, e.g. at 10.30. Then 2.5kg.")]
    #[case("👩‍👩‍👧 naïve — 日本語", "👩‍👩‍👧 naïve — 日本語")]
    fn text_from_outside_becomes_one_harmless_line(#[case] said: &str, #[case] shown: &str) {
        assert_eq!(clean(said), shown);
    }

    #[rstest]
    #[case("a & b", 20, "a &amp; b")]
    #[case("<!channel> &amp;", 40, "&lt;!channel&gt; &amp;amp;")]
    #[case("abcdef", 6, "abcdef")]
    #[case("abcdef", 5, "abcd…")]
    #[case("ab<cd", 6, "ab…")]
    #[case("a<b", 6, "a&lt;b")]
    #[case("a<<", 6, "a&lt;…")]
    #[case("ab👍👍", 5, "ab👍…")]
    #[case("one two", 5, "one…")]
    #[case("x", 0, "")]
    fn a_cut_never_splits_an_entity(#[case] text: &str, #[case] limit: usize, #[case] shown: &str) {
        assert_eq!(slack_escape_cut(text, limit), shown);
        assert!(length(shown) <= limit);
    }

    #[rstest]
    #[case(0, "0 s")]
    #[case(45, "45 s")]
    #[case(60, "1 min")]
    #[case(248, "4 min 8 s")]
    #[case(3600, "1 h")]
    #[case(3725, "1 h 2 min")]
    #[case(-5, "0 s")]
    fn durations_are_said(#[case] seconds: i32, #[case] said: &str) {
        assert_eq!(duration(seconds), said);
    }

    #[rstest]
    #[case("2026-11-17T08:04:31Z", "Tue 17 Nov, 09:04", "Tue 17 Nov, 09:04")]
    #[case("2027-01-01T11:00:00Z", "Fri 1 Jan 2027, 12:00", "Fri 1 Jan 2027, 12:00")]
    #[case("2026-11-19T22:59:59Z", "Thu 19 Nov, 23:59", "Thu 19 Nov")]
    #[case("2026-11-19T23:00:00Z", "Fri 20 Nov, 00:00", "Fri 20 Nov")]
    fn moments_are_said_in_the_zone(#[case] at: DateTime<Utc>, #[case] said: &str, #[case] due: &str) {
        let reference = "2026-11-17T09:00:00Z".parse().unwrap();
        assert_eq!(moment(at, Tz::Europe__Berlin, reference), said);
        assert_eq!(until(at, Tz::Europe__Berlin, reference), due);
    }
}
