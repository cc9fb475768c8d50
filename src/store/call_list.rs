//! The list of calls: filters, orders and pages over `calls`, as fast at a million calls as at a thousand.
//!
//! A page is chosen in an index that has all that is asked for (`calls_list` in `migrations/0012_search.sql`, or that of
//! something rare), and only its calls are read. Statements are put together from fixed parts, so that what is not asked
//! for is not in them, and are planned with their values (`persistent(false)`): a plan for any value would walk through
//! all calls for a rare one.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgExecutor, Postgres, QueryBuilder};
use uuid::Uuid;

use super::calls::{COLUMNS, CallRow};
use crate::model::CallBounds;
use crate::text_enum;

text_enum!(
    /// In which order calls are listed.
    #[derive(Default)]
    CallOrder {
        /// The latest first.
        #[default]
        Newest = "newest",
        /// The earliest first.
        Oldest = "oldest",
        /// The longest first; those of unknown length last.
        Longest = "longest",
        /// The most urgent first; those not analyzed last.
        MostUrgent = "most_urgent",
    }
);

/// Which calls, in which order, from where on; `None` = all.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    /// A [`crate::model::CallState`].
    pub state: Option<String>,
    /// A [`crate::model::Direction`].
    pub direction: Option<String>,
    /// The sender's id.
    pub external_id: Option<String>,
    /// Started at or after.
    pub from: Option<DateTime<Utc>>,
    /// Started before.
    pub to: Option<DateTime<Utc>>,
    /// The caller's number begins with these digits.
    pub caller: Option<String>,
    /// The called number begins with these digits.
    pub called: Option<String>,
    /// A [`crate::model::Sentiment`].
    pub sentiment: Option<String>,
    /// Of this urgency or a higher one.
    pub urgency_at_least: Option<i16>,
    /// With this topic.
    pub topic: Option<String>,
    /// Whether something is still to be done.
    pub has_open_actions: Option<bool>,
    /// Whether nobody answered an inbound call.
    pub missed: Option<bool>,
    /// The order.
    pub order: CallOrder,
    /// After this place in it.
    pub after: Option<Place>,
    /// At most so many.
    pub limit: i64,
}

/// The place of a call in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// What the order goes by before the time; 0 where it goes by time alone.
    pub key: i32,
    /// [`CallRow::occurred_at`].
    pub at: DateTime<Utc>,
    /// What decides between equals.
    pub id: Uuid,
}

/// A call in a list.
#[derive(Debug, Clone, FromRow)]
pub struct ListedCall {
    /// The call.
    #[sqlx(flatten)]
    pub call: CallRow,
    /// What was made of it.
    #[sqlx(flatten)]
    pub brief: Brief,
    /// What its order goes by before the time.
    pub key: i32,
}

/// What a list shows of a call's latest analysis; nothing before there is one.
#[derive(Debug, Clone, Default, FromRow)]
pub struct Brief {
    /// The statements as one text.
    pub summary: Option<String>,
    /// A [`crate::model::Sentiment`].
    pub sentiment: Option<String>,
    /// 1 to 5.
    pub urgency: Option<i16>,
    /// Keywords.
    pub topics: Option<Vec<String>>,
}

impl ListedCall {
    /// Where it stands in the order that was asked for.
    pub fn place(&self) -> Place {
        Place { key: self.key, at: self.call.occurred_at, id: self.call.id }
    }
}

impl CallFilter {
    /// Whether it leaves any call out.
    pub fn narrows(&self) -> bool {
        let texts = [&self.state, &self.direction, &self.external_id, &self.caller, &self.called, &self.sentiment];
        texts.iter().any(|text| text.is_some())
            || self.topic.is_some()
            || self.from.is_some()
            || self.to.is_some()
            || self.urgency_at_least.is_some()
            || self.has_open_actions.is_some()
            || self.missed.is_some()
    }

    /// Whether its page is found in `call_topics`: in the order of time, and not where something rare is asked for.
    fn reads_topics(&self) -> bool {
        let is_rare = self.external_id.is_some() || self.state.as_ref().is_some_and(|state| state != "completed");
        matches!(self.order, CallOrder::Newest | CallOrder::Oldest) && self.topic.is_some() && !is_rare
    }
}

/// The columns of a [`Brief`], of calls as `c`. All but the summary are kept in `calls`.
const BRIEF: &str = "c.sentiment, c.urgency, c.topics,
    (SELECT s.summary FROM call_summaries s WHERE s.call_id = c.id AND s.summary IS NOT NULL ORDER BY s.run DESC LIMIT 1)";

