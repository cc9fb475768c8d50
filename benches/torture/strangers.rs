//! Strangers at the door: plain sockets with bytes that were made beforehand, from addresses that no honest sender has.
//! They share the machine with what they try, so they must cost next to nothing.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// Addresses that they come from.
pub const ADDRESSES: usize = 25;

/// The path that they all ask for, and their host.
pub const HEAD: &str = "POST /webhooks/goto/call-ended HTTP/1.1\r\nHost: calls.example.com\r\n";

/// A connection from the address of this stranger.
pub async fn connect(server: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((address(number), 0)))?;
    socket.connect(server).await
}

/// Reads one answer to its end, and gives back its status.
pub async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<u16> {
    let mut told = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut told).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(status) = status_of_whole(&told) {
            return Ok(status);
        }
    }
}

fn address(number: usize) -> Ipv4Addr {
    let host = (number % ADDRESSES) as u8;
    Ipv4Addr::new(127, 0, 1 + host / 5, 1 + host % 5)
}

/// `None` while something of the answer is still to come.
fn status_of_whole(told: &[u8]) -> Option<u16> {
    let end = told.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = str::from_utf8(&told[..end]).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or_default();
    (told.len() >= end + length).then(|| head.split(' ').nth(1)?.parse().ok()).flatten()
}
