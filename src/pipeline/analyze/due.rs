//! Until when something is promised: the words spoken, the moment of the call and the zone say it, nobody else. Words
//! that do not say it ("soon", "next week or so") stay words.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::calendar::{self, Named, agreed};
use super::lexicon::{Span, direction, month, span, weekday};
use super::numbers::{self, Run};
use super::words::{Word, words};

/// Words that leave open which day is meant, or say that it is over.
const OPEN: &str = " or oder not never nicht after nach since seit every each jeden early earliest mid middle beginning \
    start starting anfang mitte couple few several paar between zwischen when if wenn falls unless once yesterday \
    gestern about so roughly week-end weekend wochenende probably maybe perhaps vielleicht possibly hopefully try ";

/// The moment at which a promise is over; a day without a time is over at its last minute. In a time that the clocks
/// leave out, the hour after it counts; in one that they show twice, the second.
pub(super) fn due(said: &str, call: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
    let words = joined_phrases(words(said));
    let over = |at: usize, word: &Word| {
        // "half past ten" is not over.
        let clock = at > 0 && matches!(words[at - 1].text.as_str(), "half" | "quarter");
        direction(&word.text) == Some(-1) && !clock
    };
    if words.iter().enumerate().any(|(at, word)| is_open(word) || over(at, word)) {
        return None;
    }
    let runs = numbers::runs(&words);
    let local = call.with_timezone(&zone).naive_local();
    if let Some(passing) = hours(&words, &runs) {
        return call.checked_add_signed(passing);
    }
    let named = calendar::named(&words, &runs, local.date())?;
    let time = time_of_day(&words, &runs, &named);
    let end_of_day = words.iter().any(|word| word.text == "endofday" || part_of_day(&word.text) == Some(Part::Evening));
    let day = match (named.is_empty(), time) {
        (false, _) => agreed(named)?,
        (true, Some(time)) => Some(local.date()).filter(|_| time > local.time())?,
        (true, None) => Some(local.date()).filter(|_| end_of_day)?,
    };
    let before = words.iter().any(|word| matches!(word.text.as_str(), "before" | "vor")) && time.is_none();
    let day = if before { day.pred_opt()? } else { day };
    let moment = at(day, time, zone)?;
    (moment >= call).then_some(moment)
}

/// The day in the words as the model reads it, for calendar dates in words that [`due`] does not know.
pub(super) fn as_the_model_says(said: &str, date: &str, call: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
    let date = NaiveDate::parse_from_str(date.trim(), "%Y-%m-%d").ok()?;
    let words = words(said);
    let heard = numbers::heard(&words);
    let month_and_day = (date.format("%-m").to_string(), date.format("%-d").to_string());
    let named =
        heard.contains(&month_and_day.0) && heard.contains(&month_and_day.1) && month_and_day.0 != month_and_day.1
            || words.iter().any(|word| month(&word.text) == Some(chrono::Datelike::month(&date)))
                && heard.contains(&month_and_day.1);
    at(date, None, zone).filter(|moment| named && !words.iter().any(is_open) && *moment >= call)
}

fn is_open(word: &Word) -> bool {
    OPEN.contains(&format!(" {} ", word.text))
}

/// The moment in the zone.
fn at(day: NaiveDate, time: Option<NaiveTime>, zone: Tz) -> Option<DateTime<Utc>> {
    let moment = day.and_time(time.or_else(|| NaiveTime::from_hms_opt(23, 59, 0))?);
    let in_zone = |moment: NaiveDateTime| zone.from_local_datetime(&moment).latest();
    let found = in_zone(moment).or_else(|| in_zone(moment + TimeDelta::hours(1)))?;
    Some(found.with_timezone(&Utc))
}

/// Phrases that are one word to us.
fn joined_phrases(mut words: Vec<Word>) -> Vec<Word> {
    const PHRASES: [(&[&str], &str); 6] = [
        (&["day", "after", "tomorrow"], "übermorgen"),
        (&["end", "of", "the", "day"], "endofday"),
        (&["end", "of", "day"], "endofday"),
        (&["end", "of", "business"], "endofday"),
        (&["close", "of", "business"], "endofday"),
        (&["half", "an", "hour"], "halfhour"),
    ];
    for (phrase, word) in PHRASES {
        let matches = |window: &[Word]| window.iter().zip(phrase).all(|(word, text)| word.text == *text);
        while let Some(at) = words.windows(phrase.len()).position(matches) {
            word.clone_into(&mut words[at].text);
            words.drain(at + 1..at + phrase.len());
        }
    }
    words
}

