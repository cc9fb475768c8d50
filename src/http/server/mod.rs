//! The server: who is let in, how long a client may take, and how it stops.
//!
//! poem's own server closes no slow client and counts no connections. So connections are accepted and counted here
//! ([`crowd`]), hyper serves poem's endpoints on them ([`connection`]), and the socket may be one that the last process
//! left open ([`socket`]).

pub mod address;
mod connection;
mod crowd;
mod refusal;
pub mod socket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use poem::endpoint::make_sync;
use poem::{Endpoint, EndpointExt, IntoEndpoint, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::envelope;
use super::problem::Problem;
use super::tally::Tally;
use crate::config::ServerConfig;
pub use connection::Line;
use crowd::{Crowd, Place};

/// Most bytes of a request's line and headers; more get 431.
const HEADER_BYTES: usize = 16 << 10;
/// Requests at the same time on one connection of HTTP/2.
const HTTP2_STREAMS: u32 = 100;
/// Requests that a client of HTTP/2 may have begun and taken back, before its connection is closed (CVE-2023-44487).
const HTTP2_RESETS: usize = 20;
/// So many of those who are one too many are told so at the same time; the others are cut off.
const REFUSALS: usize = 64;
/// For the request of somebody who is told so.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// Rest after an error that will not have gone at once: most often no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

static CROWDED: Tally = Tally::zero();
static NOT_ACCEPTED: Tally = Tally::zero();

/// What a client may use up.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From the first byte of a request to the end of its headers; on a new connection, from its start.
    pub headers: Duration,
    /// From the end of the headers to the last byte of the body.
    pub body: Duration,
    /// From one answer to the next request, on a connection that is kept. An answer must be taken in this time, too.
    pub idle: Duration,
    /// How many may come, and how often.
    pub visitors: ServerConfig,
}

impl Default for Limits {
    fn default() -> Self {
        ServerConfig::default().into()
    }
}

impl From<ServerConfig> for Limits {
    fn from(visitors: ServerConfig) -> Self {
        let (headers, body, idle) = (Duration::from_secs(10), Duration::from_secs(10), Duration::from_mins(1));
        Self { headers, body, idle, visitors }
    }
}

/// Serves until `stop`, then lets requests that have begun end within `grace`. Clients that come after `stop` are left
/// to whoever else holds the listening socket.
pub async fn serve(
    listener: TcpListener,
    routes: impl IntoEndpoint<Endpoint = impl Endpoint + 'static>,
    limits: Limits,
    stop: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    let hall = Hall::new(routes.into_endpoint(), limits, stop.clone());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => hall.receive(stream, peer, &mut connections),
                Err(error) => recover(&error).await,
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(grace, ended).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

/// Where clients are received.
struct Hall<E> {
    routes: Arc<E>,
    crowd: Arc<Crowd>,
    /// Places for those who are told that there is no place.
    refusals: Arc<Semaphore>,
    protocol: Arc<Protocol>,
    limits: Arc<Limits>,
    refusal_limits: Arc<Limits>,
    stop: CancellationToken,
}

/// hyper with our limits.
type Protocol = auto::Builder<TokioExecutor>;

impl<E: Endpoint + 'static> Hall<E> {
    fn new(routes: E, limits: Limits, stop: CancellationToken) -> Self {
        Self {
            routes: Arc::new(routes),
            crowd: Arc::new(Crowd::new(&limits.visitors)),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            protocol: Arc::new(protocol()),
            refusal_limits: Arc::new(Limits { headers: REFUSAL_TIME, idle: REFUSAL_TIME, ..limits.clone() }),
            limits: Arc::new(limits),
            stop,
        }
    }

    fn receive(&self, stream: TcpStream, peer: SocketAddr, connections: &mut JoinSet<()>) {
        // Without it the end of a long answer waits until the client has confirmed the rest.
        let _ = stream.set_nodelay(true);
        match self.crowd.admit(peer.ip()) {
            Ok(place) => self.welcome(stream, peer, place, connections),
            Err(crowded) => {
                metrics::counter!("http_connections_refused_total").increment(1);
                if let Some(count) = CROWDED.note() {
                    tracing::warn!(count, "Connections were refused: {crowded}.");
                }
                self.refuse(stream, peer, connections);
            }
        }
    }

    fn welcome(&self, stream: TcpStream, peer: SocketAddr, place: Place, connections: &mut JoinSet<()>) {
        let (routes, protocol) = (self.routes.clone(), self.protocol.clone());
        let (limits, stop) = (self.limits.clone(), self.stop.clone());
        connections.spawn(async move {
            connection::attend(stream, peer, routes, &protocol, &limits, &stop).await;
            drop(place);
        });
    }

    /// Answers one request with 503, while few enough are waiting for that.
    fn refuse(&self, stream: TcpStream, peer: SocketAddr, connections: &mut JoinSet<()>) {
        let Ok(permit) = self.refusals.clone().try_acquire_owned() else { return };
        let (protocol, limits) = (self.protocol.clone(), self.refusal_limits.clone());
        let full = make_sync(|_| Err::<Response, poem::Error>(Problem::overloaded().into())).around(envelope::envelope);
        // On a server that stops, a connection ends with its next answer.
        let stop = CancellationToken::new();
        stop.cancel();
        connections.spawn(async move {
            connection::attend(stream, peer, Arc::new(full), &protocol, &limits, &stop).await;
            drop(permit);
        });
    }
}

fn protocol() -> Protocol {
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    // hyper's own limit for headers is left out: it would run between requests, too, and close idle connections.
    protocol.http1().max_buf_size(HEADER_BYTES).header_read_timeout(None);
    protocol
        .http2()
        .max_header_list_size(HEADER_BYTES as u32)
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_pending_accept_reset_streams(HTTP2_RESETS);
    protocol
}

async fn recover(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    // Those are about one client that has gone again.
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        return;
    }
    if let Some(count) = NOT_ACCEPTED.note() {
        tracing::error!(%error, count, "Connections cannot be accepted. Is the limit of open files (LimitNOFILE=) too low?");
    }
    sleep(ACCEPT_PAUSE).await;
}
