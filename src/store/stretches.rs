//! The way of a search back in time, through stretches that its index knows: each call has a word for every cell of time that
//! holds it (`moments_of` in `migrations/0012_search.sql`), and a stretch is some of these cells.
//!
//! How many calls have to be looked at is known beforehand, about, and the first stretches have so many, which are counted:
//! one call of a distant future, or a year without any, says nothing about those before it. Where that would be too many to
//! be counted the way goes on by length, as what was found on the way so far suggests; and where so little was found that
//! reading every match there is would be no work, all that is left is one stretch.

use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use super::leads::Need;

/// So many calls are counted at most.
const MOST_COUNTED: f64 = 8_192.0;
/// More than seem to be needed: a second stretch takes longer.
const MARGIN: f64 = 1.25;
/// So many times what is known may be guessed.
const LONGEST_GUESS: f64 = 32.0;
/// No stretch is longer; it would have too many cells.
const LONGEST: TimeDelta = TimeDelta::days(40 * 365);
/// Cells are 1 hour times a power of 8, up to 3.7 years.
const LEVELS: u32 = 6;
/// The ends of a stretch are as exact as this part of it, counted or guessed: each cell more takes the index longer, and what
/// is too much is read for nothing.
const COUNTED_PARTS: i64 = 32;
const GUESSED_PARTS: i64 = 8;
/// So many times the matches that are wanted are no work.
const FEW: f64 = 3.0;

/// The way back in time.
pub(super) struct Stretches {
    /// Nobody asks for what is newer.
    latest: Option<DateTime<Utc>>,
    /// Nobody asks for what is older.
    earliest: Option<DateTime<Utc>>,
    way: Way,
}

/// A part of all time: from its start until before its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stretch {
    /// Hours since 1970.
    start: i64,
    end: i64,
    /// Whether its calls are found by its cells; else by what they are not.
    has_cells: bool,
    /// What is not older was looked at.
    pub(super) before: Option<DateTime<Utc>>,
}

/// What was gone of it.
#[derive(Debug)]
struct Way {
    /// What for.
    need: Need,
    /// What is not older was looked at.
    end: Option<DateTime<Utc>>,
    /// How long the stretches so far are, or would be if all of their calls were as dense as the last ones.
    length: TimeDelta,
    /// Their calls, as far as these were counted.
    counted: f64,
    /// Whether all that is left may be one stretch without cells.
    has_rest: bool,
    finished: bool,
}

/// What lies ahead.
#[derive(Debug, Clone, Copy)]
struct Ahead {
    /// The latest call that is not looked at yet.
    latest: DateTime<Utc>,
    /// The call that is as far from it as calls were to be counted; `None` = there are not so many, or none was counted.
    counted: Option<DateTime<Utc>>,
    /// The call that is half as far.
    half: Option<DateTime<Utc>>,
    /// The oldest call that anybody asks for is not older.
    oldest: DateTime<Utc>,
}

impl Stretches {
    /// `is_indexed` = the index knows what is looked for also without a time.
    pub(super) fn new(
        latest: Option<DateTime<Utc>>,
        earliest: Option<DateTime<Utc>>,
        need: Need,
        is_indexed: bool,
    ) -> Self {
        Self { latest, earliest, way: Way { has_rest: is_indexed, ..Way::new(need) } }
    }

    /// The next one. `found` = so many matches were found so far.
    pub(super) async fn next(&mut self, db: &mut PgConnection, found: f64) -> Result<Option<Stretch>, sqlx::Error> {
        if self.way.finished {
            return Ok(None);
        }
        let count = self.way.to_count();
        let row = sqlx::query!(
            "WITH latest AS (SELECT occurred_at FROM call_texts
                             WHERE occurred_at <= coalesce($1::timestamptz, 'infinity')
                               AND occurred_at < coalesce($2::timestamptz, 'infinity')
                             ORDER BY occurred_at DESC LIMIT 1),
                  half AS (SELECT occurred_at FROM call_texts
                           WHERE $3::bigint > 0 AND occurred_at <= (SELECT occurred_at FROM latest)
                           ORDER BY occurred_at DESC OFFSET $3 LIMIT 1)
             SELECT (SELECT occurred_at FROM latest) AS latest,
                    (SELECT occurred_at FROM half) AS half,
                    (SELECT occurred_at FROM call_texts WHERE occurred_at <= (SELECT occurred_at FROM half)
                     ORDER BY occurred_at DESC OFFSET $3 LIMIT 1) AS counted,
                    (SELECT min(occurred_at) FROM call_texts) AS oldest",
            self.latest,
            self.way.end,
            (count / 2.0) as i64
        )
        .fetch_one(&mut *db)
        .await?;
        let (Some(latest), Some(oldest)) = (row.latest, row.oldest) else { return Ok(None) };
        let oldest = self.earliest.map_or(oldest, |earliest| earliest.max(oldest));
        if latest < oldest {
            return Ok(None);
        }
        Ok(Some(self.way.stretch(Ahead { latest, counted: row.counted, half: row.half, oldest }, count, found)))
    }
}