/// "in two hours", "within the next 30 minutes".
fn hours(words: &[Word], runs: &[Run]) -> Option<TimeDelta> {
    if let Some(at) = words.iter().position(|word| word.text == "halfhour") {
        return (at > 0 && matches!(words[at - 1].text.as_str(), "in" | "within")).then(|| TimeDelta::minutes(30));
    }
    // An hour and a half is no hour.
    if words.iter().any(|word| matches!(word.text.as_str(), "half" | "quarter" | "halb")) {
        return None;
    }
    let (at, span) = words.iter().enumerate().find_map(|(at, word)| Some((at, span(&word.text)?)))?;
    let count = i64::from(calendar::counted(words, runs, at)?);
    match span {
        Span::Minute => TimeDelta::try_minutes(count),
        Span::Hour => TimeDelta::try_hours(count),
        _ => None,
    }
}

/// A part of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Morning,
    Afternoon,
    Evening,
}

fn part_of_day(word: &str) -> Option<Part> {
    Some(match word {
        "morning" | "vormittag" | "früh" | "am" => Part::Morning,
        "afternoon" | "nachmittag" | "pm" => Part::Afternoon,
        "evening" | "night" | "tonight" | "abend" => Part::Evening,
        _ => return None,
    })
}

/// The time that was said; a morning is over at noon.
fn time_of_day(words: &[Word], runs: &[Run], named: &[Named]) -> Option<NaiveTime> {
    // German "am" is "on the".
    let german = words.iter().any(|word| {
        matches!(word.text.as_str(), "bis" | "am" | "um" | "uhr")
            && words.iter().all(|word| !matches!(word.text.as_str(), "at" | "by" | "on" | "the"))
    }) && !runs.iter().any(|run| words.get(run.end).is_some_and(|word| word.text == "am"));
    let part = words.iter().find_map(|word| part_of_day(&word.text).filter(|_| !(german && word.text == "am")));
    for run in runs {
        if let Some(time) = clock(words, run, part, named) {
            return Some(time);
        }
    }
    if words.iter().any(|word| matches!(word.text.as_str(), "noon" | "midday" | "mittag" | "mittags" | "lunchtime")) {
        return NaiveTime::from_hms_opt(12, 0, 0);
    }
    let dawn = words.windows(2).any(|pair| pair[1].text == "morgen" && weekday(&pair[0].text).is_some());
    (part == Some(Part::Morning) || dawn).then(|| NaiveTime::from_hms_opt(12, 0, 0)).flatten()
}

/// "at ten thirty", "10 am", "half past ten", "um 14 Uhr".
fn clock(words: &[Word], run: &Run, part: Option<Part>, named: &[Named]) -> Option<NaiveTime> {
    let word = |at: Option<usize>| at.and_then(|at| words.get(at)).map_or("", |word| word.text.as_str());
    let (two, one, after) = (word(run.start.checked_sub(2)), word(run.start.checked_sub(1)), word(Some(run.end)));
    let of_day = matches!(after, "am" | "pm" | "oclock" | "uhr") || word(Some(run.start)).contains(':');
    let after_month = run.start > 0 && calendar::is_month(words, run.start - 1);
    let led = matches!(one, "at" | "um" | "by" | "until" | "till" | "before" | "gegen" | "bis")
        || matches!((two, one), ("half" | "quarter", "past" | "to"))
        || one == "halb";
    let in_a_date = after_month || matches!(after, "of") || span(after).is_some() || month(after).is_some();
    if !(of_day || led) || in_a_date || run.pieces.len() > 2 {
        return None;
    }
    let hour: u32 = run.pieces[0].parse().ok()?;
    let minute: u32 = run.pieces.get(1).map_or(Some(0), |minute| minute.parse().ok().filter(|_| minute.len() == 2))?;
    let (hour, minute) = match (two, one) {
        ("half", "past") => (hour, 30),
        ("quarter", "past") => (hour, 15),
        ("quarter", "to") => (hour.checked_sub(1)?, 45),
        (_, "halb") => (hour.checked_sub(1)?, 30),
        _ => (hour, minute),
    };
    let hour = match (hour, part) {
        (12, Some(Part::Morning)) => 0,
        (1..=11, Some(Part::Afternoon | Part::Evening)) => hour + 12,
        (_, Some(_)) => hour,
        // Nobody says at which half of the day: office hours, and seven could be both.
        _ if after == "uhr" => hour,
        (1..=6, None) => hour + 12,
        (7, None) if minute == 0 && !named.is_empty() => return None,
        _ => hour,
    };
    NaiveTime::from_hms_opt(hour, minute, 0)
}

