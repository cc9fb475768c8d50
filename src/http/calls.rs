//! `/api/calls/`: what became of calls, read-only.

mod excerpts;
mod export;
mod filter;
mod formats;
mod list;
mod recording;
mod rerun;
mod search;
mod timeline;
mod view;
pub mod words;

use poem::http::header::CACHE_CONTROL;
use poem::web::Data;
use poem::{Endpoint, IntoResponse, Request, Response};
use poem_openapi::OpenApi;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::{Json, PlainText, Response as Answer};
use sqlx::PgPool;
use uuid::Uuid;

use super::auth::Key;
use super::idempotency::Interruption;
use super::json_body::JsonBody;
use super::openapi::Group;
use super::problem::Problem;
use super::query;
use super::schema::Timestamp;
use super::written::Written;
use crate::model::{CallBounds, CallId, CallState, Direction, Scope, Sentiment};
use crate::pipeline::rerun::Telling;
use crate::providers::recordings::Recordings;
use crate::queue::{self, Waker};
use crate::store;
use crate::store::calls::CallRow;
use crate::store::vocabulary::Vocabulary;
use crate::store::whole_call;
pub use export::CallsExport;
use filter::Wanted;
use formats::{TranscriptAnswer, TranscriptContent, TranscriptView};
use list::Asked;
pub use recording::Links;
use recording::{Audio, RecordingLink};
use rerun::{RerunAnswer, RerunOrder};
use timeline::Timeline;
use view::{Call, CallPage};
use words::{Format, Sort};

/// Parameters that choose and order calls.
const FILTERS: [&str; 14] = [
    "state",
    "direction",
    "external_id",
    "from",
    "to",
    "caller",
    "called",
    "sentiment",
    "urgency_at_least",
    "topic",
    "has_open_actions",
    "missed",
    "q",
    "sort",
];

/// What the operations need beside the database.
#[derive(Clone)]
pub struct Means {
    /// To wake workers when there is something to do.
    pub waker: Waker,
    /// Where messages about calls go, and when.
    pub telling: Telling,
    /// Where recordings are.
    pub recordings: Recordings,
    /// Signs links to them.
    pub links: Links,
    /// What the search knows of words.
    pub vocabulary: Vocabulary,
}

/// What a signed link leads to: no operation of the API, because it takes no key.
pub struct LinkedRecording {
    /// Database.
    pub db: PgPool,
    /// Recordings and links.
    pub means: Means,
}

