//! The way of a search back in time, through stretches that are words of its index (`moments_of` in
//! `migrations/0012_search.sql`).
//!
//! The first ones are as long as the calls there are dense, each looked at anew, until there were some thousand calls: one
//! call of a distant future, or a year without any, says nothing about those before it. From then on they grow, so that
//! who looks for something rare is soon through.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// A stretch whose length goes by its calls has fewer, unless they are of one hour.
const MOST_CALLS: i64 = 16_384;
/// When so many calls were in stretches, these begin to grow.
const BEGINNING: i64 = 4_096;
/// After so many stretches of one length come those that are eight times as long.
const STEPS: u32 = 4;
/// Lengths of the stretches: 1 hour times a power of 8, up to 3.7 years.
const LONGEST: u32 = 5;

/// The way back in time.
pub(super) struct Stretches {
    /// Nobody asks for what is newer.
    latest: Option<DateTime<Utc>>,
    /// Nobody asks for what is older.
    earliest: Option<DateTime<Utc>>,
    way: Way,
}

/// A part of all time: from `start` until before `end`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stretch {
    start: Option<DateTime<Utc>>,
    /// The end; `None` = it has none.
    pub(super) end: Option<DateTime<Utc>>,
    level: Option<u32>,
}

/// What was gone of it.
#[derive(Debug, Default)]
struct Way {
    /// What is not older was looked at.
    end: Option<DateTime<Utc>>,
    /// How long the next stretch is; `None` = it is not known, or all that is left is one stretch.
    level: Option<u32>,
    /// So many were of this length, since they grow.
    steps: u32,
    /// Calls of the stretches so far, counted until there are enough.
    calls: i64,
    finished: bool,
}

impl Stretches {
    pub(super) fn new(latest: Option<DateTime<Utc>>, earliest: Option<DateTime<Utc>>) -> Self {
        Self { latest, earliest, way: Way::default() }
    }

    pub(super) async fn next(&mut self, db: &mut PgConnection) -> Result<Option<Stretch>, sqlx::Error> {
        if self.way.finished {
            return Ok(None);
        }
        let (end, grows) = (self.way.end, self.way.grows());
        // One entry of the index for what is known, some thousand for what is not.
        let row = sqlx::query!(
            "WITH latest AS (SELECT occurred_at FROM call_texts
                             WHERE occurred_at <= coalesce($1::timestamptz, 'infinity')
                               AND occurred_at < coalesce($2::timestamptz, 'infinity')
                             ORDER BY occurred_at DESC LIMIT 1)
             SELECT (SELECT occurred_at FROM latest) AS latest,
                    CASE WHEN NOT $3 THEN (
                        SELECT occurred_at FROM call_texts WHERE occurred_at <= (SELECT occurred_at FROM latest)
                        ORDER BY occurred_at DESC OFFSET $4 LIMIT 1) END AS further",
            self.latest,
            end,
            grows,
            MOST_CALLS
        )
        .fetch_one(&mut *db)
        .await?;
        let wanted = |latest: &DateTime<Utc>| self.earliest.is_none_or(|earliest| *latest >= earliest);
        let Some(latest) = row.latest.filter(wanted) else { return Ok(None) };
        let stretch = self.way.stretch(latest, row.further);
        if let Some(start) = stretch.start.filter(|_| !grows) {
            let calls = sqlx::query_scalar!(
                r#"SELECT count(*) AS "calls!" FROM (
                       SELECT FROM call_texts WHERE occurred_at BETWEEN $1 AND $2 LIMIT $3) calls"#,
                start,
                latest,
                BEGINNING
            )
            .fetch_one(db)
            .await?;
            self.way.calls += calls;
        }
        Ok(Some(stretch))
    }
}

impl Way {
    /// Whether the length no longer goes by the calls.
    fn grows(&self) -> bool {
        self.calls >= BEGINNING
    }

    /// The next stretch. `latest` is the latest call that is not looked at yet, `further` the one that is too far from it for
    /// one stretch; `None` = there is none.
    fn stretch(&mut self, latest: DateTime<Utc>, further: Option<DateTime<Utc>>) -> Stretch {
        if self.grows() {
            self.steps += 1;
            if self.steps > STEPS {
                (self.steps, self.level) = (1, self.level.map(|level| (level + 1).min(LONGEST)));
            }
        } else {
            self.level = further.map(|further| level_of(latest, further));
        }
        let start = self.level.and_then(|level| start_of(latest, level));
        let stretch = Stretch { start, end: self.end, level: self.level.filter(|_| start.is_some()) };
        self.end = start;
        // Without a start it has all that is older.
        self.finished = start.is_none();
        stretch
    }
}

