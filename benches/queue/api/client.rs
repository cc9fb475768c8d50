//! One kept connection, with a client so thin that it takes little from the server, which shares its cores.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    key: String,
}

impl Client {
    /// Waits for a server that is starting.
    pub(super) async fn connect(port: u16, key: &str) -> anyhow::Result<Self> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Self { stream, buffer: Vec::new(), key: key.to_owned() });
                }
                Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => return Err(error).context("serve did not start"),
            }
        }
    }

    /// The body of an answer that is good.
    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<String> {
        self.send(path).await?;
        loop {
            self.read_some(path).await?;
            let Some(head) = find(&self.buffer, b"\r\n\r\n") else { continue };
            let text = std::str::from_utf8(&self.buffer[..head])?;
            let length = text.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            let body = head + 4;
            if self.buffer.len() >= body + length.context("the answer has a length")? {
                ensure!(text.starts_with("HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&self.buffer));
                return Ok(String::from_utf8_lossy(&self.buffer[body..]).into_owned());
            }
        }
    }

    /// How many lines an answer without a length has.
    pub(super) async fn count_lines(mut self, path: &str) -> anyhow::Result<usize> {
        self.send(path).await?;
        let mut lines = 0;
        loop {
            self.read_some(path).await?;
            // What separates the chunks has line ends, too, and none of the file's is alone.
            let ends = self.buffer.ends_with(b"0\r\n\r\n");
            lines += self.buffer.windows(5).filter(|window| window == b"USD\r\n").count();
            if ends {
                return Ok(lines + 1);
            }
            let keep = self.buffer.len().saturating_sub(4);
            self.buffer.drain(..keep);
        }
    }

    async fn send(&mut self, path: &str) -> anyhow::Result<()> {
        self.buffer.clear();
        let key = &self.key;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n");
        Ok(self.stream.write_all(request.as_bytes()).await?)
    }

    async fn read_some(&mut self, path: &str) -> anyhow::Result<()> {
        ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "{path}: the server closed the connection");
        Ok(())
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
