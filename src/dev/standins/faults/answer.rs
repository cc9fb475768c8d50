//! How a fault becomes bytes on an HTTP connection.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use poem::http::header::CONTENT_LENGTH;
use poem::{Body, Request, Response};
use serde_json::Value;

use super::catalogue::{Act, Scene};
use super::{Occasion, Struck, slack};
use crate::dev::standins::Upstream;
use crate::dev::standins::connections::Connections;
use crate::dev::standins::effects::Deed;
use crate::model::clock;

/// What a gateway, a proxy or a login page sends.
const WEB_PAGE: &str = "<!doctype html><html><head><title>Sign in</title></head><body><h1>Sign in</h1></body></html>\n";
/// Between the first half of an answer and the end of its connection, so that the half arrives.
const PAUSE: Duration = Duration::from_millis(20);

impl Struck {
    /// What the answer may depend on.
    pub(in crate::dev::standins) fn scene(&self, request: &Request) -> Scene {
        let host = request.header("host").unwrap_or("127.0.0.1").to_owned();
        let path = request.original_uri().path().to_owned();
        Scene { name: self.fault.name, path, host, wait: self.wait }
    }

    /// The answer to a request for which nothing is done.
    pub(in crate::dev::standins) fn refuse(&self, scene: &Scene) -> Response {
        match self.fault.act {
            Act::Refuse(answer) => answer(scene),
            _ => slack::word(scene),
        }
    }

    /// The answer to a request that turned out to be more than is taken; nothing was done for it then.
    pub(in crate::dev::standins) fn refuse_too_much(&self, response: &Response, scene: &Scene) -> Option<Response> {
        let Act::RefuseLonger(most_seconds, answer) = self.fault.act else { return None };
        let deed = response.data::<Deed>()?;
        (deed.usage.audio_seconds > most_seconds).then(|| answer(scene))
    }

    /// The answer to a request for which something was done, as it is given: this is what is billed.
    pub(in crate::dev::standins) async fn alter(&self, mut response: Response) -> Response {
        match self.fault.act {
            Act::Relabel(relabel) => {
                relabel(&mut response);
                response
            }
            Act::Change(change) => changed(response, change).await,
            _ => response,
        }
    }

    /// What becomes of it on its way. May never come back: the connection ends then.
    pub(in crate::dev::standins) async fn spoil(
        &self,
        response: Response,
        scene: &Scene,
        connections: &Connections,
        client: &poem::web::RemoteAddr,
    ) -> Response {
        match self.fault.act {
            Act::Lose(answer) => answer(scene),
            Act::LoseWord => slack::word(scene),
            Act::Half => half(response).await,
            Act::Reset => {
                connections.cut(client);
                std::future::pending().await
            }
            Act::Silence => std::future::pending().await,
            _ => response,
        }
    }
}

impl<'a> Occasion<'a> {
    /// A request at the door of an HTTP stand-in. Uploads and links that a redirect named are nobody's occasion.
    pub(in crate::dev::standins) fn of_request(upstream: Upstream, request: &'a Request) -> Option<Self> {
        let uri = request.original_uri();
        let is_upload = request.method() == poem::http::Method::PUT;
        if upstream == Upstream::Recordings && (is_upload || uri.path().contains("/signed/")) {
            return None;
        }
        let path = uri.path_and_query().map_or(uri.path(), |path| path.as_str());
        Some(Self { upstream, path, stage: None, recipients: &[] })
    }
}

async fn changed(mut response: Response, change: fn(&mut Value)) -> Response {
    let body = response.take_body().into_vec().await.unwrap_or_default();
    let text = match serde_json::from_slice::<Value>(&body) {
        Ok(mut json) if response.is_success() => {
            change(&mut json);
            if let Some(deed) = response.data::<Deed>() {
                let deed = deed.clone().billed_as(&json);
                response.set_data(deed);
            }
            json.to_string().into_bytes()
        }
        _ => body,
    };
    response.headers_mut().remove(CONTENT_LENGTH);
    response.set_body(text);
    response
}

/// The whole length announced, the first half sent, the connection ended.
async fn half(mut response: Response) -> Response {
    let body = response.take_body().into_bytes().await.unwrap_or_default();
    response.headers_mut().insert(CONTENT_LENGTH, body.len().into());
    let first = body.slice(..body.len() / 2);
    let parts = stream::unfold(Some(first), async |next: Option<Bytes>| match next {
        Some(part) if part.is_empty() => None,
        Some(part) => Some((Ok(part), None)),
        None => {
            tokio::time::sleep(PAUSE).await;
            Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), Some(Bytes::new())))
        }
    });
    response.set_body(Body::from_bytes_stream(parts));
    response
}

/// A page for people, where a program asked.
pub(super) fn web_page() -> Response {
    Response::builder().content_type("text/html; charset=utf-8").body(WEB_PAGE)
}

/// As `Retry-After` says a time: whole seconds, rounded up.
pub(super) fn seconds(wait: Duration) -> String {
    wait.as_millis().div_ceil(1_000).to_string()
}

/// The other way in which `Retry-After` says a time (RFC 9110, section 5.6.7).
pub(super) fn http_date(wait: Duration) -> String {
    (clock::now() + wait).format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
