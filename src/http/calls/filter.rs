//! What the parameters of a list of calls mean.

use super::super::problem::Problem;
use super::super::schema::Timestamp;
use super::search::{self, Question};
use super::words::Sort;
use crate::model::{CallState, Direction, Sentiment};
use crate::store::call_list::{self, CallFilter, CallOrder};

/// Digits that a number may have at most: fifteen (ITU-T E.164), and what an exchange puts before them.
const LONGEST_NUMBER: usize = 20;

/// The parameters as they came.
#[derive(Debug, Default)]
pub struct Wanted {
    pub state: Option<CallState>,
    pub direction: Option<Direction>,
    pub external_id: Option<String>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    pub caller: Option<String>,
    pub called: Option<String>,
    pub sentiment: Option<Sentiment>,
    pub urgency_at_least: Option<i16>,
    pub topic: Option<String>,
    pub has_open_actions: Option<bool>,
    pub missed: Option<bool>,
    pub q: Option<String>,
    pub sort: Option<Sort>,
}

/// Which calls, and in which order.
#[derive(Debug)]
pub struct Selection {
    /// The filter, with its order where the order is not that of relevance.
    pub filter: CallFilter,
    /// What they speak of.
    pub question: Option<Question>,
    /// The best first, and not the newest.
    pub by_relevance: bool,
}

impl Wanted {
    /// Refuses what cannot be meant.
    pub fn read(self) -> Result<Selection, Problem> {
        if let (Some(from), Some(to)) = (&self.from, &self.to)
            && from.0 > to.0
        {
            return Err(Problem::bad_parameter("to", "a time that is not before `from`"));
        }
        let question = self.q.as_deref().map(search::read).transpose()?;
        let sort = self.sort.unwrap_or(if question.is_some() { Sort::Relevance } else { Sort::Newest });
        let order = order(sort, question.is_some())?;
        let filter = CallFilter {
            state: self.state.map(|state| state.as_str().to_owned()),
            direction: self.direction.map(|direction| direction.as_str().to_owned()),
            external_id: self.external_id,
            from: self.from.map(|time| time.0),
            to: self.to.map(|time| time.0),
            caller: self.caller.map(|number| digits("caller", &number)).transpose()?,
            called: self.called.map(|number| digits("called", &number)).transpose()?,
            sentiment: self.sentiment.map(|sentiment| sentiment.as_str().to_owned()),
            urgency_at_least: self.urgency_at_least,
            topic: self.topic.map(|topic| topic.trim().to_lowercase()),
            has_open_actions: self.has_open_actions,
            missed: self.missed,
            order,
            after: None,
            limit: 0,
        };
        Ok(Selection { filter, question, by_relevance: sort == Sort::Relevance })
    }
}

/// Of a search there are two orders: all its matches by time, or the newest of them by how well they fit.
fn order(sort: Sort, searches: bool) -> Result<CallOrder, Problem> {
    match sort {
        Sort::Relevance if !searches => Err(Problem::bad_parameter("sort", "another order, or `q` with it")),
        Sort::Relevance | Sort::Newest => Ok(CallOrder::Newest),
        _ if searches => Err(Problem::bad_parameter("sort", "`relevance` or `newest` where there is `q`")),
        Sort::Oldest => Ok(CallOrder::Oldest),
        Sort::Longest => Ok(CallOrder::Longest),
        Sort::MostUrgent => Ok(CallOrder::MostUrgent),
    }
}

/// The first digits of a number in any notation.
fn digits(name: &str, number: &str) -> Result<String, Problem> {
    let plain = number.chars().all(|c| c.is_ascii_digit() || " +()./-".contains(c));
    let digits = call_list::digits_of(number);
    if !plain || digits.is_empty() || digits.len() > LONGEST_NUMBER {
        return Err(Problem::bad_parameter(
            name,
            "a telephone number with its country, such as +15550100002, or its beginning",
        ));
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("+1 (555) 010-0002", Some("15550100002"))]
    #[case("001555", Some("1555"))]
    #[case("+49 (0)30 90", Some("493090"))]
    #[case("0049 (0)30 90", Some("493090"))]
    #[case("00", Some("00"))]
    #[case(" 1555", Some("1555"))]
    #[case("+", None)]
    #[case("", None)]
    #[case("anonymous", None)]
    #[case("1555%", None)]
    #[case("123456789012345678901", None)]
    fn numbers_in_any_notation(#[case] number: &str, #[case] expected: Option<&str>) {
        assert_eq!(digits("caller", number).ok().as_deref(), expected);
    }

    #[rstest]
    #[case(Some("refund"), None, Some(true))]
    #[case(Some("refund"), Some(Sort::Newest), Some(false))]
    #[case(Some("refund"), Some(Sort::Longest), None)]
    #[case(None, Some(Sort::Longest), Some(false))]
    #[case(None, Some(Sort::Relevance), None)]
    fn a_search_has_two_orders(
        #[case] q: Option<&str>,
        #[case] sort: Option<Sort>,
        #[case] by_relevance: Option<bool>,
    ) {
        let wanted = Wanted { q: q.map(ToOwned::to_owned), sort, ..Wanted::default() };
        assert_eq!(wanted.read().ok().map(|selection| selection.by_relevance), by_relevance);
    }
}
