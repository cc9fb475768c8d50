//! Days that words name, as seen from the day of the call.

use chrono::{Datelike, Days, Months, NaiveDate, Weekday};

use super::lexicon::{Span, direction, month, relative_day, span, weekday};
use super::numbers::Run;
use super::words::Word;

/// A day with what named it. Earlier kinds are surer: later ones may only agree with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Named {
    /// "March fifteenth", with or without a year.
    Date(NaiveDate),
    /// "tomorrow", "in two weeks", "end of the month".
    Counted(NaiveDate),
    /// "the fifteenth".
    OfMonth(NaiveDate),
    /// "Friday".
    OfWeek(NaiveDate),
}

/// What the words name, or `None` where they name a month or a week of which nobody knows the day.
pub(super) fn named(words: &[Word], runs: &[Run], today: NaiveDate) -> Option<Vec<Named>> {
    let page = Page { words, runs, today };
    let mut named = Vec::new();
    for at in 0..words.len() {
        if is_month(words, at) {
            named.push(page.date_of_month(at)?);
        } else if let Some(days) = relative_day(page.word(at)).filter(|_| page.before(at, 1) != "from") {
            named.push(Named::Counted(moved(today, days)?));
        } else if let Some(day) = weekday(page.word(at)) {
            named.push(Named::OfWeek(page.weekday(at, day)?));
        } else if let Some(span) = span(page.word(at)) {
            named.extend(page.span(at, span));
        }
    }
    for run in runs {
        named.extend(page.digits(run).map(Named::Date));
        named.extend(page.day_of_month(run).map(Named::OfMonth));
    }
    Some(named)
}

/// A month's name that is not the word "may" or "march".
pub(super) fn is_month(words: &[Word], at: usize) -> bool {
    let word = &words[at];
    month(&word.text).is_some()
        && (word.capital && !word.first || !matches!(word.text.as_str(), "may" | "march" | "mar"))
        || month(&word.text).is_some()
            && words.get(at + 1).is_some_and(|next| super::numbers::small(&next.text).is_some())
}

/// The one day on which all agree.
pub(super) fn agreed(mut named: Vec<Named>) -> Option<NaiveDate> {
    named.sort();
    let first = *named.first()?;
    let agrees = |other: &Named| match *other {
        Named::OfWeek(day) if !matches!(first, Named::OfWeek(_)) => first.day().weekday() == day.weekday(),
        Named::OfMonth(day) if !matches!(first, Named::OfMonth(_)) => {
            Datelike::day(&first.day()) == Datelike::day(&day)
        }
        other => first.day() == other.day(),
    };
    named.iter().all(agrees).then(|| first.day())
}

impl Named {
    /// The day.
    pub fn day(self) -> NaiveDate {
        match self {
            Self::Date(day) | Self::Counted(day) | Self::OfMonth(day) | Self::OfWeek(day) => day,
        }
    }
}

struct Page<'a> {
    words: &'a [Word],
    runs: &'a [Run],
    today: NaiveDate,
}

