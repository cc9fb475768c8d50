//! What every request to an HTTP stand-in goes through: it is counted, may meet a fault, and its answer says who answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt as _;
use poem::http::HeaderValue;
use poem::{Body, Endpoint, EndpointExt as _, IntoEndpoint, Request, Response};

use super::Upstream;
use super::connections::Connections;
use super::effects::{Deed, Effects};
use super::faults::{Faults, Occasion};

/// Requests per stand-in, for tests.
#[derive(Debug, Default)]
pub(super) struct Counters([AtomicU64; Upstream::ALL.len()]);

/// The door of all HTTP stand-ins. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub counters: Arc<Counters>,
    pub faults: Arc<Faults>,
    pub effects: Effects,
    pub connections: Connections,
}

impl Counters {
    pub(super) fn of(&self, upstream: Upstream) -> u64 {
        self.0[upstream as usize].load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, upstream: Upstream) {
        self.0[upstream as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Door {
    pub(super) fn before<E>(&self, upstream: Upstream, stand_in: E) -> impl Endpoint<Output = Response> + use<E>
    where
        E: IntoEndpoint,
        E::Endpoint: 'static,
    {
        let door = self.clone();
        stand_in.into_endpoint().map_to_response().around(move |endpoint, request| {
            let door = door.clone();
            async move {
                door.counters.count(upstream);
                tracing::debug!(stand_in = %upstream, method = %request.method(), "request to a stand-in");
                let mut response = door.answer(upstream, &*endpoint, request).await;
                response.headers_mut().insert("x-stand-in", HeaderValue::from_static(upstream.as_str()));
                Ok(response)
            }
        })
    }

    async fn answer(
        &self,
        upstream: Upstream,
        endpoint: &impl Endpoint<Output = Response>,
        mut request: Request,
    ) -> Response {
        let occasion = Occasion::of_request(upstream, &request);
        let Some(struck) = occasion.and_then(|occasion| self.faults.strike(&occasion)) else {
            let response = execute(endpoint, request).await;
            self.note(upstream, &response, None);
            return response;
        };
        tracing::debug!(stand_in = %upstream, fault = struck.fault.name, "a request meets a fault");
        let (scene, client) = (struck.scene(&request), request.remote_addr().clone());
        if struck.fault.refuses() {
            drain(request.take_body()).await;
            return struck.refuse(&scene);
        }
        let response = execute(endpoint, request).await;
        if let Some(refusal) = struck.refuse_too_much(&response, &scene) {
            return refusal;
        }
        let response = struck.alter(response).await;
        self.note(upstream, &response, Some(&struck));
        struck.spoil(response, &scene, &self.connections, &client).await
    }

    fn note(&self, upstream: Upstream, response: &Response, struck: Option<&super::faults::Struck>) {
        if let Some(deed) = response.data::<Deed>() {
            self.effects.note(upstream, deed, struck);
        }
    }
}

async fn execute(endpoint: &impl Endpoint<Output = Response>, request: Request) -> Response {
    match endpoint.call(request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

/// Reading on is what lets the client see a refusal: a connection closed in the middle of an upload loses the answer.
async fn drain(body: Body) {
    let mut chunks = body.into_bytes_stream();
    while let Some(Ok(_)) = chunks.next().await {}
}
