//! How answers look on a terminal: tables, pages, words and times, all at most as wide as the screen.

mod page;
mod table;
mod text;
pub mod words;

use std::io::{IsTerminal, Write};

use chrono::{DateTime, Days, Utc};
use chrono_tz::Tz;

pub use page::Page;
pub use table::{Cell, Column, table};
#[cfg(test)]
pub use text::width_of;
pub use text::{clean, truncate};

/// Width when neither the terminal nor `COLUMNS` tells one.
const DEFAULT_WIDTH: usize = 80;
/// Narrower than this nothing reads well; the terminal may wrap then.
const LEAST_WIDTH: usize = 40;
/// What comes within two minutes (in milliseconds) is counted in seconds: a time of day says nothing then.
const SOON: i64 = 120_000;
/// Wider lines are hard to follow with the eye.
const MOST_WIDTH: usize = 160;

/// Colours are for what a person must see: ink before colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// As it is.
    Plain,
    /// Headings.
    Bold,
    /// Beside the matter.
    Grey,
    /// Somebody must act.
    Red,
    /// It waits.
    Amber,
    /// Not supported by what was said.
    Struck,
}

/// What the reader has before them: how wide, with colours or not, which time it is and where.
#[derive(Debug, Clone)]
pub struct Screen {
    /// Columns.
    pub width: usize,
    /// Whether colours are wanted.
    pub colour: bool,
    /// Now.
    pub now: DateTime<Utc>,
    /// Zone in which times are written: `TIME_ZONE`.
    pub zone: Tz,
    /// What every command that is to be typed next needs besides, such as ` --data-dir DIR`.
    pub flags: String,
}

impl Screen {
    /// Standard output as it is: width from `columns` (the variable `COLUMNS`), else the terminal, else 80; colours
    /// only on a terminal and without `NO_COLOR` (<https://no-color.org>).
    pub fn of_terminal(columns: Option<&str>, no_color: Option<&str>, now: DateTime<Utc>, zone: Tz) -> Self {
        let told = columns.and_then(|columns| columns.trim().parse().ok()).filter(|width| *width > 0);
        let terminal = || comfy_table::Table::new().width().map(usize::from);
        let is_terminal = std::io::stdout().is_terminal();
        let width = told.or_else(terminal).unwrap_or(DEFAULT_WIDTH).clamp(LEAST_WIDTH, MOST_WIDTH);
        Self { width, colour: is_terminal && no_color.is_none_or(str::is_empty), now, zone, flags: String::new() }
    }

    /// A command of this program as it is to be typed here: `calls list`.
    pub fn typed(&self, arguments: &str) -> String {
        format!("goto-automation {arguments}{}", self.flags)
    }

    /// A sentence after an empty line, and the command that follows from it.
    pub fn hint(&self, sentence: &str, arguments: &str) -> String {
        let mut page = Page::new(self);
        page.gap();
        page.text(0, Ink::Plain, sentence);
        page.command(arguments);
        page.finish()
    }

