//! Connections that can be cut from the inside: an HTTP server always finds some answer, a broken machine does not.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use poem::http::uri::Scheme;
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The open connections by the address of their client. Copies share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections(Arc<Mutex<HashMap<SocketAddr, CancellationToken>>>);

/// A listener whose connections stand in [`Connections`].
pub(super) struct Listening {
    listener: TcpListener,
    address: SocketAddr,
    connections: Connections,
}

/// One connection. Fails as soon as it is cut.
pub(super) struct Line {
    stream: TcpStream,
    client: SocketAddr,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    connections: Connections,
}

impl Connections {
    pub(super) fn listen(&self, listener: TcpListener) -> io::Result<Listening> {
        Ok(Listening { address: listener.local_addr()?, listener, connections: self.clone() })
    }

    /// Ends a client's connection with a reset; nothing more is sent or read on it.
    pub(super) fn cut(&self, client: &RemoteAddr) {
        let line = client.as_socket_addr().and_then(|address| self.lines().get(address).cloned());
        if let Some(line) = line {
            line.cancel();
        }
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Acceptor for Listening {
    type Io = Line;

    fn local_addr(&self) -> Vec<LocalAddr> {
        vec![LocalAddr(self.address.into())]
    }

    async fn accept(&mut self) -> io::Result<(Line, LocalAddr, RemoteAddr, Scheme)> {
        let (stream, client) = self.listener.accept().await?;
        let token = CancellationToken::new();
        self.connections.lines().insert(client, token.clone());
        let cut = Box::pin(token.cancelled_owned());
        let line = Line { stream, client, cut, connections: self.connections.clone() };
        Ok((line, LocalAddr(self.address.into()), RemoteAddr(client.into()), Scheme::HTTP))
    }
}

impl Line {
    fn alive(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.cut.as_mut().poll(context).is_pending() {
            return Ok(());
        }
        // With nothing to wait for, closing sends a reset.
        self.stream.set_zero_linger()?;
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.connections.lines().remove(&self.client);
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.alive(context)?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.alive(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
