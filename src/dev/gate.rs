//! A gate in front of a server, for those who try what becomes of its clients on a bad day: it lets everything pass, slows
//! it down, holds it, swallows it or breaks it off. It knows bytes only, so it stands before HTTP as before PostgreSQL.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// What a client says first is kept so far, to know its connection again.
const INTRODUCTION: usize = 1024;

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Everything.
    Open,
    /// Everything, and each piece so much later.
    Slow(Duration),
    /// Requests are taken and do not arrive.
    HoldRequests,
    /// Requests arrive, answers do not.
    HoldAnswers,
    /// Nothing in either direction, without a word: a network that swallows everything. What was sent meanwhile arrives
    /// when the gate opens, as TCP repeats it.
    BlackHole,
    /// What is held never arrives, and nobody is let in.
    Shut,
}

/// A server behind a gate. The gate goes when this is dropped.
#[derive(Debug)]
pub struct GatedUpstream {
    /// Where clients connect to.
    pub address: SocketAddr,
    gate: watch::Sender<Gate>,
    bytes: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    burial: watch::Sender<String>,
    cut: watch::Sender<()>,
    _door: AbortOnDropHandle<()>,
}

/// Where a gate leads.
#[derive(Debug, Clone)]
enum Upstream {
    Address(SocketAddr),
    Socket(PathBuf),
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

impl GatedUpstream {
    /// In front of this address.
    pub async fn to(upstream: SocketAddr) -> anyhow::Result<Self> {
        Self::before(Upstream::Address(upstream)).await
    }

    /// In front of the database of this address, which is one of a socket; gives back its address through the gate, too.
    pub async fn to_database(url: &str) -> anyhow::Result<(Self, String)> {
        let behind = PgConnectOptions::from_str(url)?;
        let socket = behind.get_socket().context("not the address of a socket")?;
        let gate = Self::before(Upstream::Socket(socket.join(format!(".s.PGSQL.{}", behind.get_port())))).await?;
        let database = behind.get_database().unwrap_or(behind.get_username());
        let url = format!("postgres://{}@{}/{database}", behind.get_username(), gate.address);
        Ok((gate, url))
    }

    async fn before(upstream: Upstream) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (gate, watched) = watch::channel(Gate::Open);
        let (burial, buried) = watch::channel(String::new());
        let (cut, cutting) = watch::channel(());
        let (bytes, connections) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (counted, open) = (bytes.clone(), connections.clone());
        let door = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let line = Line::new(watched.clone(), buried.clone(), counted.clone());
                let mut cutting = cutting.clone();
                cutting.mark_unchanged();
                tokio::spawn(line.connect(client, upstream.clone(), open.clone(), cutting));
            }
        });
        Ok(Self { address, gate, bytes, connections, burial, cut, _door: AbortOnDropHandle::new(door) })
    }

    /// From now on this passes.
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

    /// Resets all connections that there are; new ones work.
    pub fn cut_connections(&self) {
        self.cut.send_replace(());
    }

    /// From now on nothing passes through the connections that there are, and nobody is told; new ones work.
    pub fn bury_connections(&self) {
        self.bury_connections_of("");
    }

    /// The same for those whose client has named itself so in its first words, such as the `application_name` of a
    /// connection to PostgreSQL.
    pub fn bury_connections_of(&self, name: &str) {
        self.burial.send_replace(name.to_owned());
    }

    /// The same address as `url`, through the gate.
    pub fn url(&self, url: &Url) -> Url {
        let mut gated = url.clone();
        gated.set_port(Some(self.address.port())).expect("an address with a port");
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

impl Upstream {
    async fn connect(&self) -> std::io::Result<(Reader, Writer)> {
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

/// One connection through the gate. Clones are its two directions.
#[derive(Clone)]
struct Line {
    gate: watch::Receiver<Gate>,
    buried: watch::Receiver<String>,
    counted: Arc<AtomicUsize>,
    introduction: Arc<Mutex<Vec<u8>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

impl Line {
    fn new(gate: watch::Receiver<Gate>, mut buried: watch::Receiver<String>, counted: Arc<AtomicUsize>) -> Self {
        buried.mark_unchanged();
        Self { gate, buried, counted, introduction: Arc::default() }
    }

    async fn connect(
        self,
        client: TcpStream,
        upstream: Upstream,
        open: Arc<AtomicUsize>,
        mut cut: watch::Receiver<()>,
    ) {
        let Ok((mut from_server, mut to_server)) = upstream.connect().await else { return };
        open.fetch_add(1, Ordering::SeqCst);
        let (mut from_client, mut to_client) = client.into_split();
        let talk = async {
            tokio::join!(
                self.clone().pump(&mut from_client, &mut to_server, Way::ToServer),
                self.clone().pump(&mut from_server, &mut to_client, Way::ToClient),
            );
        };
        tokio::select! {
            () = talk => {}
            // With nothing to wait for, closing sends a reset.
            _ = cut.changed() => drop(from_client.as_ref().set_zero_linger()),
        }
        open.fetch_sub(1, Ordering::SeqCst);
    }

    async fn pump(mut self, from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), way: Way) {
        let mut buffer = vec![0; 16 * 1024];
        let mut shut = self.gate.clone();
        loop {
            // A connection on which nothing happens ends as well when the gate is shut.
            let read = tokio::select! {
                read = from.read(&mut buffer) => read,
                () = async { drop(shut.wait_for(|gate| *gate == Gate::Shut).await) } => break,
            };
            let Ok(count @ 1..) = read else { break };
            if way == Way::ToServer {
                self.counted.fetch_add(count, Ordering::SeqCst);
                self.introduce(&buffer[..count]);
            }
            if self.is_buried() {
                std::future::pending::<()>().await;
            }
            let passing = self.gate.wait_for(|gate| gate.lets_pass(way)).await.map_or(Gate::Shut, |gate| *gate);
            if let Gate::Slow(delay) = passing {
                sleep(delay).await;
            }
            if passing == Gate::Shut || to.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
        to.shutdown().await.ok();
    }

    fn introduce(&self, said: &[u8]) {
        let mut kept = self.introduction.lock().unwrap_or_else(PoisonError::into_inner);
        let room = INTRODUCTION.saturating_sub(kept.len()).min(said.len());
        kept.extend_from_slice(&said[..room]);
    }

    fn is_buried(&self) -> bool {
        let changed = self.buried.has_changed().unwrap_or(false);
        changed && {
            let name = self.buried.borrow();
            let kept = self.introduction.lock().unwrap_or_else(PoisonError::into_inner);
            name.is_empty() || kept.windows(name.len()).any(|words| words == name.as_bytes())
        }
    }
}

impl Gate {
    fn lets_pass(self, way: Way) -> bool {
        match self {
            Self::HoldRequests => way == Way::ToClient,
            Self::HoldAnswers => way == Way::ToServer,
            Self::BlackHole => false,
            Self::Open | Self::Slow(_) | Self::Shut => true,
        }
    }
}
