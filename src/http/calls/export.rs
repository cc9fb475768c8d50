//! `/api/calls.csv`: the list as a file for spreadsheets.

use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Query;
use sqlx::PgPool;

use super::super::auth::Key;
use super::super::csv::{self, Csv};
use super::super::export::{Exports, Page, Pages};
use super::super::openapi::Group;
use super::super::problem::Problem;
use super::super::query;
use super::super::schema::Timestamp;
use super::super::server::Line;
use super::FILTERS;
use super::filter::{Selection, Wanted};
use super::list::{self, ListedPage};
use super::words::Sort;
use crate::model::{CallBounds, CallState, Direction, Scope, Sentiment};

/// Calls that are read at a time.
const PAGE: usize = 1_000;

/// The export of calls.
pub struct CallsExport {
    /// Those that are under way.
    pub exports: Exports,
}

#[OpenApi(tag = "Group::Calls")]
impl CallsExport {
    /// Export calls
    ///
    /// The list as a file, with the same filters and orders and without pages. Safe in a spreadsheet: a `'` stands in front of
    /// what would be a formula. With `q` the newest calls that speak of it come first. A key may have two exports at the same
    /// time. Needs the scope `calls:read`.
    #[oai(path = "/api/calls.csv", method = "get", operation_id = "exportCalls")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the operation")]
    async fn export(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        /// Only calls in this state.
        state: Query<Option<CallState>>,
        /// Only calls in this direction.
        direction: Query<Option<Direction>>,
        /// Only the call with this id of its sender.
        external_id: Query<Option<String>>,
        /// Only calls that started at this time or later; a day counts from its midnight in UTC.
        from: Query<Option<Timestamp>>,
        /// Only calls that started before this time.
        to: Query<Option<Timestamp>>,
        /// Only calls whose caller's number begins so, in any notation, with its country: `+1 555`.
        caller: Query<Option<String>>,
        /// Only calls whose called number begins so.
        called: Query<Option<String>>,
        /// Only calls in which the customer was in this mood.
        sentiment: Query<Option<Sentiment>>,
        /// Only calls of this urgency or a higher one, 1 to 5.
        #[oai(validator(minimum(value = "1"), maximum(value = "5")))]
        urgency_at_least: Query<Option<i16>>,
        /// Only calls with this topic.
        topic: Query<Option<String>>,
        /// Only calls with something still to be done, or only those with nothing.
        has_open_actions: Query<Option<bool>>,
        /// Only inbound calls that nobody answered (of duration 0), or only the others.
        missed: Query<Option<bool>>,
        /// Only calls that speak of this, as in the list.
        q: Query<Option<String>>,
        /// The order: `newest`, `oldest`, `longest` or `most_urgent`; with `q` it is `newest`.
        sort: Query<Option<Sort>>,
        /// Begin with a byte order mark, by which Excel knows UTF-8.
        #[oai(default)]
        bom: Query<bool>,
    ) -> Result<Csv, Problem> {
        key.require(Scope::CallsRead)?;
        query::only(request, &[&FILTERS[..], &["bom"][..]].concat())?;
        let wanted = Wanted {
            state: state.0,
            direction: direction.0,
            external_id: external_id.0,
            from: from.0,
            to: to.0,
            caller: caller.0,
            called: called.0,
            sentiment: sentiment.0,
            urgency_at_least: urgency_at_least.0,
            topic: topic.0,
            has_open_actions: has_open_actions.0,
            missed: missed.0,
            sort: sort.0.or(q.0.is_some().then_some(Sort::Newest)),
            q: q.0,
        };
        let pages = Calls::new(&db, wanted.read()?, &key).await?;
        let filters = query::given(request, &FILTERS);
        let object = if filters.is_empty() { "all calls".to_owned() } else { format!("calls by {filters}") };
        let export = self.exports.begin(&db, &key, request, "calls.export", &object).await?;
        Ok(Csv::new("calls.csv", bom.0, Line::of(request).carry(export.lines(head(), pages))))
    }
}

/// The calls that were chosen.
struct Calls {
    db: PgPool,
    selection: list::Reading,
    bounds: CallBounds,
}

impl Calls {
    async fn new(db: &PgPool, selection: Selection, key: &Key) -> Result<Self, Problem> {
        if selection.by_relevance {
            return Err(Problem::bad_parameter("sort", "`newest` where a file is to have what `q` finds"));
        }
        let spoken = key.require(Scope::TranscriptsRead).is_ok();
        let selection = list::Reading::new(db, selection, spoken).await?;
        Ok(Self { db: db.clone(), selection, bounds: key.bounds().clone() })
    }
}

impl Pages for Calls {
    async fn next(&mut self) -> Result<Page, Problem> {
        let ListedPage { items, is_last } = list::next_page(&self.db, &mut self.selection, &self.bounds, PAGE).await?;
        let text = items.iter().map(|item| csv::line(item.cells().iter().map(String::as_str))).collect();
        Ok(Page { text, count: items.len() as i64, is_last })
    }
}

fn head() -> String {
    csv::line([
        "id",
        "external_id",
        "state",
        "state_reason",
        "direction",
        "caller_name",
        "caller_number",
        "called_name",
        "called_number",
        "started_at",
        "ended_at",
        "duration_seconds",
        "recording",
        "sentiment",
        "urgency",
        "topics",
        "summary",
        "cost_micro_units",
        "currency",
    ])
}