impl Stretch {
    /// All time.
    pub(super) const ALL: Self = Self { start: None, end: None, level: None };

    /// The word of the index that stands for it.
    pub(super) fn moment(&self) -> Option<String> {
        let (start, level) = (self.start?, self.level?);
        Some(format!("@{level}/{}", start.timestamp() / seconds(level)))
    }
}

/// The longest stretch with the one moment that does not have the other; the shortest of all where none is so short.
fn level_of(latest: DateTime<Utc>, further: DateTime<Utc>) -> u32 {
    let is_short = |level: &u32| start_of(latest, *level).is_some_and(|start| start > further);
    (0..=LONGEST).rev().find(is_short).unwrap_or(0)
}

/// Start of the stretch that has this moment; `None` = it has no start, because all before 1970 is in it.
fn start_of(moment: DateTime<Utc>, level: u32) -> Option<DateTime<Utc>> {
    let number = moment.timestamp() / seconds(level);
    DateTime::from_timestamp(number * seconds(level), 0).filter(|_| number > 0)
}

const fn seconds(level: u32) -> i64 {
    3_600 * 8_i64.pow(level)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn stretches_are_named_as_the_index_names_them() {
        // SELECT moments_of('2026-01-05T10:00:00Z')
        let expected = ["@0/491002", "@1/61375", "@2/7671", "@3/958", "@4/119", "@5/14"];
        for (level, expected) in expected.into_iter().enumerate() {
            let level = level as u32;
            let start = start_of(time("2026-01-05T10:00:00Z"), level);
            let stretch = Stretch { start, end: None, level: Some(level) };
            assert_eq!(stretch.moment().as_deref(), Some(expected));
        }
        assert_eq!(start_of(time("1965-01-05T10:00:00Z"), 3), None);
    }

    #[test]
    fn a_stretch_is_as_long_as_its_calls_are_apart() {
        let latest = time("2026-01-05T10:30:00Z");
        for (further, level) in [
            ("2026-01-05T10:29:00Z", 0),
            ("2026-01-05T09:30:00Z", 0),
            ("2026-01-05T07:30:00Z", 1),
            ("1990-01-05T08:00:00Z", 5),
        ] {
            assert_eq!(level_of(latest, time(further)), level, "{further}");
        }
    }

    /// How many calls each stretch has, for calls at these times, the latest first.
    fn shares(times: &[DateTime<Utc>]) -> Vec<usize> {
        let (mut way, mut shares, mut seen) = (Way::default(), Vec::new(), 0);
        while seen < times.len() && !way.finished {
            let further = times.get(seen + MOST_CALLS as usize).filter(|_| !way.grows()).copied();
            let stretch = way.stretch(times[seen], further);
            let share =
                times[seen..].iter().take_while(|time| stretch.start.is_none_or(|start| **time >= start)).count();
            way.calls += share as i64;
            seen += share;
            shares.push(share);
        }
        assert_eq!(seen, times.len(), "each call is in one of them");
        shares
    }

    #[test]
    fn distant_calls_say_nothing_about_the_others() {
        let every_minute = |latest: &str| {
            let latest = time(latest);
            (0..100_000).map(move |minute| latest - TimeDelta::minutes(minute))
        };
        let everyday: Vec<_> = every_minute("2026-02-01T00:00:00Z").collect();
        let future: Vec<_> = ["9000-01-01T00:00:00Z", "2300-01-01T00:00:00Z", "2100-01-01T00:00:00Z"]
            .map(time)
            .into_iter()
            .chain(every_minute("2026-02-01T00:00:00Z"))
            .collect();
        let gap: Vec<_> =
            every_minute("2026-02-01T00:00:00Z").take(100).chain(every_minute("2021-02-01T00:00:00Z")).collect();
        for times in [everyday, future, gap] {
            let shares = shares(&times);
            let mut calls = 0;
            let beginning = shares.iter().take_while(|share| {
                calls += **share;
                calls - **share < BEGINNING as usize
            });
            assert!(beginning.copied().max() < Some(MOST_CALLS as usize), "{shares:?}");
            assert!(shares.len() < 30, "{shares:?}");
        }
    }
}