impl Page<'_> {
    fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", |word| word.text.as_str())
    }

    /// The word `back` places before `at`.
    fn before(&self, at: usize, back: usize) -> &str {
        at.checked_sub(back).map_or("", |at| self.word(at))
    }

    /// "March fifteenth, 2027", "the fifteenth of March", "end of March".
    fn date_of_month(&self, at: usize) -> Option<Named> {
        let month = month(self.word(at))?;
        let after = self.runs.iter().find(|run| run.start == at + 1);
        let of = usize::from(self.before(at, 1) == "of");
        let before = self.runs.iter().find(|run| run.end + of == at && run.pieces.len() == 1);
        let year_of = |digits: String| digits.parse::<i32>().ok().filter(|_| digits.len() == 4);
        if let Some(day) = before.and_then(|run| run.pieces[0].parse().ok()) {
            return self.next(month, day, after.and_then(|run| year_of(run.joined()))).map(Named::Date);
        }
        if let Some(run) = after
            && let Ok(day) = run.pieces[0].parse::<u32>()
            && day <= 31
        {
            return self.next(month, day, year_of(run.pieces[1..].concat())).map(Named::Date);
        }
        let end = self.before(at, 1) == "end" || self.before(at, 2) == "end" || self.before(at, 1) == "ende";
        let year = after.and_then(|run| year_of(run.joined()));
        end.then(|| self.next(month, 1, year).and_then(last_of_month).map(Named::Counted)).flatten()
    }

    /// That day in that year, else the next one that has not passed.
    fn next(&self, month: u32, day: u32, year: Option<i32>) -> Option<NaiveDate> {
        let this_year = self.today.year();
        let date = NaiveDate::from_ymd_opt(year.unwrap_or(this_year), month, day);
        match (year, date) {
            (None, Some(date)) if date < self.today && (date.month(), date.year()) != month_of(self.today) => {
                NaiveDate::from_ymd_opt(this_year + 1, month, day)
            }
            (_, date) => date,
        }
    }

    /// `2027-03-15`, `15.03.2027`, `3/15/2027` where it can be one thing only.
    fn digits(&self, run: &Run) -> Option<NaiveDate> {
        let [one, two, three] = run.pieces.as_slice() else { return None };
        let number = |text: &String| text.parse::<u32>().ok();
        let (first, second, third) = (number(one)?, number(two)?, number(three)?);
        if one.len() == 4 {
            return NaiveDate::from_ymd_opt(first as i32, second, third);
        }
        let dotted = self.word(run.start).contains('.');
        match (three.len(), first, second) {
            (4, day, month) if dotted || day > 12 => NaiveDate::from_ymd_opt(third as i32, month, day),
            (4, month, day) if day > 12 || day == month => NaiveDate::from_ymd_opt(third as i32, month, day),
            _ => None,
        }
    }

    /// "the fifteenth", "am fünfzehnten": the next day of that number.
    fn day_of_month(&self, run: &Run) -> Option<NaiveDate> {
        let last = self.word(run.end.checked_sub(1)?);
        let ordinal = ["st", "nd", "rd", "th", "ten"].iter().any(|end| last.ends_with(end));
        let article = matches!(self.before(run.start, 1), "the" | "am" | "zum") && last != "ten";
        let of = usize::from(self.word(run.end) == "of");
        if !ordinal || !article || run.end + of < self.words.len() && is_month(self.words, run.end + of) {
            return None;
        }
        let day = run.pieces.first().filter(|_| run.pieces.len() == 1)?.parse::<u32>().ok()?;
        let months = (0..3).filter_map(|later| first_of_month(self.today)?.checked_add_months(Months::new(later)));
        months.filter_map(|month| month.with_day(day)).find(|date| *date >= self.today)
    }

    /// The day after the call's that has this name; "next" is that of the next week (from Monday, ISO 8601).
    fn weekday(&self, at: usize, day: Weekday) -> Option<NaiveDate> {
        let ahead =
            (7 + i64::from(day.num_days_from_monday()) - i64::from(self.today.weekday().num_days_from_monday())) % 7;
        if direction(self.before(at, 1)) == Some(1) && self.before(at, 1).starts_with(['n', 'f']) {
            let monday = moved(self.today, 7 - i64::from(self.today.weekday().num_days_from_monday()))?;
            return moved(monday, i64::from(day.num_days_from_monday()));
        }
        moved(self.today, if ahead == 0 { 7 } else { ahead })
    }

    /// "in two weeks", "end of the month", "next week".
    fn span(&self, at: usize, span: Span) -> Option<Named> {
        let business = matches!(self.before(at, 1), "business" | "working");
        let number_at = at - usize::from(business && at > 0);
        if let Some(count) = counted(self.words, self.runs, number_at) {
            return self.ahead(count, span, business).map(Named::Counted);
        }
        let ahead = match self.before(at, 1) {
            "this" | "the" | "diese" | "dieser" | "dieses" | "der" | "des" => 0,
            word => direction(word).filter(|ahead| *ahead == 1)?,
        };
        let ends = (2..=4).any(|back| matches!(self.before(at, back), "end" | "ende"));
        // "the week" alone is no time.
        if !ends && matches!(self.before(at, 1), "the" | "der" | "des") {
            return None;
        }
        self.end_of(span, ahead, ends).map(Named::Counted)
    }

    fn ahead(&self, count: u32, span: Span, business: bool) -> Option<NaiveDate> {
        match span {
            Span::Day if business => (0..count).try_fold(self.today, |day, _| {
                (1..4).filter_map(|ahead| moved(day, ahead)).find(|day| day.weekday().num_days_from_monday() < 5)
            }),
            Span::Day => moved(self.today, i64::from(count)),
            Span::Week => moved(self.today, i64::from(count) * 7),
            Span::Month => self.today.checked_add_months(Months::new(count)),
            Span::Year => self.today.checked_add_months(Months::new(count.checked_mul(12)?)),
            Span::Hour | Span::Minute => None,
        }
    }

    /// The end of this (0) or the next (1) week, month or year. A week ends on Sunday, "the end of the week" is Friday.
    fn end_of(&self, span: Span, ahead: i64, ends: bool) -> Option<NaiveDate> {
        match span {
            Span::Week => {
                let monday = moved(self.today, 7 * ahead - i64::from(self.today.weekday().num_days_from_monday()))?;
                let day = moved(monday, if ends { 4 } else { 6 })?;
                (day >= self.today).then_some(day)
            }
            Span::Month => last_of_month(first_of_month(self.today)?.checked_add_months(Months::new(ahead as u32))?),
            Span::Year => NaiveDate::from_ymd_opt(self.today.year() + ahead as i32, 12, 31),
            _ => None,
        }
    }
}

/// "in two", "within a", "the next 24": how many of what stands at `at`.
pub(super) fn counted(words: &[Word], runs: &[Run], at: usize) -> Option<u32> {
    let word = |at: Option<usize>| at.and_then(|at| words.get(at)).map_or("", |word| word.text.as_str());
    let one = matches!(word(at.checked_sub(1)), "a" | "an" | "einer" | "einem" | "einen" | "eine");
    let (count, start) = if one {
        (1, at - 1)
    } else {
        let run = runs.iter().find(|run| run.end == at && run.pieces.len() == 1)?;
        (run.pieces[0].parse().ok()?, run.start)
    };
    let ahead = |word: &str| matches!(word, "in" | "within" | "innerhalb" | "binnen") || direction(word) == Some(1);
    let from_now = ["now", "today"].contains(&word(Some(at + 2))) && word(Some(at + 1)) == "from";
    let of = |back: usize| word(start.checked_sub(back));
    (ahead(of(1)) || matches!(of(1), "von" | "the") && ahead(of(2)) || from_now).then_some(count)
}

fn moved(day: NaiveDate, days: i64) -> Option<NaiveDate> {
    let distance = Days::new(days.unsigned_abs());
    if days < 0 { day.checked_sub_days(distance) } else { day.checked_add_days(distance) }
}

fn first_of_month(day: NaiveDate) -> Option<NaiveDate> {
    day.with_day(1)
}

fn last_of_month(day: NaiveDate) -> Option<NaiveDate> {
    first_of_month(day)?.checked_add_months(Months::new(1))?.pred_opt()
}

fn month_of(day: NaiveDate) -> (u32, i32) {
    (day.month(), day.year())
}