    /// The text in that ink, if there are colours.
    pub fn paint(&self, ink: Ink, text: &str) -> String {
        let code = match ink {
            _ if !self.colour || text.is_empty() => return text.to_owned(),
            Ink::Plain => return text.to_owned(),
            Ink::Bold => "1",
            Ink::Grey => "2",
            Ink::Red => "31",
            Ink::Amber => "33",
            Ink::Struck => "9",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// A time as people say it: `Today 07:21`, `Fri 13 Nov 09:12`, `13 Nov 2025 09:12`.
    pub fn time(&self, at: DateTime<Utc>) -> String {
        format!("{} {}", self.day(at), at.with_timezone(&self.zone).format("%H:%M"))
    }

    /// A time to come: `in 12 s` where the reader can wait for it, `now` where it has passed, else as [`Self::time`].
    pub fn soon(&self, at: DateTime<Utc>) -> String {
        let left = (at - self.now).num_milliseconds();
        match left {
            ..=0 => "now".to_owned(),
            _ if self.is_soon(at) => format!("in {} s", (left + 999) / 1000),
            _ => self.time(at),
        }
    }

    /// Whether a time to come is so near that seconds count.
    pub fn is_soon(&self, at: DateTime<Utc>) -> bool {
        (1..SOON).contains(&(at - self.now).num_milliseconds())
    }

    /// The time of day with seconds, for *What happened* and for leases only.
    pub fn clock(&self, at: DateTime<Utc>) -> String {
        at.with_timezone(&self.zone).format("%H:%M:%S").to_string()
    }

    /// The day alone: `Today`, `Fri 13 Nov`.
    pub fn day(&self, at: DateTime<Utc>) -> String {
        let (day, today) = (at.with_timezone(&self.zone).date_naive(), self.now.with_timezone(&self.zone).date_naive());
        if day == today {
            "Today".to_owned()
        } else if Some(day) == today.checked_sub_days(Days::new(1)) {
            "Yesterday".to_owned()
        } else if Some(day) == today.checked_add_days(Days::new(1)) {
            "Tomorrow".to_owned()
        } else if (day - today).num_days().abs() < 180 {
            day.format("%a %-d %b").to_string()
        } else {
            day.format("%-d %b %Y").to_string()
        }
    }

    /// Tuesday 17 November 2026, 08:04 in Berlin, 80 columns, no colours.
    #[cfg(test)]
    pub fn for_tests() -> Self {
        let now = "2026-11-17T07:04:00Z".parse().expect("a time");
        Self { width: 80, colour: false, now, zone: chrono_tz::Europe::Berlin, flags: String::new() }
    }
}

/// Writes an answer to standard output. A reader who has gone away (`| head`) is no error.
pub fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes an answer as JSON, indented, one object.
pub fn print_json(answer: &impl serde::Serialize) -> std::io::Result<()> {
    let mut text = serde_json::to_string_pretty(answer)?;
    text.push('\n');
    print(&text)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("2026-11-17T06:21:00Z", "Today 07:21")]
    #[case("2026-11-16T23:30:00Z", "Today 00:30")]
    #[case("2026-11-16T22:30:00Z", "Yesterday 23:30")]
    #[case("2026-11-18T07:00:00Z", "Tomorrow 08:00")]
    #[case("2026-11-13T08:12:00Z", "Fri 13 Nov 09:12")]
    #[case("2027-01-04T08:12:00Z", "Mon 4 Jan 09:12")]
    #[case("2025-11-13T08:12:00Z", "13 Nov 2025 09:12")]
    fn times_are_said_as_people_say_them(#[case] at: DateTime<Utc>, #[case] expected: &str) {
        assert_eq!(Screen::for_tests().time(at), expected);
    }

    #[rstest]
    #[case("2026-11-17T07:04:00Z", "now")]
    #[case("2026-11-17T07:04:11.2Z", "in 12 s")]
    #[case("2026-11-17T07:05:59Z", "in 119 s")]
    #[case("2026-11-17T07:06:00Z", "Today 08:06")]
    fn what_comes_soon_is_counted_down(#[case] at: DateTime<Utc>, #[case] expected: &str) {
        assert_eq!(Screen::for_tests().soon(at), expected);
    }

    #[rstest]
    #[case(Some("80"), 80)]
    #[case(Some("9"), LEAST_WIDTH)]
    #[case(Some("1000"), MOST_WIDTH)]
    fn the_width_has_bounds(#[case] columns: Option<&str>, #[case] expected: usize) {
        let now = Screen::for_tests().now;
        assert_eq!(Screen::of_terminal(columns, None, now, Tz::UTC).width, expected);
    }

    #[test]
    fn colours_only_where_wanted() {
        let plain = Screen::for_tests();
        assert_eq!(plain.paint(Ink::Red, "Failed"), "Failed");
        assert_eq!(Screen { colour: true, ..plain }.paint(Ink::Red, "Failed"), "\u{1b}[31mFailed\u{1b}[0m");
    }
}