impl CallOrder {
    /// What it goes by before the time, and the whole order. Both as the indexes have them.
    const fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Newest => ("0", " ORDER BY c.occurred_at DESC, c.id DESC"),
            Self::Oldest => ("0", " ORDER BY c.occurred_at, c.id"),
            Self::Longest => (
                "coalesce(c.duration_seconds, -1)",
                " ORDER BY coalesce(c.duration_seconds, -1) DESC, c.occurred_at DESC, c.id DESC",
            ),
            Self::MostUrgent => (
                "coalesce(c.urgency, 0)::integer",
                " ORDER BY coalesce(c.urgency, 0)::integer DESC, c.occurred_at DESC, c.id DESC",
            ),
        }
    }
}

/// A page of those calls that are within the bounds.
pub async fn list(
    db: impl PgExecutor<'_>,
    filter: &CallFilter,
    bounds: &CallBounds,
) -> Result<Vec<ListedCall>, sqlx::Error> {
    let mut query = statement(filter, bounds);
    query.build_query_as().persistent(false).fetch_all(db).await
}

/// These calls, those of them that are there and within the bounds, in any order.
pub async fn these(db: impl PgExecutor<'_>, ids: &[Uuid], bounds: &CallBounds) -> Result<Vec<ListedCall>, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT ");
    query
        .push(COLUMNS)
        .push(", ")
        .push(BRIEF)
        .push(", 0 AS key FROM calls c WHERE c.id = ANY (")
        .push_bind(ids)
        .push(")");
    within(&mut query, bounds);
    query.build_query_as().fetch_all(db).await
}

/// The statement of a page.
pub(super) fn statement(filter: &CallFilter, bounds: &CallBounds) -> QueryBuilder<Postgres> {
    let (key, order) = filter.order.parts();
    let mut query = QueryBuilder::new("WITH page AS (SELECT ");
    let topic = filter.topic.as_ref().filter(|_| filter.reads_topics());
    if let Some(topic) = topic {
        query.push("t.call_id AS id FROM call_topics t");
        if filter.state.is_some() || filter.missed.is_some() || !bounds.is_unbounded() {
            query.push(" JOIN calls c ON c.id = t.call_id");
        }
        query.push(" WHERE t.topic = ").push_bind(topic.clone());
        facts(&mut query, filter, "t");
    } else {
        query.push("c.id FROM calls c WHERE true");
        facts(&mut query, filter, "c");
        topic_of_call(&mut query, filter);
    }
    states(&mut query, filter);
    within(&mut query, bounds);
    let (at, id) = if topic.is_some() { ("t.occurred_at", "t.call_id") } else { ("c.occurred_at", "c.id") };
    if let Some(place) = filter.after {
        match filter.order {
            CallOrder::Newest => query.push(format_args!(" AND ({at}, {id}) < (")),
            CallOrder::Oldest => query.push(format_args!(" AND ({at}, {id}) > (")),
            CallOrder::Longest | CallOrder::MostUrgent => {
                query.push(" AND (").push(key).push(", c.occurred_at, c.id) < (").push_bind(place.key).push(", ")
            }
        };
        query.push_bind(place.at).push(", ").push_bind(place.id).push(")");
    }
    if topic.is_some() {
        query.push(order.replace("c.occurred_at", at).replace("c.id", id));
    } else {
        query.push(order);
    }
    query.push(" LIMIT ").push_bind(filter.limit);
    query.push(") SELECT ").push(COLUMNS).push(", ").push(BRIEF).push(", ").push(key);
    query.push(" AS key FROM page JOIN calls c ON c.id = page.id").push(order);
    query
}

/// What calls, as `c`, have to fulfil, each beginning with AND.
pub(super) fn conditions(query: &mut QueryBuilder<Postgres>, filter: &CallFilter, bounds: &CallBounds) {
    facts(query, filter, "c");
    topic_of_call(query, filter);
    states(query, filter);
    within(query, bounds);
}

/// What stands in `calls` and in `call_topics`, of the table with this name.
fn facts(query: &mut QueryBuilder<Postgres>, filter: &CallFilter, of: &str) {
    for (column, value) in [("direction", &filter.direction), ("sentiment", &filter.sentiment)] {
        if let Some(value) = value {
            query.push(format_args!(" AND {of}.{column} = ")).push_bind(value.clone());
        }
    }
    for (column, digits) in [("caller_digits", &filter.caller), ("called_digits", &filter.called)] {
        if let Some(digits) = digits.as_deref().map(digits_of) {
            // Of so many digits it says the same, and is what `calls_caller_place` has. It follows from more digits, and is
            // said then, too: PostgreSQL takes a number next to a bound of its histogram for that of a hundredth of all
            // calls, and would walk through all of them to the few that it has.
            let leads = of == "c" && column == "caller_digits" && digits.len() >= PLACE_DIGITS;
            if leads {
                query.push(format_args!(" AND left({of}.{column}, 8) = ")).push_bind(digits[..PLACE_DIGITS].to_owned());
            }
            if !leads || digits.len() > PLACE_DIGITS {
                query.push(format_args!(" AND {of}.{column} LIKE ")).push_bind(prefix(&digits));
            }
        }
    }
    // The second condition follows from the first, and is the one that the order's index knows.
    if let Some(from) = filter.from {
        query.push(format_args!(" AND {of}.started_at >= ")).push_bind(from);
        query.push(format_args!(" AND {of}.occurred_at >= ")).push_bind(from);
    }
    if let Some(to) = filter.to {
        query.push(format_args!(" AND {of}.started_at < ")).push_bind(to);
        query.push(format_args!(" AND {of}.occurred_at < ")).push_bind(to);
    }
    if let Some(urgency) = filter.urgency_at_least {
        query.push(format_args!(" AND {of}.urgency >= ")).push_bind(urgency);
    }
    if let Some(open) = filter.has_open_actions {
        query.push(format_args!(" AND {of}.open_actions {} 0", if open { ">" } else { "=" }));
    }
}