impl Way {
    fn new(need: Need) -> Self {
        let need = Need { calls: need.calls * MARGIN, ..need };
        Self { need, end: None, length: TimeDelta::zero(), counted: 0.0, has_rest: true, finished: false }
    }

    /// So many calls are to be counted; 0 = enough were.
    fn to_count(&self) -> f64 {
        let left = self.need.calls.min(MOST_COUNTED) - self.counted;
        // Where all that seemed to be needed was looked at and more is wanted, what was found says how much.
        if left > 0.0 { left.max(MOST_COUNTED / 64.0).round() } else { 0.0 }
    }

    /// The next one, after so many matches were found.
    fn stretch(&mut self, ahead: Ahead, count: f64, found: f64) -> Stretch {
        let Ahead { latest, counted, half, oldest } = ahead;
        if self.has_rest && count == 0.0 && found.max(1.0) / self.counted * self.need.all < self.need.wanted * FEW {
            self.finished = true;
            return Stretch { start: 0, end: hour_of(latest) + 1, has_cells: false, before: self.end };
        }
        let measured = counted.zip(half);
        let is_far = counted.is_some_and(|counted| latest - counted > LONGEST);
        // Behind these the calls are much denser: how long they took says nothing about those.
        let is_apart = is_far || measured.is_some_and(|(counted, half)| (half - counted) * 4 < latest - counted);
        let (start, parts) = match measured {
            Some((counted, _)) if is_apart => {
                self.counted += if is_far { 1.0 } else { count };
                (counted, i64::MAX)
            }
            Some((counted, half)) => {
                self.counted += count;
                // What goes beyond the calls that are counted goes by how dense they are there.
                let left = (self.need.calls - self.counted).min(LONGEST_GUESS * count);
                if self.to_count() == 0.0 && left > 0.0 {
                    (counted - times(half - counted, left / count * 2.0), GUESSED_PARTS)
                } else {
                    (counted, COUNTED_PARTS)
                }
            }
            None if count > 0.0 => (oldest, COUNTED_PARTS),
            None => {
                let guess = if found > 0.0 { (self.need.wanted / found - 1.0) * MARGIN } else { LONGEST_GUESS };
                (latest - times(self.length, guess.clamp(0.1, LONGEST_GUESS)), GUESSED_PARTS)
            }
        };
        let start = start.max(oldest).max(latest - LONGEST);
        let stretch = Stretch::new(start, latest, self.end, parts);
        self.length += match measured {
            Some(_) if is_far => TimeDelta::zero(),
            Some((counted, half)) if is_apart => (half - counted) * 2,
            _ => latest - stretch.start(),
        };
        self.end = Some(stretch.start());
        // What is older than 1970 is in the first hour.
        self.finished = stretch.start == 0 || stretch.start() <= oldest;
        stretch
    }
}

impl Stretch {
    fn new(start: DateTime<Utc>, latest: DateTime<Utc>, before: Option<DateTime<Utc>>, parts: i64) -> Self {
        let (first, last) = (hour_of(start), hour_of(latest));
        let precision = level_below((last - first) / parts);
        let (start, end) = (first / precision * precision, (last / precision + 1) * precision);
        Self { start, end, has_cells: true, before }
    }

    fn start(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.start * 3_600, 0).unwrap_or_default()
    }

    /// The words of the index of which each of its calls has one, for a `tsquery`; `None` = all that is older than its end.
    pub(super) fn moments(&self) -> Option<String> {
        if !self.has_cells {
            return None;
        }
        let mut words = String::new();
        let mut at = self.start;
        while at < self.end {
            let fits = |level: &u32| at % hours(*level) == 0 && at + hours(*level) <= self.end;
            let level = (0..LEVELS).rev().find(fits).unwrap_or(0);
            let or = if words.is_empty() { "" } else { " | " };
            let _ = write!(words, "{or}@{level}/{}", at / hours(level));
            at += hours(level);
        }
        Some(words)
    }
}

