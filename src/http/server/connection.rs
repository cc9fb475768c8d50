//! One connection: requests are served on it as long as its client keeps to the times.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures::{Stream, StreamExt};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use poem::http::uri::Scheme;
use poem::http::{HeaderValue, Version, header};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Endpoint, Request};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;

use super::refusal::Courteous;
use super::{Limits, Protocol, address};
use crate::http::tally::Tally;

/// When the server stops, connections are kept for so long: a request may be on its way, and to close on it would be a
/// reset. Its answer then says that it was the last one.
const PARTING: Duration = Duration::from_millis(500);
/// For the last frames to a client that was too slow.
const FAREWELL: Duration = Duration::from_secs(1);

static SLOW: Tally = Tally::zero();

/// Serves requests until the client leaves or is too slow. After `stop` the connection ends with the answers to the
/// requests that are under way, or that come at once.
pub async fn attend<E: Endpoint + 'static>(
    stream: TcpStream,
    peer: SocketAddr,
    routes: Arc<E>,
    protocol: &Protocol,
    limits: &Limits,
    stop: &CancellationToken,
) {
    // Nobody is left to answer.
    let Ok(local) = stream.local_addr() else { return };
    let pulse = Arc::new(Pulse::new());
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let version = request.version();
        let visit = Pulse::begin(&pulse, version);
        let client = address::of_client(request.headers(), peer, &limits.visitors.trusted_proxies);
        let (local, client) = (LocalAddr(local.into()), RemoteAddr(client.into()));
        let mut request = Request::from((request, local, client, Scheme::HTTP));
        request.set_data(Line { pulse: pulse.clone(), stop: stop.clone() });
        let (routes, stop) = (routes.clone(), stop.clone());
        async move {
            let mut response = routes.get_response(request).await;
            drop(visit);
            if version == Version::HTTP_2 {
                // It has frames for that, and no such header (RFC 9113, section 8.2.2).
                response.headers_mut().remove(header::CONNECTION);
            } else if stop.is_cancelled() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(hyper::Response::from(response))
        }
    });
    let listening = pulse.clone();
    let stream = InspectReader::new(Courteous::new(stream), move |bytes: &[u8]| listening.hear(bytes));
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
    let end = tokio::select! {
        end = until_late(connection.as_mut(), &pulse, limits) => end,
        () = parting(stop) => {
            connection.as_mut().graceful_shutdown();
            until_late(connection.as_mut(), &pulse, limits).await
        }
    };
    if end == End::Late {
        connection.as_mut().graceful_shutdown();
        // What comes of it does not matter any more.
        let _ = timeout(FAREWELL, connection).await;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It has ended by itself.
    Closed,
    /// Its client is too slow.
    Late,
}

async fn until_late(mut connection: Pin<&mut impl Future>, pulse: &Pulse, limits: &Limits) -> End {
    let mut alarm = pin!(sleep_until(Instant::now()));
    let end = poll_fn(|context| {
        if connection.as_mut().poll(context).is_ready() {
            return Poll::Ready(End::Closed);
        }
        // Whatever moves the deadline happens in the poll above, or wakes this task.
        let Some(deadline) = pulse.deadline(limits) else { return Poll::Pending };
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        alarm.as_mut().poll(context).map(|()| End::Late)
    });
    let end = end.await;
    if end == End::Late && pulse.is_reading() {
        metrics::counter!("http_connections_slow_total").increment(1);
        if let Some(count) = SLOW.note() {
            tracing::info!(count, "Connections were closed whose requests came too slowly.");
        }
    }
    end
}

async fn parting(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(PARTING).await;
}

/// The connection of a request, for answers that take their time: an answer must be taken within the idle limit, but of one
/// that is sent piece by piece each piece.
#[derive(Clone)]
pub struct Line {
    pulse: Arc<Pulse>,
    stop: CancellationToken,
}

impl Line {
    /// The one on which the request came. Without a server around it, one that nobody closes.
    pub fn of(request: &Request) -> Self {
        let nobodys = || Self { pulse: Arc::new(Pulse::new()), stop: CancellationToken::new() };
        request.data::<Self>().cloned().unwrap_or_else(nobodys)
    }

    /// The pieces of an answer: that the client takes one keeps the connection open for the next.
    pub fn carry<S: Stream>(&self, pieces: S) -> impl Stream<Item = S::Item> + use<S> {
        let pulse = self.pulse.clone();
        pieces.inspect(move |_| pulse.beat())
    }

    /// The same for an answer that has no end of its own: it ends when the server stops.
    pub fn carry_on<S: Stream>(&self, pieces: S) -> impl Stream<Item = S::Item> + use<S> {
        self.carry(pieces).take_until(self.stop.clone().cancelled_owned())
    }
}

/// What a connection is doing, and since when.
struct Pulse(Mutex<State>);

struct State {
    in_flight: usize,
    /// Bytes of the next request are expected, or have begun to come; else the connection is idle.
    reading: bool,
    /// Its frames between requests are no requests.
    http2: bool,
    since: Instant,
}

/// A request under way.
struct Visit(Arc<Pulse>);

impl Pulse {
    fn new() -> Self {
        let state = State { in_flight: 0, reading: true, http2: false, since: Instant::now() };
        Self(Mutex::new(state))
    }

    /// Bytes have come in.
    fn hear(&self, bytes: &[u8]) {
        let mut state = self.state();
        if !bytes.is_empty() && state.in_flight == 0 && !state.reading && !state.http2 {
            state.reading = true;
            state.since = Instant::now();
        }
    }

    /// The headers of a request are there.
    fn begin(pulse: &Arc<Self>, version: Version) -> Visit {
        let mut state = pulse.state();
        state.in_flight += 1;
        state.reading = false;
        state.http2 = version == Version::HTTP_2;
        drop(state);
        Visit(pulse.clone())
    }

    /// The client has taken a piece of an answer.
    fn beat(&self) {
        self.state().since = Instant::now();
    }

    /// When the client will be too slow; `None` while it waits for us.
    fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let state = self.state();
        let limit = if state.reading { limits.headers } else { limits.idle };
        (state.in_flight == 0).then(|| state.since + limit)
    }

    fn is_reading(&self) -> bool {
        self.state().reading
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.in_flight -= 1;
        if state.in_flight == 0 {
            state.since = Instant::now();
        }
    }
}