#[cfg(test)]
mod tests {
    use chrono_tz::America::New_York;
    use chrono_tz::Europe::Berlin;
    use rstest::rstest;

    use super::*;

    fn in_zone(said: &str, call: &str, zone: Tz) -> Option<String> {
        due(said, call.parse().unwrap(), zone).map(|at| at.with_timezone(&zone).format("%Y-%m-%d %H:%M").to_string())
    }

    /// Tuesday 2026-11-17, 09:21 in Berlin.
    const TUESDAY: &str = "2026-11-17T08:21:10Z";

    #[rstest]
    #[case("today", "2026-11-17 23:59")]
    #[case("by the end of the day", "2026-11-17 23:59")]
    #[case("by close of business", "2026-11-17 23:59")]
    #[case("tonight", "2026-11-17 23:59")]
    #[case("this morning", "2026-11-17 12:00")]
    #[case("by five today", "2026-11-17 17:00")]
    #[case("by noon", "2026-11-17 12:00")]
    #[case("by 5 pm", "2026-11-17 17:00")]
    #[case("tomorrow", "2026-11-18 23:59")]
    #[case("by tomorrow noon", "2026-11-18 12:00")]
    #[case("tomorrow morning", "2026-11-18 12:00")]
    #[case("tomorrow at half past ten", "2026-11-18 10:30")]
    #[case("tomorrow at a quarter to five", "2026-11-18 16:45")]
    #[case("first thing tomorrow", "2026-11-18 23:59")]
    #[case("the day after tomorrow at 2 p.m.", "2026-11-19 14:00")]
    #[case("by Friday", "2026-11-20 23:59")]
    #[case("on Friday at three in the afternoon", "2026-11-20 15:00")]
    #[case("Friday at seven in the morning", "2026-11-20 07:00")]
    #[case("on Friday at seven", "2026-11-20 23:59")]
    #[case("before Friday", "2026-11-19 23:59")]
    #[case("by Tuesday", "2026-11-24 23:59")]
    #[case("next Tuesday at ten", "2026-11-24 10:00")]
    #[case("next Friday", "2026-11-27 23:59")]
    #[case("this coming Friday", "2026-11-20 23:59")]
    #[case("in two weeks", "2026-12-01 23:59")]
    #[case("two weeks from today", "2026-12-01 23:59")]
    #[case("within three business days", "2026-11-20 23:59")]
    #[case("in 5 business days", "2026-11-24 23:59")]
    #[case("in a month", "2026-12-17 23:59")]
    #[case("in two hours", "2026-11-17 11:21")]
    #[case("within the next 24 hours", "2026-11-18 09:21")]
    #[case("in half an hour", "2026-11-17 09:51")]
    #[case("this week", "2026-11-22 23:59")]
    #[case("next week", "2026-11-29 23:59")]
    #[case("by the end of the week", "2026-11-20 23:59")]
    #[case("by the end of next week", "2026-11-27 23:59")]
    #[case("at the end of the month", "2026-11-30 23:59")]
    #[case("by the end of next month", "2026-12-31 23:59")]
    #[case("end of February", "2027-02-28 23:59")]
    #[case("by the end of the year", "2026-12-31 23:59")]
    #[case("by March fifteenth, twenty twenty seven", "2027-03-15 23:59")]
    #[case("by March 15", "2027-03-15 23:59")]
    #[case("the fifteenth of March at ten thirty", "2027-03-15 10:30")]
    #[case("on December 3rd", "2026-12-03 23:59")]
    #[case("Friday, December 4", "2026-12-04 23:59")]
    #[case("by the twentieth", "2026-11-20 23:59")]
    #[case("on the 3rd", "2026-12-03 23:59")]
    #[case("by the thirty first", "2026-12-31 23:59")]
    #[case("2027-03-15", "2027-03-15 23:59")]
    #[case("15.03.2027", "2027-03-15 23:59")]
    #[case("bis morgen Mittag", "2026-11-18 12:00")]
    #[case("bis Freitag", "2026-11-20 23:59")]
    #[case("am Freitag um 14 Uhr", "2026-11-20 14:00")]
    #[case("nächsten Dienstag um halb zehn", "2026-11-24 09:30")]
    #[case("in zwei Wochen", "2026-12-01 23:59")]
    #[case("Ende des Monats", "2026-11-30 23:59")]
    #[case("bis zum fünfzehnten März", "2027-03-15 23:59")]
    #[case("am 15. März 2027", "2027-03-15 23:59")]
    fn words_that_say_when(#[case] said: &str, #[case] expected: &str) {
        assert_eq!(in_zone(said, TUESDAY, Berlin).as_deref(), Some(expected), "{said}");
    }