const fn hours(level: u32) -> i64 {
    8_i64.pow(level)
}

/// Hours since 1970; all that was before is in the first one, as in the index.
fn hour_of(moment: DateTime<Utc>) -> i64 {
    moment.timestamp().max(0) / 3_600
}

/// The longest cell, in hours, that is not longer.
fn level_below(length: i64) -> i64 {
    (0..LEVELS).rev().map(hours).find(|hours| *hours <= length).unwrap_or(1)
}

fn times(length: TimeDelta, factor: f64) -> TimeDelta {
    TimeDelta::seconds((length.num_seconds() as f64 * factor).min(LONGEST.num_seconds() as f64) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn stretches_are_named_as_the_index_names_them() {
        // SELECT moments_of('2026-01-05T10:00:00Z') is {@0/491002, @1/61375, @2/7671, @3/958, @4/119, @5/14}.
        let moments = |start, latest| Stretch::new(time(start), time(latest), None, i64::MAX).moments().unwrap();
        assert_eq!(moments("2026-01-05T10:59:00Z", "2026-01-05T10:59:30Z"), "@0/491002");
        assert_eq!(moments("2026-01-05T07:59:00Z", "2026-01-05T16:10:00Z"), "@0/490999 | @1/61375 | @0/491008");
        assert_eq!(moments("1965-01-05T10:00:00Z", "1970-01-01T01:10:00Z"), "@0/0 | @0/1");
        let long = moments("1987-01-05T10:00:00Z", "2026-01-05T10:00:00Z");
        assert!(long.contains("@5/14") || long.contains("@5/13"), "{long}");
        assert!(long.split(" | ").count() < 70, "{long}");
    }

    #[test]
    fn a_guess_has_few_cells() {
        let stretch = Stretch::new(time("2019-01-05T10:00:00Z"), time("2026-01-05T10:30:00Z"), None, GUESSED_PARTS);
        assert!(stretch.start() <= time("2019-01-05T10:00:00Z") && stretch.start() > time("2018-06-01T00:00:00Z"));
        assert!(stretch.moments().unwrap().split(" | ").count() < 12, "{stretch:?}");
    }

    /// How many calls each stretch has, for calls at these times, the latest first, of which one of so many fits and was
    /// thought to, until enough were found.
    fn shares(times: &[DateTime<Utc>], one_of: f64, thought: f64) -> Vec<usize> {
        let all = times.len() as f64;
        let mut way = Way::new(Need { wanted: 1_001.0, calls: 1_001.0 * thought, all });
        let (mut shares, mut seen) = (Vec::new(), 0);
        while seen < times.len() && !way.finished && (seen as f64) < one_of * 1_001.0 {
            let count = way.to_count();
            let counted = (count > 0.0).then(|| times.get(seen + count as usize).copied()).flatten();
            let half = times.get(seen + count as usize / 2).copied();
            let ahead = Ahead { latest: times[seen], counted, half, oldest: times[times.len() - 1] };
            let start = way.stretch(ahead, count, (seen as f64 / one_of).floor()).start();
            let share = times[seen..].iter().take_while(|time| **time >= start).count();
            seen += share;
            shares.push(share);
        }
        shares
    }

    #[test]
    fn a_search_looks_at_what_it_needs() {
        let every_minute = |latest: &str| {
            let latest = time(latest);
            (0..400_000).map(move |minute| latest - TimeDelta::minutes(minute))
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
            for one_of in [1.0, 2.0, 10.0, 100.0] {
                let shares = shares(&times, one_of, one_of);
                let seen: usize = shares.iter().sum();
                assert!((seen as f64) < 2.0 * 1_001.0 * one_of && shares.len() < 10, "{one_of}: {shares:?}");
            }
            // Four times as many as were thought to, and as few.
            let shares = shares(&times, 10.0, 40.0);
            assert!(shares.len() < 6, "{shares:?}");
        }
    }

    #[test]
    fn where_next_to_nothing_is_found_the_rest_is_one_stretch() {
        let latest = time("2026-02-01T00:00:00Z");
        let times: Vec<_> = (0..400_000).map(|minute| latest - TimeDelta::minutes(minute)).collect();
        for one_of in [1_000.0, f64::INFINITY] {
            let shares = shares(&times, one_of, 10.0);
            assert_eq!((shares.iter().sum::<usize>(), shares.len()), (times.len(), 2), "{shares:?}");
        }
    }
}
