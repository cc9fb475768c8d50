//! Server-sent events as an answer: lines of text that go on (HTML Living Standard, section 9.2).

use std::io;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt};
use poem::{Body, IntoResponse, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiResponse, Object};
use uuid::Uuid;

use super::super::schema::{EventKind, Nullable, Timestamp};
use crate::store::changes::Change;

/// An event. It tells that something has changed, and to what; the rest is to be asked for.
#[derive(Debug, Object)]
#[oai(rename = "ChangeEvent")]
pub struct Event {
    /// What it is about.
    kind: EventKind,
    /// When that happened.
    at: Timestamp,
    /// The call; null of `ready` and `reset`.
    call_id: Nullable<Uuid>,
    /// What it changed to: a state of the call, of the job, or of the action item. The same as before, if something else
    /// has changed: a call's summary, an item's text.
    state: Nullable<String>,
    /// The job, of `job` only.
    job_id: Nullable<i64>,
    /// Its step.
    step: Nullable<String>,
    /// The action item, of `action` only.
    action_id: Nullable<Uuid>,
}

impl Event {
    /// One about the stream itself.
    pub fn of_stream(kind: EventKind, at: DateTime<Utc>) -> Self {
        Self {
            kind,
            at: Timestamp(at),
            call_id: None.into(),
            state: None.into(),
            job_id: None.into(),
            step: None.into(),
            action_id: None.into(),
        }
    }

    /// `None` of a kind that this program does not know.
    pub fn of_change(change: &Change) -> Option<Self> {
        Some(Self {
            kind: change.kind.parse().ok()?,
            at: Timestamp(change.at),
            call_id: Some(change.call_id).into(),
            state: Some(change.state.clone()).into(),
            job_id: change.job_id.into(),
            step: change.step.clone().into(),
            action_id: change.item_id.into(),
        })
    }

    /// As it is sent, under the id by which the stream can be taken up again after it.
    pub fn text(&self, id: &str) -> String {
        format!("id: {id}\nevent: {}\ndata: {}\n\n", self.kind, self.to_json_string())
    }
}

/// What is sent while nothing happens: proxies and clients see that the connection lives, and clients learn how far the
/// stream has come.
pub fn heartbeat(id: &str) -> String {
    format!(": nothing new\nid: {id}\n\n")
}

/// An answer that goes on.
pub struct Live(Body);

impl Live {
    /// Sends each text as it comes.
    pub fn new(texts: impl Stream<Item = String> + Send + 'static) -> Self {
        Self(Body::from_bytes_stream(texts.map(|text| Ok::<_, io::Error>(Bytes::from(text)))))
    }
}

impl Payload for Live {
    const CONTENT_TYPE: &'static str = "text/event-stream";

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            items: Some(Box::new(Event::schema_ref())),
            ..MetaSchema::new_with_format("array", "event-stream")
        }))
    }

    fn register(registry: &mut Registry) {
        Event::register(registry);
    }
}

impl IntoResponse for Live {
    fn into_response(self) -> Response {
        Response::builder()
            .content_type(Self::CONTENT_TYPE)
            .header("cache-control", "no-store")
            // nginx would gather the events.
            .header("x-accel-buffering", "no")
            .body(self.0)
    }
}

impl ApiResponse for Live {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![MetaResponse {
                description: "Server-sent events; the data of each is a `ChangeEvent` as JSON.",
                status: Some(200),
                status_range: None,
                content: vec![MetaMediaType { content_type: Self::CONTENT_TYPE, schema: Self::schema_ref() }],
                headers: vec![],
            }],
        }
    }

    fn register(registry: &mut Registry) {
        Event::register(registry);
    }
}
