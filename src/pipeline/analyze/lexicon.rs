//! Words of time and money in English and German, the languages in which claims about them are read.

use chrono::Weekday;

/// A day's name, also as an abbreviation or a plural.
pub(super) fn weekday(word: &str) -> Option<Weekday> {
    Some(match word {
        "monday" | "mondays" | "mon" | "montag" | "montags" => Weekday::Mon,
        "tuesday" | "tuesdays" | "tue" | "dienstag" | "dienstags" => Weekday::Tue,
        "wednesday" | "wednesdays" | "wed" | "mittwoch" | "mittwochs" => Weekday::Wed,
        "thursday" | "thursdays" | "thu" | "donnerstag" | "donnerstags" => Weekday::Thu,
        "friday" | "fridays" | "fri" | "freitag" | "freitags" => Weekday::Fri,
        "saturday" | "saturdays" | "sat" | "samstag" | "samstags" | "sonnabend" => Weekday::Sat,
        "sunday" | "sundays" | "sonntag" | "sonntags" => Weekday::Sun,
        _ => return None,
    })
}

/// A month's name, 1 to 12. `may` and `march` are words of their own too: who calls decides by what stands beside them.
pub(super) fn month(word: &str) -> Option<u32> {
    Some(match word {
        "january" | "jan" | "januar" => 1,
        "february" | "feb" | "februar" => 2,
        "march" | "mar" | "märz" => 3,
        "april" | "apr" => 4,
        "may" | "mai" => 5,
        "june" | "jun" | "juni" => 6,
        "july" | "jul" | "juli" => 7,
        "august" | "aug" => 8,
        "september" | "sep" | "sept" => 9,
        "october" | "oct" | "oktober" => 10,
        "november" | "nov" => 11,
        "december" | "dec" | "dezember" => 12,
        _ => return None,
    })
}

/// Days from the call's day.
pub(super) fn relative_day(word: &str) -> Option<i64> {
    Some(match word {
        "yesterday" | "gestern" => -1,
        "today" | "tonight" | "heute" => 0,
        "tomorrow" | "morgen" => 1,
        "übermorgen" => 2,
        _ => return None,
    })
}

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// From midnight to midnight.
    Day,
    /// Seven days; as a place in the calendar from Monday to Sunday (ISO 8601).
    Week,
    /// Of the calendar.
    Month,
    /// Of the calendar.
    Year,
}

/// A span's name.
pub(super) fn span(word: &str) -> Option<Span> {
    Some(match word {
        "minute" | "minutes" | "min" | "minuten" => Span::Minute,
        "hour" | "hours" | "stunde" | "stunden" => Span::Hour,
        "day" | "days" | "tag" | "tage" | "tagen" => Span::Day,
        "week" | "weeks" | "woche" | "wochen" => Span::Week,
        "month" | "months" | "monat" | "monate" | "monaten" | "monats" => Span::Month,
        "year" | "years" | "jahr" | "jahre" | "jahren" | "jahres" => Span::Year,
        _ => return None,
    })
}

/// What money is counted in; "percent" too, since nobody may write one for the other.
pub(super) fn currency(word: &str) -> Option<&'static str> {
    Some(match word {
        "$" | "dollar" | "dollars" | "usd" | "bucks" => "dollar",
        "€" | "euro" | "euros" | "eur" => "euro",
        "£" | "pound" | "pounds" | "gbp" | "pfund" => "pound",
        "franc" | "francs" | "chf" | "franken" => "franc",
        "%" | "percent" | "prozent" => "percent",
        _ => return None,
    })
}

/// Before or after now: `next` is 1, `last` is -1.
pub(super) fn direction(word: &str) -> Option<i64> {
    Some(match word {
        "next" | "coming" | "following" | "nächste" | "nächsten" | "nächster" | "nächstes" | "kommende"
        | "kommenden" => 1,
        "last" | "past" | "previous" | "ago" | "letzte" | "letzten" | "letzter" | "letztes" | "vorige" | "vorigen" => {
            -1
        }
        _ => return None,
    })
}
