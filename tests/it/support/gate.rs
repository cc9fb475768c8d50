//! A gate in front of an upstream: lets everything pass, or holds requests or answers until it is told otherwise.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Open,
    /// Requests are taken and do not arrive.
    HoldRequests,
    /// Requests arrive, answers do not.
    HoldAnswers,
    /// What is held never arrives, and nobody is let in.
    Shut,
}

pub struct GatedUpstream {
    pub address: SocketAddr,
    gate: watch::Sender<Gate>,
    bytes: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    burial: watch::Sender<()>,
    _door: AbortOnDropHandle<()>,
}

/// Where a gate leads.
#[derive(Clone)]
enum Upstream {
    Address(SocketAddr),
    Socket(PathBuf),
}

impl Upstream {
    async fn connect(
        &self,
    ) -> std::io::Result<(Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>)> {
        Ok(match self {
            Self::Address(address) => {
                let (from, to) = TcpStream::connect(address).await?.into_split();
                (Box::new(from), Box::new(to))
            }
            Self::Socket(path) => {
                let (from, to) = UnixStream::connect(path).await?.into_split();
                (Box::new(from), Box::new(to))
            }
        })
    }
}

impl GatedUpstream {
    pub async fn to(upstream: SocketAddr) -> Self {
        Self::before(Upstream::Address(upstream)).await
    }

    /// In front of the database of this address, which is one of a socket; gives back its address through the gate, too.
    pub async fn to_database(url: &str) -> (Self, String) {
        let behind = PgConnectOptions::from_str(url).unwrap();
        let socket = behind.get_socket().unwrap().join(format!(".s.PGSQL.{}", behind.get_port()));
        let gate = Self::before(Upstream::Socket(socket)).await;
        let url = format!("postgres://postgres@{}/{}", gate.address, behind.get_database().unwrap());
        (gate, url)
    }

    async fn before(upstream: Upstream) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (gate, seen) = watch::channel(Gate::Open);
        let bytes = Arc::<AtomicUsize>::default();
        let counted = bytes.clone();
        let connections = Arc::<AtomicUsize>::default();
        let open = connections.clone();
        let (burial, buried) = watch::channel(());
        let door = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut buried = buried.clone();
                buried.mark_unchanged();
                let (upstream, seen, counted, open) = (upstream.clone(), seen.clone(), counted.clone(), open.clone());
                tokio::spawn(async move {
                    let Ok((from_server, to_server)) = upstream.connect().await else { return };
                    open.fetch_add(1, Ordering::SeqCst);
                    let (from_client, to_client) = client.into_split();
                    tokio::join!(
                        pump(from_client, to_server, seen.clone(), buried.clone(), Gate::HoldRequests, Some(counted)),
                        pump(from_server, to_client, seen, buried, Gate::HoldAnswers, None),
                    );
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, gate, bytes, connections, burial, _door: AbortOnDropHandle::new(door) }
    }

    pub fn set(&self, gate: Gate) {
        self.gate.send_replace(gate);
    }

    /// Drops what is held and waits until nothing of it can arrive any more; then lets everything pass.
    pub async fn drop_held(&self) {
        self.set(Gate::Shut);
        while self.connections.load(Ordering::SeqCst) > 0 {
            sleep(Duration::from_millis(10)).await;
        }
        self.set(Gate::Open);
    }

    /// From now on nothing passes through the connections that there are, and nobody is told; new ones work.
    pub fn bury_connections(&self) {
        self.burial.send_replace(());
    }

    /// The same address as `url`, through the gate.
    pub fn url(&self, url: &Url) -> Url {
        let mut gated = url.clone();
        gated.set_port(Some(self.address.port())).unwrap();
        gated
    }

    /// Waits until a client has sent something since `earlier`.
    pub async fn until_knocked(&self, earlier: usize) {
        while self.knocks() == earlier {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Bytes that clients have sent so far.
    pub fn knocks(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut gate: watch::Receiver<Gate>,
    buried: watch::Receiver<()>,
    held_by: Gate,
    counted: Option<Arc<AtomicUsize>>,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut shut = gate.clone();
    loop {
        // A connection on which nothing happens ends as well when the gate is shut.
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            () = async { drop(shut.wait_for(|gate| *gate == Gate::Shut).await) } => break,
        };
        let Ok(count @ 1..) = read else { break };
        if let Some(counted) = &counted {
            counted.fetch_add(count, Ordering::SeqCst);
        }
        if buried.has_changed().is_ok_and(|changed| changed) {
            std::future::pending::<()>().await;
        }
        let passes = gate.wait_for(|gate| *gate != held_by).await.is_ok_and(|gate| *gate != Gate::Shut);
        if !passes || to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    to.shutdown().await.ok();
}