/// What stands in `calls` alone.
fn states(query: &mut QueryBuilder<Postgres>, filter: &CallFilter) {
    for (column, value) in [(" AND c.state = ", &filter.state), (" AND c.external_id = ", &filter.external_id)] {
        if let Some(value) = value {
            query.push(column).push_bind(value.clone());
        }
    }
    if let Some(missed) = filter.missed {
        query.push(" AND (c.direction = 'inbound' AND c.duration_seconds = 0)");
        query.push(if missed { "" } else { " IS NOT TRUE" });
    }
}

fn topic_of_call(query: &mut QueryBuilder<Postgres>, filter: &CallFilter) {
    if let Some(topic) = &filter.topic {
        query.push(" AND c.topics @> ARRAY[").push_bind(topic.clone()).push("]");
    }
    // Topics and urgency come with a sentiment. Said for the index of those few that have them and did not end well.
    if filter.topic.is_some() || filter.urgency_at_least.is_some() {
        query.push(" AND c.sentiment IS NOT NULL");
    }
}

fn within(query: &mut QueryBuilder<Postgres>, bounds: &CallBounds) {
    if bounds.is_unbounded() {
        return;
    }
    query.push(" AND call_is_within(c.direction, c.caller_number, c.called_number, c.occurred_at, ");
    query.push_bind(bounds.direction().map(ToOwned::to_owned)).push(", ");
    query.push_bind(bounds.number_prefix().map(ToOwned::to_owned)).push(", ");
    query.push_bind(bounds.from).push(", ").push_bind(bounds.to).push(")");
    // It follows from that, and has an index.
    if let Some(digits) = digits_of_bound(bounds) {
        let pattern = prefix(&digits);
        query.push(" AND (c.caller_digits LIKE ").push_bind(pattern.clone());
        query.push(" OR c.called_digits LIKE ").push_bind(pattern).push(")");
    }
}

/// What the digits of a number within these bounds begin with; `None` = with anything: zeros may stand for a `+`.
pub(super) fn digits_of_bound(bounds: &CallBounds) -> Option<String> {
    bounds.number_prefix().map(digits_of).filter(|digits| digits.bytes().any(|digit| digit != b'0'))
}

/// So many digits of a caller's number lead an index.
const PLACE_DIGITS: usize = 8;

/// The digits of a number in any notation, as they are dialled after a `+`: many write `00` for it, and a `(0)` behind the
/// country that is left out then. `digits_of` in the database (`0016_numbers.sql`) is the same.
pub fn digits_of(number: &str) -> String {
    let digits = plain_digits(&number.replace("(0)", ""));
    let mut dialled = digits.as_str();
    while let Some(rest) = dialled.strip_prefix("00").filter(|rest| !rest.is_empty()) {
        dialled = rest;
    }
    dialled.to_owned()
}

/// Nothing but the digits of a text.
pub fn plain_digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// Digits are nothing that LIKE knows.
fn prefix(digits: &str) -> String {
    format!("{digits}%")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use sqlx::{Execute as _, SqlStr};

    use super::*;

    /// For a number next to a bound of a histogram, PostgreSQL's plan of the beginning alone took a second (of 35 in 16,600
    /// numbers, at a million calls). Which these are depends on a sample, so this is about what it is told.
    #[rstest]
    #[case("+1 555", &["LIKE"])]
    #[case("+1 555 0013", &["left"])]
    #[case("+1 555 0013 884", &["left", "LIKE"])]
    fn a_long_beginning_is_told_by_its_place_too(#[case] caller: &str, #[case] expected: &[&str]) {
        let filter = CallFilter { caller: Some(caller.to_owned()), ..CallFilter::default() };
        let sql: SqlStr = statement(&filter, &CallBounds::default()).build().sql();
        let conditions = [("left", "left(c.caller_digits, 8) = "), ("LIKE", "c.caller_digits LIKE ")];
        let told = conditions.iter().filter(|(_, condition)| sql.as_str().contains(condition)).map(|(name, _)| *name);
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }
}
