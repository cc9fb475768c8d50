//! Words that several commands take: lengths of time and moments.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;

/// A length of time above zero: a number and one of `s`, `m`, `h`, `d`, `w`.
pub fn duration(text: &str) -> Result<TimeDelta, String> {
    let wrong = || format!("`{text}` is no duration; write it as 12h, 90d or 52w");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: i64 = digits.parse().map_err(|_| wrong())?;
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let length = number.checked_mul(unit).and_then(TimeDelta::try_seconds).ok_or_else(wrong)?;
    if length > TimeDelta::zero() { Ok(length) } else { Err(wrong()) }
}

/// A moment as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// With a zone: `2026-11-17T08:00:00Z`.
    At(DateTime<Utc>),
    /// Without one: `2026-11-17T08:00`, or a day, which counts from its midnight.
    Local(NaiveDateTime),
}

impl Moment {
    /// For arguments.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(at) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::At(at.to_utc()));
        }
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").map(|day| day.and_time(NaiveTime::MIN));
        let minute = || NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M");
        let second = || NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S");
        let wrong =
            |_| format!("`{text}` is no time; write it as 2026-11-17, 2026-11-17T08:00 or 2026-11-17T08:00:00Z");
        day.or_else(|_| minute()).or_else(|_| second()).map(Self::Local).map_err(wrong)
    }

    /// As read in a zone. An hour that the clocks leave out counts as if they had not been put forward yet.
    pub fn in_zone(self, zone: Tz) -> DateTime<Utc> {
        match self {
            Self::At(at) => at,
            Self::Local(local) => match local.and_local_timezone(zone).earliest() {
                Some(at) => at.to_utc(),
                None => local.and_utc(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("30m", Some(1_800))]
    #[case("2h", Some(7_200))]
    #[case("0h", None)]
    #[case("-2h", None)]
    #[case("h", None)]
    #[case("2", None)]
    fn durations(#[case] text: &str, #[case] seconds: Option<i64>) {
        assert_eq!(duration(text).ok(), seconds.map(TimeDelta::seconds));
    }

    #[rstest]
    #[case("2026-11-17", Some("2026-11-16T23:00:00Z"))]
    #[case("2026-11-17T08:00", Some("2026-11-17T07:00:00Z"))]
    #[case("2026-11-17T08:00:30", Some("2026-11-17T07:00:30Z"))]
    #[case("2026-11-17T08:00:00+05:00", Some("2026-11-17T03:00:00Z"))]
    #[case("yesterday", None)]
    fn moments(#[case] text: &str, #[case] expected: Option<&str>) {
        let read = Moment::parse(text).ok().map(|moment| moment.in_zone(chrono_tz::Europe::Berlin));
        assert_eq!(read, expected.map(|at| at.parse().unwrap()));
    }
}
