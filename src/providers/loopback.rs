//! Test support: an HTTP server on loopback that answers what the test says, byte for byte.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with a request.
#[derive(Clone)]
pub enum Reply {
    /// Writes these bytes and closes.
    Bytes(Vec<u8>),
    /// Writes these bytes and then nothing, without closing.
    Hang(Vec<u8>),
    /// Writes the first bytes, then the second again and again.
    Endless(Vec<u8>, Vec<u8>),
}

/// A server that lives as long as the test's runtime.
pub struct Loopback {
    /// Where it listens.
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<String>>>,
}

impl Loopback {
    /// Starts a server that asks `answer` what to do with each request (head and body as text).
    pub async fn start(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), received.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, log) = (answer.clone(), log.clone());
                tokio::spawn(async move {
                    let _ = serve(stream, answer.as_ref(), &log).await;
                });
            }
        });
        Self { address, received }
    }

    /// A server that gives these answers in turn, the last one for ever.
    pub async fn script(answers: Vec<Vec<u8>>) -> Self {
        let next = Mutex::new(0);
        Self::start(move |_| {
            let mut next = next.lock().unwrap();
            let answer = answers[(*next).min(answers.len() - 1)].clone();
            *next += 1;
            Reply::Bytes(answer)
        })
        .await
    }

    /// A URL where nobody listens.
    pub async fn closed_url(path: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}{path}", listener.local_addr().unwrap())
    }

    /// A URL of this server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far, head and body as text.
    pub fn requests(&self) -> Vec<String> {
        self.received.lock().unwrap().clone()
    }
}

/// An HTTP answer with `Content-Length` and `Connection: close`.
pub fn http(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    for (name, value) in headers {
        let _ = write!(answer, "{name}: {value}\r\n");
    }
    answer.push_str("\r\n");
    [answer.as_bytes(), body].concat()
}

async fn serve(
    mut stream: TcpStream,
    answer: &(dyn Fn(&str) -> Reply + Send + Sync),
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let request = read_request(&mut stream).await?;
    log.lock().unwrap().push(request.clone());
    match answer(&request) {
        Reply::Bytes(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        Reply::Hang(bytes) => {
            stream.write_all(&bytes).await?;
            std::future::pending().await
        }
        Reply::Endless(head, chunk) => {
            stream.write_all(&head).await?;
            loop {
                stream.write_all(&chunk).await?;
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&request);
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if request.len() >= head.len() + 4 + length.unwrap_or(0usize) {
            return Ok(text.into_owned());
        }
    }
}
