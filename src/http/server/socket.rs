//! The listening socket that was handed over: `sd_listen_fds(3)`, what systemd calls socket activation.
//!
//! Who holds the socket while processes come and go (`systemd/goto-automation-serve.socket`) loses no connection: the
//! kernel queues those that come while nobody accepts.

use std::io;

use listenfd::ListenFd;
use tokio::net::TcpListener;

/// The socket of `LISTEN_FDS` and `LISTEN_PID`; `None` if none was handed over to this process.
///
/// To be called once and first of all: it takes both variables away, so that no child process believes them to be its
/// own, and nobody else may be reading the environment meanwhile.
pub fn handed_over() -> io::Result<Option<TcpListener>> {
    let mut sockets = ListenFd::from_env();
    if sockets.len() > 1 {
        let problem = format!("{} sockets were handed over in LISTEN_FDS, and one is used", sockets.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let Some(listener) = sockets.take_tcp_listener(0)? else { return Ok(None) };
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(Some)
}