impl Endpoint for LinkedRecording {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let id = request.raw_path_param("id").and_then(|id| id.parse().ok()).ok_or_else(Problem::not_found)?;
        Ok(recording::play_link(&self.db, &self.means, &request, id).await?.into_response())
    }
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
    /// The newest first unless `sort` says otherwise: by the start of the call, or by its arrival where the start is not
    /// known. All filters must fit. Follow `next_cursor` with the same parameters until it is null; calls that come in
    /// meanwhile move nothing. With `q` the list has the calls that speak of something, those first that fit best. Needs
    /// the scope `calls:read`; what was said is looked through with `transcripts:read` only.
    #[oai(path = "/", method = "get", operation_id = "listCalls")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the operation")]
    async fn list(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        means: Data<&Means>,
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
        /// Only calls that speak of this: words, "phrases", or, -without, and telephone numbers in any notation, or their last
        /// five digits and more. Looks through summaries, topics, names, numbers and transcripts. (Of a transcript of more
        /// than 16,000 words, phrases are found in the first 16,000.)
        q: Query<Option<String>>,
        /// The order: `newest`, `oldest`, `longest` or `most_urgent`; with `q` it is `relevance` or `newest`.
        sort: Query<Option<Sort>>,
        /// Most calls of a page.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<i64>,
        /// `next_cursor` of the page before, as it came.
        cursor: Query<Option<String>>,
    ) -> Result<Written<CallPage>, Problem> {
        key.require(Scope::CallsRead)?;
        query::only(request, &[&FILTERS[..], &["limit", "cursor"][..]].concat())?;
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
            q: q.0,
            sort: sort.0,
        };
        let asked = Asked {
            bounds: key.bounds(),
            spoken: key.require(Scope::TranscriptsRead).is_ok(),
            vocabulary: &means.vocabulary,
            limit: limit.0 as usize,
            cursor: cursor.0,
            choice: query::choice(request),
        };
        let page = list::page(&db, wanted.read()?, &asked).await?;
        let quoted = page.items.iter().filter(|item| item.quotes_transcript()).count() as i64;
        if quoted > 0 {
            let object = format!("excerpts of {quoted} calls");
            store::audit::note(&db, &key.actor(request), "transcripts.search", &object, quoted).await?;
        }
        Ok(Written(page))
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
    ) -> Result<Written<Call>, Problem> {
        key.require(Scope::CallsRead)?;
        query::only(request, &[])?;
        store::bounded(&db, async |db| {
            let whole = whole_call::whole(&mut *db, CallId(id.0), key.bounds()).await?;
            let whole = whole.ok_or_else(Problem::call_not_found)?;
            let cost = queue::costs_of_calls(db, &[id.0]).await?.remove(&id.0).unwrap_or_default();
            Call::new(whole, cost).map(Written)
        })
        .await
    }

    /// Get the transcript of a call
    ///
    /// As JSON, text or subtitles, as `format` or else `Accept` says. Answers 404 with the code `no_transcript` and the
    /// reason while there is none. Needs the scope `transcripts:read`; each look is written down.
    #[oai(path = "/:id/transcript", method = "get", operation_id = "getTranscript")]
    async fn transcript(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        /// Our id of the call.
        id: Path<Uuid>,
        /// In place of `Accept`.
        format: Query<Option<Format>>,
    ) -> Result<TranscriptAnswer, Problem> {
        key.require(Scope::TranscriptsRead)?;
        query::only(request, &["format"])?;
        let call = find(&db, id.0, key.bounds()).await?;
        let transcript = store::summaries::transcript(&db, CallId(call.id)).await?;
        let transcript = transcript.ok_or_else(|| Problem::no_transcript(why_no_transcript(&call)))?;
        store::audit::note(&db, &key.actor(request), "transcripts.view", &format!("call {}", call.id), 1).await?;
        let content = match format.0.unwrap_or_else(|| formats::accepted(request)) {
            Format::Json => {
                let cited = store::summaries::cited(&db, CallId(call.id)).await?;
                TranscriptContent::Json(Json(TranscriptView::new(call.id, transcript, &cited.into_iter().collect())))
            }
            Format::Txt => TranscriptContent::Text(PlainText(formats::text(&transcript))),
            Format::Srt => TranscriptContent::Srt(PlainText(formats::srt(&transcript))),
            Format::Vtt => TranscriptContent::Vtt(PlainText(formats::vtt(&transcript))),
        };
        Ok(TranscriptAnswer::Ok(content, "Accept".to_owned()))
    }

    /// Get the timeline of a call
    ///
    /// All that happened to the call, in order: what came in, every attempt of every step, every message, every act of a
    /// person or program; and what is still to come. Needs the scope `calls:read`.
    #[oai(path = "/:id/timeline", method = "get", operation_id = "getTimeline")]
    async fn timeline(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        /// Our id of the call.
        id: Path<Uuid>,
    ) -> Result<Json<Timeline>, Problem> {
        key.require(Scope::CallsRead)?;
        query::only(request, &[])?;
        let call = find(&db, id.0, key.bounds()).await?;
        timeline::load(&db, &call).await.map(Json)
    }

    /// Get the recording of a call
    ///
    /// Whole, or the part that `Range` names. Answers 404 with the code `no_recording` and the reason when there is none.
    /// Needs the scope `recordings:read`; each access is written down.
    #[oai(path = "/:id/recording", method = "get", operation_id = "getRecording")]
    async fn recording(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        means: Data<&Means>,
        /// Our id of the call.
        id: Path<Uuid>,
        /// One part: `bytes=0-1023`.
        #[oai(name = "Range")]
        _range: Header<Option<String>>,
    ) -> Result<Audio, Problem> {
        key.require(Scope::RecordingsRead)?;
        query::only(request, &[])?;
        let call = find(&db, id.0, key.bounds()).await?;
        recording::play(&db, &means, request, &call, &key.actor(request)).await
    }

    /// Make a link to the recording of a call
    ///
    /// For players that cannot send a key: whoever has the link may hear the recording, for five minutes. Answers 404 with
    /// the code `no_recording` and the reason when there is none. Needs the scope `recordings:read`.
    #[oai(path = "/:id/recording/link", method = "get", operation_id = "getRecordingLink")]
    async fn recording_link(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        means: Data<&Means>,
        /// Our id of the call.
        id: Path<Uuid>,
    ) -> Result<Answer<Json<RecordingLink>>, Problem> {
        key.require(Scope::RecordingsRead)?;
        query::only(request, &[])?;
        let call = find(&db, id.0, key.bounds()).await?;
        let link = recording::link(&db, &means, &call, key.prefix()).await?;
        // It is a right by itself.
        Ok(Answer::new(Json(link)).header(CACHE_CONTROL, "no-store"))
    }

    /// Run a call again
    ///
    /// From a step on; the results of earlier runs are kept. `dry_run` says what it would do and where messages would go.
    /// Send an `Idempotency-Key`, so that a request that comes again does not run the call again. Needs the scope
    /// `jobs:operate`.
    #[oai(path = "/:id/rerun", method = "post", operation_id = "rerunCall")]
    async fn rerun(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        means: Data<&Means>,
        /// Our id of the call.
        id: Path<Uuid>,
        order: JsonBody<RerunOrder>,
    ) -> Result<RerunAnswer, Interruption> {
        key.require(Scope::JobsOperate)?;
        query::only(request, &[])?;
        let Some(call) = look(&db, id.0, key.bounds()).await? else {
            return Err(rerun::refuse(&db, &key, request, id.0, &order.0).await.into());
        };
        rerun::carry_out(&db, &means, &key, request, &call, order.0).await
    }
}

async fn find(db: &PgPool, id: Uuid, bounds: &CallBounds) -> Result<CallRow, Problem> {
    look(db, id, bounds).await?.ok_or_else(Problem::call_not_found)
}

async fn look(db: &PgPool, id: Uuid, bounds: &CallBounds) -> Result<Option<CallRow>, sqlx::Error> {
    store::bounded(db, async |db| store::calls::get_within(db, CallId(id), bounds).await).await
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
