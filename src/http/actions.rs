//! `/api/actions/`: what was promised in calls, and what became of it.

mod view;

use chrono::{DateTime, Utc};
use poem::Request;
use poem::http::StatusCode;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use sqlx::{Connection as _, PgPool};
use uuid::Uuid;

use super::auth::Key;
use super::csv::Csv;
use super::cursor::Cursor;
use super::export::{Exports, Page, Pages};
use super::idempotency::{Interruption, Once, idempotency_key};
use super::json_body::JsonBody;
use super::openapi::Group;
use super::precondition::{if_match, if_match_given};
use super::problem::Problem;
use super::query;
use super::schema::{ActionState, Timestamp};
use super::server::Line;
use crate::model::{Scope, clock};
use crate::pipeline::actions::{Act, Change, Changed, DONE, OPEN, change};
use crate::store::Guarded;
use crate::store::actions::{self, ActionFilter};
use view::{Action, ActionEdit, ActionPage, Versioned};

/// Parameters that choose items.
const FILTERS: &[&str] = &["state", "owner", "due_before", "overdue", "call_id", "from", "to"];
/// Parameters of the list.
const LIST: &[&str] = &["state", "owner", "due_before", "overdue", "call_id", "from", "to", "limit", "cursor"];
/// Parameters of the export.
const EXPORT: &[&str] = &["state", "owner", "due_before", "overdue", "call_id", "from", "to", "bom"];
/// Items that the export reads at a time.
const EXPORT_PAGE: i64 = 1000;

/// The operations on action items.
pub struct ActionsApi {
    /// The exports that are under way.
    pub exports: Exports,
}

fn default_limit() -> i64 {
    50
}

#[OpenApi(tag = "Group::Actions")]
impl ActionsApi {
    /// List action items
    ///
    /// Newest first. Follow `next_cursor` with the same filters until it is null. Needs the scope `calls:read`.
    #[oai(path = "/api/actions/", method = "get", operation_id = "listActions")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the operation")]
    async fn list(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        /// Only items in this state.
        state: Query<Option<ActionState>>,
        /// Only items of this owner; upper and lower case are the same.
        owner: Query<Option<String>>,
        /// Only items that are due before this time.
        due_before: Query<Option<Timestamp>>,
        /// Only items that are open although their time has come; `false` = only the others.
        overdue: Query<Option<bool>>,
        /// Only items of this call.
        call_id: Query<Option<Uuid>>,
        /// Only items of calls that started at this time or later; a day counts from its midnight in UTC.
        from: Query<Option<Timestamp>>,
        /// Only items of calls that started before this time.
        to: Query<Option<Timestamp>>,
        /// Most items of a page.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<i64>,
        /// `next_cursor` of the page before, as it came.
        cursor: Query<Option<String>>,
    ) -> Result<Json<ActionPage>, Problem> {
        key.require(Scope::CallsRead)?;
        query::only(request, LIST)?;
        let chosen = Chosen { state, owner, due_before, overdue, call_id, from, to };
        page(&db, chosen.filter(&key)?, limit.0, cursor.0.as_deref()).await.map(Json)
    }

    /// Export action items
    ///
    /// All that the filters choose, as CSV, newest first. What a spreadsheet would take for a formula has a `'` in front of
    /// it. A key may have two exports at the same time. Needs the scope `calls:read`.
    #[oai(path = "/api/actions.csv", method = "get", operation_id = "exportActions")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the operation")]
    async fn export(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        /// Only items in this state.
        state: Query<Option<ActionState>>,
        /// Only items of this owner; upper and lower case are the same.
        owner: Query<Option<String>>,
        /// Only items that are due before this time.
        due_before: Query<Option<Timestamp>>,
        /// Only items that are open although their time has come; `false` = only the others.
        overdue: Query<Option<bool>>,
        /// Only items of this call.
        call_id: Query<Option<Uuid>>,
        /// Only items of calls that started at this time or later; a day counts from its midnight in UTC.
        from: Query<Option<Timestamp>>,
        /// Only items of calls that started before this time.
        to: Query<Option<Timestamp>>,
        /// Begin with a byte order mark, by which Excel knows UTF-8.
        #[oai(default)]
        bom: Query<bool>,
    ) -> Result<Csv, Problem> {
        key.require(Scope::CallsRead)?;
        query::only(request, EXPORT)?;
        let chosen = Chosen { state, owner, due_before, overdue, call_id, from, to };
        let filter = ActionFilter { limit: EXPORT_PAGE, ..chosen.filter(&key)? };
        let filters = query::given(request, FILTERS);
        let object =
            if filters.is_empty() { "all action items".to_owned() } else { format!("action items by {filters}") };
        let export = self.exports.begin(&db, &key, request, "actions.export", &object).await?;
        let lines = export.lines(view::csv_head(), Exported { db: db.clone(), filter });
        Ok(Csv::new("actions.csv", bom.0, Line::of(request).carry(lines)))
    }

