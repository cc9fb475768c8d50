//! What leads a search to its calls: the words, if they are rare; the calls that pass the filter, if those are few; or time,
//! if there is enough of both. PostgreSQL's own statistics say which costs the least.

use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::call_list;
use super::search::Search;

/// What is asked first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Lead {
    /// The index of words, over all time.
    Words,
    /// The calls that pass the filter, the newest first.
    Calls,
    /// The index of words, from stretch to stretch of time.
    Time(Need),
}

/// What is looked for on the way through time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Need {
    /// So many matches are wanted.
    pub(super) wanted: f64,
    /// So many calls probably have to be looked at for them.
    pub(super) calls: f64,
    /// So many calls with texts there are.
    pub(super) all: f64,
}

/// How many of the calls fit, as far as PostgreSQL's statistics know.
#[derive(Debug, Clone, Copy)]
struct Odds {
    /// Calls with texts.
    all: f64,
    /// Those of them of the time that is asked for.
    of_time: f64,
    /// Those of any time for which what the index knows of the filter is true.
    known: f64,
    /// Those of these that have the words.
    fitting: f64,
    /// Those of any words that pass the whole filter.
    passing: f64,
}

/// What one call costs, in microseconds, about, at a million calls that are not in PostgreSQL's own memory: found by its words
/// (measured: 6 to 9); then asked whether it passes the filter; found by the filter and asked for its words. The last two are
/// guesses from the pages that they read.
const FOUND: f64 = 8.0;
const THEN_FILTERED: f64 = 6.0;
const ASKED: f64 = 20.0;
/// One that is found among the newest is nearer.
const FOUND_AMONG_NEWEST: f64 = 3.0;
/// So many calls are the newest.
const NEWEST: f64 = 50_000.0;
/// A stretch of time, whatever is in it. A way through more than the newest calls has two.
const STRETCH: f64 = 2_000.0;

impl Lead {
    /// What is best for this question, for so many matches.
    pub(super) async fn of(db: &mut PgConnection, search: &Search<'_>, wanted: f64) -> Result<Self, sqlx::Error> {
        let fitting = guess(db, texts_with(search.tsquery())).await?;
        // Nothing can be better, and it is the usual case of rare words.
        if fitting <= wanted && search.words.is_indexed {
            return Ok(Self::Words);
        }
        let all =
            sqlx::query_scalar!(r#"SELECT reltuples AS "calls!" FROM pg_class WHERE oid = 'call_texts'::regclass"#)
                .fetch_one(&mut *db)
                .await?;
        let all = f64::from(all).max(fitting);
        let mut odds = Odds { all, of_time: all, known: all, fitting, passing: all };
        if search.has_time() {
            let mut texts = explain("call_texts WHERE true");
            search.time(&mut texts, "");
            odds.of_time = guess(db, texts).await?;
            odds.passing = odds.of_time;
        }
        if search.narrows() {
            let facts = search.facts().tsquery();
            if !facts.is_empty() {
                odds.known = guess(db, texts_with(facts)).await?.max(fitting);
            }
            // What the index knows as a whole is asked of no call.
            odds.passing = odds.known * odds.of_time / all;
            if search.facts().is_part {
                let mut passing = explain("calls c WHERE true");
                call_list::conditions(&mut passing, search.filter, search.bounds);
                odds.passing = guess(db, passing).await?;
            }
        }
        // Of what only must not be there the index knows nothing without a time.
        Ok(if search.words.is_indexed { odds.best(wanted) } else { Lead::Time(odds.need(wanted)) })
    }
}

impl Odds {
    fn best(self, wanted: f64) -> Lead {
        let Self { all, of_time, known, fitting, passing } = self;
        let time = (of_time / all).min(1.0);
        let kept = self.kept();
        let filtered = if kept < 0.9 { THEN_FILTERED } else { 0.0 };
        let by_words = fitting * (FOUND + filtered);
        let need = self.need(wanted);
        let (found, stretches) = if need.calls <= NEWEST { (FOUND_AMONG_NEWEST, 1.0) } else { (FOUND, 2.0) };
        let by_time = (fitting * time).min(wanted / kept) * (found + filtered) + stretches * STRETCH;
        let by_calls = passing.min(wanted * known / fitting) * ASKED;
        if passing < all && by_calls <= by_words.min(by_time) {
            Lead::Calls
        } else if by_words <= by_time {
            Lead::Words
        } else {
            Lead::Time(need)
        }
    }

    /// The part of those with the words and of this time that pass the whole filter.
    fn kept(self) -> f64 {
        let known = self.known * (self.of_time / self.all).min(1.0);
        (self.passing / known.max(1.0)).clamp(0.001, 1.0)
    }

    fn need(self, wanted: f64) -> Need {
        let calls = (wanted * self.all / self.fitting.max(1.0) / self.kept()).min(self.of_time);
        Need { wanted, calls, all: self.all }
    }
}

fn texts_with(words: String) -> QueryBuilder<Postgres> {
    let mut query = explain("call_texts WHERE words @@ ");
    query.push_bind(words).push("::text::tsquery");
    query
}

fn explain(what: &str) -> QueryBuilder<Postgres> {
    QueryBuilder::new(format!("EXPLAIN (FORMAT JSON) SELECT FROM {what}"))
}

/// How many rows the planner expects.
async fn guess(db: &mut PgConnection, mut explanation: QueryBuilder<Postgres>) -> Result<f64, sqlx::Error> {
    let Json(plan): Json<serde_json::Value> = explanation.build_query_scalar().persistent(false).fetch_one(db).await?;
    // Without a guess the way through time is the one that is never far off.
    Ok(plan.pointer("/0/Plan/Plan Rows").and_then(serde_json::Value::as_f64).unwrap_or(f64::INFINITY))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: f64 = 1_000_000.0;

    fn best(odds: Odds) -> Lead {
        odds.best(1_001.0)
    }

    fn time(calls: f64) -> Lead {
        Lead::Time(Need { wanted: 1_001.0, calls, all: ALL })
    }

    #[test]
    fn what_costs_the_least_leads() {
        let any = Odds { all: ALL, of_time: ALL, known: ALL, fitting: 100_000.0, passing: ALL };
        assert_eq!(best(Odds { fitting: 600.0, ..any }), Lead::Words);
        assert_eq!(best(Odds { fitting: 5_000.0, ..any }), time(200_200.0));
        assert_eq!(best(any), time(10_010.0));
        // The index knows the filter.
        let negative = Odds { known: 250_000.0, passing: 250_000.0, fitting: 25_000.0, ..any };
        assert_eq!(best(negative), time(40_040.0));
        assert_eq!(best(Odds { fitting: 1_100.0, ..negative }), Lead::Words);
        assert_eq!(best(Odds { known: 300.0, passing: 300.0, fitting: 150.0, ..any }), Lead::Words);
        // It does not.
        assert_eq!(best(Odds { passing: 1_000.0, ..any }), Lead::Calls);
        assert_eq!(best(Odds { passing: 1_000.0, fitting: 500.0, ..any }), Lead::Words);
        assert_eq!(best(Odds { passing: 500_000.0, ..any }), time(20_020.0));
        // Of a time.
        let early = Odds { of_time: 20_000.0, passing: 20_000.0, ..any };
        assert_eq!(best(early), time(10_010.0));
        assert_eq!(best(Odds { of_time: 10.0, passing: 10.0, ..any }), Lead::Calls);
    }
}
