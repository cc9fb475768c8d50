//! `/api/calls/`: what became of calls, read-only.

mod view;

use std::collections::HashMap;

use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{OpenApi, Tags};
use sqlx::PgPool;
use uuid::Uuid;

use super::auth::Key;
use super::cursor::Cursor;
use super::problem::Problem;
use super::query;
use super::schema::Timestamp;
use crate::model::{CallId, CallState, Scope};
use crate::queue;
use crate::store::calls::{CallFilter, CallRow};
use crate::store::summaries::AnalysisBrief;
use crate::store::{self};
use view::{Call, CallItem, CallPage, Transcript};

/// Parameters of the list.
const LIST: &[&str] = &["state", "external_id", "from", "to", "limit", "cursor"];

/// Groups of operations in the document.
#[derive(Tags)]
enum Group {
    /// Finished telephone calls and what was made of them.
    Calls,
}

/// The operations on calls.
pub struct CallsApi;

fn default_limit() -> i64 {
    50
}

#[OpenApi(prefix_path = "/api/calls", tag = "Group::Calls")]
impl CallsApi {
    /// List calls
    ///
    /// Newest first, by the start of the call, or by its arrival where the start is not known. Follow `next_cursor`
    /// with the same filters until it is null. Needs the scope `calls:read`.
    #[oai(path = "/", method = "get", operation_id = "listCalls")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the operation")]
    async fn list(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        /// Only calls in this state.
        state: Query<Option<CallState>>,
        /// Only the call with this id of its sender.
        external_id: Query<Option<String>>,
        /// Only calls that started at this time or later; a day counts from its midnight in UTC.
        from: Query<Option<Timestamp>>,
        /// Only calls that started before this time.
        to: Query<Option<Timestamp>>,
        /// Most calls of a page.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<i64>,
        /// `next_cursor` of the page before, as it came.
        cursor: Query<Option<String>>,
    ) -> Result<Json<CallPage>, Problem> {
        key.require(Scope::CallsRead)?;
        query::only(request, LIST)?;
        if let (Some(from), Some(to)) = (&from.0, &to.0)
            && from.0 > to.0
        {
            return Err(Problem::bad_parameter("to", "a time that is not before `from`"));
        }
        let filter = CallFilter {
            state: state.map(|state| state.as_str().to_owned()),
            external_id: external_id.0,
            from: from.map(|time| time.0),
            to: to.map(|time| time.0),
            after: None,
            limit: limit.0,
        };
        page(&db, filter, cursor.0.as_deref()).await.map(Json)
    }

    /// Get a call
    ///
    /// With its summary, action items, deliveries and cost; what is not known yet is null or empty. Needs the scope
    /// `calls:read`.
    #[oai(path = "/:id", method = "get", operation_id = "getCall")]
    async fn get(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        /// Our id of the call.
        id: Path<Uuid>,
    ) -> Result<Json<Call>, Problem> {
        key.require(Scope::CallsRead)?;
        query::only(request, &[])?;
        let call = find(&db, id.0).await?;
        let id = CallId(call.id);
        let analysis = store::summaries::analysis(&db, id).await?;
        let action_items = match &analysis {
            Some(analysis) => store::summaries::action_items(&db, id, analysis.run).await?,
            None => Vec::new(),
        };
        let deliveries = store::deliveries::of_call(&db, id).await?;
        let cost = queue::costs_of_calls(&db, &[id.0]).await?.remove(&id.0).unwrap_or_default();
        Call::new(call, analysis, action_items, deliveries, cost).map(Json)
    }

    /// Get the transcript of a call
    ///
    /// Answers 404 with the code `no_transcript` and the reason while there is none. Needs the scope
    /// `transcripts:read`.
    #[oai(path = "/:id/transcript", method = "get", operation_id = "getTranscript")]
    async fn transcript(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        /// Our id of the call.
        id: Path<Uuid>,
    ) -> Result<Json<Transcript>, Problem> {
        key.require(Scope::TranscriptsRead)?;
        query::only(request, &[])?;
        let call = find(&db, id.0).await?;
        let transcript = store::summaries::transcript(&db, CallId(call.id)).await?;
        let transcript = transcript.ok_or_else(|| Problem::no_transcript(why_no_transcript(&call)))?;
        Ok(Json(Transcript::new(call.id, transcript)))
    }
}

async fn find(db: &PgPool, id: Uuid) -> Result<CallRow, Problem> {
    store::calls::get(db, CallId(id)).await?.ok_or_else(Problem::call_not_found)
}

/// Three queries, however long the page.
async fn page(db: &PgPool, mut filter: CallFilter, cursor: Option<&str>) -> Result<CallPage, Problem> {
    let time = |time: Option<_>| time.map(|time| Timestamp(time).text());
    let (from, to) = (time(filter.from), time(filter.to));
    let bound = [filter.state.clone(), filter.external_id.clone(), from, to];
    let bound = bound.each_ref().map(Option::as_deref);
    if let Some(text) = cursor {
        let cursor = Cursor::decode(text, &bound).ok_or_else(Problem::bad_cursor)?;
        filter.after = Some((cursor.at, cursor.id));
    }
    let limit = filter.limit as usize;
    // One more than asked for tells whether there is a next page.
    filter.limit += 1;
    let mut calls = store::calls::list(db, &filter).await?;
    let is_last = calls.len() <= limit;
    calls.truncate(limit);
    let last = calls.last().filter(|_| !is_last);
    let next_cursor = last.map(|call| Cursor { at: call.occurred_at, id: call.id }.encode(&bound));

    let ids: Vec<Uuid> = calls.iter().map(|call| call.id).collect();
    let briefs = store::summaries::briefs(db, &ids).await?;
    let mut briefs: HashMap<Uuid, AnalysisBrief> = briefs.into_iter().map(|brief| (brief.call_id, brief)).collect();
    let mut costs = queue::costs_of_calls(db, &ids).await?;
    let items: Result<_, _> = calls
        .into_iter()
        .map(|call| {
            let (brief, cost) = (briefs.remove(&call.id), costs.remove(&call.id).unwrap_or_default());
            CallItem::new(call, brief, cost)
        })
        .collect();
    Ok(CallPage { items: items?, next_cursor: next_cursor.into() })
}

fn why_no_transcript(call: &CallRow) -> String {
    let reason = call.state_reason.as_deref().unwrap_or("the reason is not known");
    match (call.recording.as_str(), call.state.as_str()) {
        ("none", _) => "The call has no recording, so there is nothing to transcribe.".to_owned(),
        ("erased" | "expired", _) => "The recording and its transcript were deleted.".to_owned(),
        (_, "failed") => format!("The call failed before it was transcribed: {reason}"),
        (_, "waiting") => format!("The call is not transcribed yet; it waits: {reason}"),
        _ => "The call is not transcribed yet; ask again later.".to_owned(),
    }
}