    /// Get an action item
    ///
    /// With its `ETag`, which an edit needs. Needs the scope `calls:read`.
    #[oai(path = "/api/actions/:id", method = "get", operation_id = "getAction")]
    async fn get(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        /// Id of the item.
        id: Path<Uuid>,
    ) -> Result<Versioned, Problem> {
        key.require(Scope::CallsRead)?;
        query::only(request, &[])?;
        let mut connection = Guarded::acquire(&db).await?;
        let found = actions::find(&mut connection, id.0, key.bounds(), false).await?;
        connection.release();
        Versioned::new(found.ok_or_else(Problem::action_not_found)?, clock::now())
    }

    /// Edit an action item
    ///
    /// Changes the fields that are given. What a person has edited is never overwritten when the call is analyzed again.
    /// Needs the scope `actions:write`.
    #[oai(path = "/api/actions/:id", method = "patch", operation_id = "editAction")]
    async fn edit(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        /// Id of the item.
        id: Path<Uuid>,
        edit: JsonBody<ActionEdit>,
    ) -> Result<Versioned, Problem> {
        key.require(Scope::ActionsWrite)?;
        query::only(request, &[])?;
        let (version, wanted) = (if_match(request)?, edit.0.change()?);
        let actor = key.actor(request);
        let act = Act { actor: &actor, name: "actions.edit", id: id.0, bounds: key.bounds(), version: Some(version) };
        carry_out(&db, act, &wanted).await
    }

    /// Complete an action item
    ///
    /// The item is `done`. To do so again changes nothing. Needs the scope `actions:write`.
    #[oai(path = "/api/actions/:id/complete", method = "post", operation_id = "completeAction")]
    async fn complete(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        /// Id of the item.
        id: Path<Uuid>,
        /// Only if this is still its `ETag`.
        #[oai(name = "If-Match")]
        _if_match: Header<Option<String>>,
    ) -> Result<Versioned, Interruption> {
        set_state(&key, request, &db, id.0, ("actions.complete", DONE)).await
    }

    /// Reopen an action item
    ///
    /// The item is `open` again. To do so again changes nothing. Needs the scope `actions:write`.
    #[oai(path = "/api/actions/:id/reopen", method = "post", operation_id = "reopenAction")]
    async fn reopen(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        /// Id of the item.
        id: Path<Uuid>,
        /// Only if this is still its `ETag`.
        #[oai(name = "If-Match")]
        _if_match: Header<Option<String>>,
    ) -> Result<Versioned, Interruption> {
        set_state(&key, request, &db, id.0, ("actions.reopen", OPEN)).await
    }
}

/// The parameters that choose items.
struct Chosen {
    state: Query<Option<ActionState>>,
    owner: Query<Option<String>>,
    due_before: Query<Option<Timestamp>>,
    overdue: Query<Option<bool>>,
    call_id: Query<Option<Uuid>>,
    from: Query<Option<Timestamp>>,
    to: Query<Option<Timestamp>>,
}