    #[rstest]
    #[case("soon")]
    #[case("as soon as possible")]
    #[case("shortly")]
    #[case("later")]
    #[case("in a few days")]
    #[case("in three to five days")]
    #[case("Monday or Tuesday")]
    #[case("between Monday and Wednesday")]
    #[case("last Thursday")]
    #[case("two weeks ago")]
    #[case("after Friday")]
    #[case("every Monday")]
    #[case("not today")]
    #[case("early next week")]
    #[case("by March")]
    #[case("in an hour and a half")]
    #[case("on February thirtieth")]
    #[case("Monday, December 4")]
    #[case("tomorrow, Friday")]
    #[case("by seven")]
    #[case("3/4/2027")]
    #[case("January 5, 2020")]
    #[case("order four four one seven")]
    #[case("when the parts arrive")]
    #[case("in 99999999999 hours")]
    #[case("in 4000000000 years")]
    #[case("")]
    fn nothing_is_guessed(#[case] said: &str) {
        assert_eq!(in_zone(said, TUESDAY, Berlin), None, "{said}");
    }

    #[rstest]
    // Clocks go forward on 2027-03-28 at 02:00, back on 2026-10-25 at 03:00.
    #[case("tomorrow at 2:30 am", "2027-03-27T12:00:00Z", Berlin, "2027-03-28T01:30:00Z")]
    #[case("tomorrow", "2027-03-27T12:00:00Z", Berlin, "2027-03-28T21:59:00Z")]
    #[case("in 24 hours", "2027-03-27T12:00:00Z", Berlin, "2027-03-28T12:00:00Z")]
    #[case("tomorrow at 2:30 am", "2026-10-24T12:00:00Z", Berlin, "2026-10-25T01:30:00Z")]
    #[case("tomorrow noon", "2026-10-24T12:00:00Z", Berlin, "2026-10-25T11:00:00Z")]
    // The day is that of the zone, not of UTC.
    #[case("today", "2026-11-18T02:00:00Z", New_York, "2026-11-18T04:59:00Z")]
    #[case("today", "2026-11-17T23:30:00Z", Berlin, "2026-11-18T22:59:00Z")]
    #[case("in a month", "2027-01-31T12:00:00Z", Berlin, "2027-02-28T22:59:00Z")]
    #[case("tomorrow", "2028-02-28T12:00:00Z", Berlin, "2028-02-29T22:59:00Z")]
    #[case("end of the month", "2028-02-10T12:00:00Z", Berlin, "2028-02-29T22:59:00Z")]
    #[case("January first", "2026-12-31T12:00:00Z", Berlin, "2027-01-01T22:59:00Z")]
    #[case("by the thirty first", "2027-02-10T12:00:00Z", Berlin, "2027-03-31T21:59:00Z")]
    fn clocks_and_calendars_change(#[case] said: &str, #[case] call: &str, #[case] zone: Tz, #[case] expected: &str) {
        assert_eq!(due(said, call.parse().unwrap(), zone), Some(expected.parse().unwrap()), "{said}");
    }

    #[rstest]
    #[case("le quinze, 15 mars", "2027-03-15", None)]
    #[case("on the 15 of 3", "2027-03-15", Some("2027-03-15 23:59"))]
    #[case("soon", "2027-03-15", None)]
    #[case("March 15 or 16", "2027-03-15", None)]
    fn the_models_date_counts_only_where_the_words_hold_it(
        #[case] said: &str,
        #[case] date: &str,
        #[case] expected: Option<&str>,
    ) {
        let at = as_the_model_says(said, date, TUESDAY.parse().unwrap(), Berlin);
        let at = at.map(|at| at.with_timezone(&Berlin).format("%Y-%m-%d %H:%M").to_string());
        assert_eq!(at.as_deref(), expected, "{said}");
    }
}
