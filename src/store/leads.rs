//! What leads a search to its calls: the words, if they are rare; the calls that pass the filter, if those are fewer; or
//! time, if there is enough of both. PostgreSQL's own statistics say which, so that no search has to look at more calls than
//! the rarer of the two has.

use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::call_list::{self, CallFilter};
use super::search::Edge;
use crate::model::CallBounds;

/// So many calls are looked at in one go.
const FEW: f64 = 5_000.0;

/// What is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    /// The index of words, over all time.
    Words,
    /// The calls that pass the filter, the newest first.
    Calls,
    /// The index of words, from stretch to stretch of time.
    Time,
}

impl Lead {
    /// What is best for this question.
    pub(super) async fn of(
        db: &mut PgConnection,
        query: &str,
        filter: &CallFilter,
        bounds: &CallBounds,
    ) -> Result<Self, sqlx::Error> {
        let mut with_words = explain("call_texts t WHERE t.words @@ ");
        with_words.push_bind(query.to_owned()).push("::text::tsquery");
        let with_words = guess(db, with_words).await?;
        if with_words <= FEW || !narrows(filter, bounds) {
            return Ok(Self::choose(with_words, None));
        }
        let mut passing = explain("calls c WHERE true");
        call_list::conditions(&mut passing, filter, bounds);
        Ok(Self::choose(with_words, Some(guess(db, passing).await?)))
    }

    /// By how many calls have the words, and how many pass the filter; `None` = all do.
    fn choose(with_words: f64, passing: Option<f64>) -> Self {
        match passing {
            _ if with_words <= FEW => Self::Words,
            Some(passing) if passing <= with_words => Self::Calls,
            _ => Self::Time,
        }
    }
}

/// Whether any call is left out, whatever its words.
pub(super) fn narrows(filter: &CallFilter, bounds: &CallBounds) -> bool {
    filter.narrows() || !bounds.is_unbounded()
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

/// The newest calls that pass the filter, each asked for the words.
pub(super) fn statement(
    words: &str,
    filter: &CallFilter,
    bounds: &CallBounds,
    from: Option<Edge>,
    limit: i64,
) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(
        "SELECT t.call_id, c.occurred_at, 0::real AS rank FROM (SELECT c.id, c.occurred_at FROM calls c WHERE true",
    );
    call_list::conditions(&mut query, filter, bounds);
    if let Some(edge) = from {
        edge.condition(&mut query, "(c.occurred_at, c.id)");
    }
    // OFFSET 0 keeps the planner from beginning with the words.
    query.push(" ORDER BY c.occurred_at DESC, c.id DESC OFFSET 0) c CROSS JOIN LATERAL (");
    query.push("SELECT t.call_id FROM call_texts t WHERE t.call_id = c.id AND t.words @@ ");
    query.push_bind(words.to_owned()).push("::text::tsquery OFFSET 0) t");
    query.push(" ORDER BY c.occurred_at DESC, c.id DESC LIMIT ").push_bind(limit);
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rarer_leads_and_time_where_neither_is_rare() {
        assert_eq!(Lead::choose(1_666.0, None), Lead::Words);
        assert_eq!(Lead::choose(1_666.0, Some(100.0)), Lead::Words);
        assert_eq!(Lead::choose(800_000.0, Some(100_000.0)), Lead::Calls);
        assert_eq!(Lead::choose(100_000.0, Some(250_000.0)), Lead::Time);
        assert_eq!(Lead::choose(800_000.0, None), Lead::Time);
    }
}