impl Chosen {
    fn filter(self, key: &Key) -> Result<ActionFilter, Problem> {
        if let (Some(from), Some(to)) = (&self.from.0, &self.to.0)
            && from.0 > to.0
        {
            return Err(Problem::bad_parameter("to", "a time that is not before `from`"));
        }
        Ok(ActionFilter {
            state: self.state.0.map(|state| state.as_str().to_owned()),
            owner: self.owner.0,
            due_before: self.due_before.0.map(|time| time.0),
            overdue: self.overdue.0,
            now: clock::now(),
            call_id: self.call_id.0,
            from: self.from.0.map(|time| time.0),
            to: self.to.0.map(|time| time.0),
            bounds: key.bounds().clone(),
            after: None,
            limit: 0,
        })
    }
}

async fn page(db: &PgPool, mut filter: ActionFilter, limit: i64, cursor: Option<&str>) -> Result<ActionPage, Problem> {
    let time = |time: Option<_>| time.map(|time| Timestamp(time).text());
    let (due_before, from, to) = (time(filter.due_before), time(filter.from), time(filter.to));
    let (overdue, call_id) = (filter.overdue.map(|is| is.to_string()), filter.call_id.map(|id| id.to_string()));
    let bound = [filter.state.clone(), filter.owner.clone(), due_before, overdue, call_id, from, to];
    let bound = bound.each_ref().map(Option::as_deref);
    if let Some(text) = cursor {
        let cursor = Cursor::decode(text, &bound).ok_or_else(Problem::bad_cursor)?;
        filter.after = Some((cursor.at, cursor.id));
    }
    // One more than asked for tells whether there is a next page.
    filter.limit = limit + 1;
    let mut rows = actions::list(db, &filter).await?;
    let is_last = rows.len() <= limit as usize;
    rows.truncate(limit as usize);
    let last = rows.last().filter(|_| !is_last);
    let next_cursor = last.map(|row| Cursor { at: row.created_at, id: row.id }.encode(&bound));
    let items: Result<_, _> = rows.into_iter().map(|row| Action::new(row, filter.now)).collect();
    Ok(ActionPage { items: items?, next_cursor: next_cursor.into() })
}

/// The items of an export.
struct Exported {
    db: PgPool,
    filter: ActionFilter,
}

impl Pages for Exported {
    async fn next(&mut self) -> Result<Page, Problem> {
        let rows = actions::list(&self.db, &self.filter).await?;
        self.filter.after = rows.last().map(|row| (row.created_at, row.id));
        let (count, now) = (rows.len() as i64, self.filter.now);
        let text = rows.iter().map(|row| view::csv_line(row, now)).collect();
        Ok(Page { text, count, is_last: count < EXPORT_PAGE })
    }
}

async fn set_state(
    key: &Key,
    request: &Request,
    db: &PgPool,
    id: Uuid,
    (name, state): (&'static str, &'static str),
) -> Result<Versioned, Interruption> {
    key.require(Scope::ActionsWrite)?;
    query::only(request, &[])?;
    // What can be no request comes before what does not fit the item.
    idempotency_key(request)?;
    let actor = key.actor(request);
    let act = Act { actor: &actor, name, id, bounds: key.bounds(), version: if_match_given(request)? };
    let begun = Once::begin(db, key, request).await;
    let mut once = begun.map_err(|interruption| interruption.tagged(view::tag_of))?;
    let changed = change(once.transaction(), act, &Change { state: Some(state), ..Change::default() }).await?;
    match answer(changed, clock::now()) {
        Ok(answer) => {
            let Versioned::Item(item, _) = &answer;
            once.finish(StatusCode::OK, &item.0).await?;
            Ok(answer)
        }
        Err(problem) => Err(once.refuse(problem).await.into()),
    }
}

/// Whatever comes of it is written down.
async fn carry_out(db: &PgPool, act: Act<'_>, wanted: &Change) -> Result<Versioned, Problem> {
    let mut connection = Guarded::acquire(db).await?;
    let mut transaction = connection.begin().await?;
    let changed = change(&mut transaction, act, wanted).await?;
    transaction.commit().await?;
    connection.release();
    answer(changed, clock::now())
}

fn answer(changed: Changed, now: DateTime<Utc>) -> Result<Versioned, Problem> {
    match changed {
        Changed::Done(row) | Changed::Unchanged(row) => Versioned::new(row, now),
        Changed::NotFound => Err(Problem::action_not_found()),
        Changed::Conflict => Err(Problem::precondition_failed()),
    }
}
