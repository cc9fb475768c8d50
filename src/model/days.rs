//! Calendar days of a time zone, from midnight to midnight, however long they are.

use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;

/// No clock has been set forward by more: Samoa went without the 30th of December 2011.
const LONGEST_GAP_MINUTES: i64 = 24 * 60;

/// The days of a zone. Each moment belongs to exactly one of them, also where clocks are set back over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(pub Tz);

/// Some days in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayRange {
    /// The first of them.
    pub first: NaiveDate,
    /// The last of them.
    pub last: NaiveDate,
}

/// Stretches of time, each from its first moment to the first one after it; three columns, as statements take them.
#[derive(Debug, Clone, Default)]
pub struct Spans {
    /// 0, 1, 2 and so on.
    pub numbers: Vec<i32>,
    /// First moments.
    pub starts: Vec<DateTime<Utc>>,
    /// First moments after them.
    pub ends: Vec<DateTime<Utc>>,
}

impl FromIterator<(DateTime<Utc>, DateTime<Utc>)> for Spans {
    fn from_iter<T: IntoIterator<Item = (DateTime<Utc>, DateTime<Utc>)>>(spans: T) -> Self {
        let mut all = Self::default();
        for (number, (start, end)) in spans.into_iter().enumerate() {
            all.numbers.push(number as i32);
            all.starts.push(start);
            all.ends.push(end);
        }
        all
    }
}

impl Days {
    /// Name of the zone (IANA).
    pub fn zone(self) -> &'static str {
        self.0.name()
    }

    /// The first moment of a day: its midnight, the first one where there are two, and what comes instead where there
    /// is none. A day that was left out altogether begins with the next one, and so has no moment.
    pub fn start(self, day: NaiveDate) -> DateTime<Utc> {
        let midnight = day.and_time(NaiveTime::MIN);
        let clock_shows = |minutes| self.0.from_local_datetime(&(midnight + Duration::minutes(minutes))).earliest();
        let first = (0..=LONGEST_GAP_MINUTES).find_map(clock_shows);
        // No zone is without clocks for longer.
        first.map_or_else(|| midnight.and_utc(), |first| first.with_timezone(&Utc))
    }

    /// The day to which a moment belongs.
    pub fn of(self, moment: DateTime<Utc>) -> NaiveDate {
        let day = moment.with_timezone(&self.0).date_naive();
        // Where clocks are set back over midnight, they show the day before once more: it stays the new one.
        let next = day.succ_opt().filter(|next| self.start(*next) <= moment);
        next.unwrap_or(day)
    }

    /// So many days, up to `last`.
    pub fn until(self, last: NaiveDate, count: u32) -> DayRange {
        let back = Duration::days(i64::from(count.max(1)) - 1);
        DayRange { first: last.checked_sub_signed(back).unwrap_or(last), last }
    }

    /// The first moment of a range, and the first one after it.
    pub fn moments(self, range: DayRange) -> (DateTime<Utc>, DateTime<Utc>) {
        (self.start(range.first), self.start(range.last.succ_opt().unwrap_or(range.last)))
    }
}

impl DayRange {
    /// Each of its days, in order.
    pub fn days(self) -> impl Iterator<Item = NaiveDate> {
        self.first.iter_days().take_while(move |day| *day <= self.last)
    }

    /// The same, cut into weeks that begin on Monday.
    pub fn weeks(self) -> Vec<DayRange> {
        let mut weeks: Vec<DayRange> = Vec::new();
        for day in self.days() {
            match weeks.last_mut() {
                Some(week) if day.weekday() != chrono::Weekday::Mon => week.last = day,
                _ => weeks.push(Self { first: day, last: day }),
            }
        }
        weeks
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[rstest]
    #[case("UTC", "2026-01-05", "2026-01-05T00:00:00Z")]
    #[case("Europe/Berlin", "2026-01-05", "2026-01-04T23:00:00Z")]
    #[case("Asia/Kolkata", "2024-02-29", "2024-02-28T18:30:00Z")]
    #[case("Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00:00Z")]
    #[case("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z")] // no midnight: clocks show 01:00 first
    #[case("America/Havana", "2026-11-01", "2026-11-01T04:00:00Z")] // midnight twice: the first
    #[case("America/St_Johns", "2010-11-07", "2010-11-07T02:30:00Z")] // set back over midnight, at 00:01
    #[case("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z")] // left out: begins with the 31st
    fn a_day_begins(#[case] zone: Tz, #[case] of: &str, #[case] expected: &str) {
        assert_eq!(Days(zone).start(day(of)), expected.parse::<DateTime<Utc>>().unwrap());
    }

    #[rstest]
    #[case("Europe/Berlin")]
    #[case("America/New_York")]
    #[case("America/Havana")]
    #[case("America/Sao_Paulo")]
    #[case("America/St_Johns")]
    #[case("Asia/Kathmandu")]
    #[case("Australia/Lord_Howe")]
    #[case("Africa/Cairo")]
    #[case("Pacific/Apia")]
    fn every_moment_belongs_to_one_day(#[case] zone: Tz) {
        let days = Days(zone);
        let mut moment: DateTime<Utc> = "2010-10-30T00:00:00Z".parse().unwrap();
        let end: DateTime<Utc> = "2012-01-02T00:00:00Z".parse().unwrap();
        while moment < end {
            let day = days.of(moment);
            let (from, to) = days.moments(DayRange { first: day, last: day });
            assert!(from <= moment && moment < to, "{moment} is not in {day}: {from} to {to}");
            moment += Duration::minutes(29);
        }
    }

    #[test]
    fn weeks_begin_on_monday() {
        let days = Days(Tz::UTC);
        let range = days.until(day("2026-01-14"), 12);
        let weeks = range.weeks();
        let ends: Vec<_> = weeks.iter().map(|week| (week.first.to_string(), week.last.to_string())).collect();
        assert_eq!(ends[0], ("2026-01-03".into(), "2026-01-04".into()));
        assert_eq!(ends[1], ("2026-01-05".into(), "2026-01-11".into()));
        assert_eq!(ends[2], ("2026-01-12".into(), "2026-01-14".into()));
        assert_eq!(days.until(day("2026-01-14"), 1).days().count(), 1);
    }
}
