//! Times as other systems write them.

use chrono::{DateTime, Datelike, NaiveDateTime, SubsecRound, Utc};

/// With an offset: `Z`, `+01:00`, `+0100` or `+01`.
const ZONED: [&str; 2] = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z"];
/// Without one.
const PLAIN: [&str; 2] = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"];

/// Reads a date and time of ISO 8601 in its extended form, with or without seconds, fractions and an offset; a blank
/// may stand for the `T`. Without an offset it is UTC. Whole microseconds, as PostgreSQL keeps it; `None` also outside
/// of the years 1 to 9999.
pub fn parse_iso8601(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim().replacen([' ', 't'], "T", 1).replace('z', "Z");
    let zoned = ZONED.iter().find_map(|format| DateTime::parse_from_str(&text, format).ok());
    let time = zoned.map(|time| time.with_timezone(&Utc)).or_else(|| {
        let plain = PLAIN.iter().find_map(|format| NaiveDateTime::parse_from_str(&text, format).ok());
        plain.map(|time| time.and_utc())
    })?;
    (1..=9999).contains(&time.year()).then(|| time.trunc_subsecs(6))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("2026-01-05T10:00:00Z", "2026-01-05T10:00:00Z")]
    #[case("2026-01-05t10:00:00z", "2026-01-05T10:00:00Z")]
    #[case("2026-01-05 10:00:00", "2026-01-05T10:00:00Z")]
    #[case("2026-01-05T10:00:00", "2026-01-05T10:00:00Z")]
    #[case("2026-01-05T10:00", "2026-01-05T10:00:00Z")]
    #[case("2026-01-05T10:00Z", "2026-01-05T10:00:00Z")]
    #[case("2026-01-05T10:00:00.1234567Z", "2026-01-05T10:00:00.123456Z")]
    #[case("2026-01-05T10:00:00+01:00", "2026-01-05T09:00:00Z")]
    #[case("2026-01-05T10:00:00.5-0130", "2026-01-05T11:30:00.500Z")]
    #[case("2026-01-05T10:00:00+01", "2026-01-05T09:00:00Z")]
    fn reads(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(parse_iso8601(text), Some(expected.parse().unwrap()), "{text}");
    }

    #[rstest]
    #[case("")]
    #[case("yesterday")]
    #[case("2026-01-05")]
    #[case("2026-13-05T10:00:00Z")]
    #[case("2026-01-05T25:00:00Z")]
    #[case("+262142-01-01T00:00:00Z")]
    #[case("-0044-03-15T12:00:00Z")]
    #[case("1767607200")]
    fn refuses(#[case] text: &str) {
        assert_eq!(parse_iso8601(text), None, "{text}");
    }
}
