//! What hyper refuses by itself, before there is a request: headers that are too large or that nobody can read. It answers
//! with a bare status line and closes; here a problem takes the place of that, and whoever is still writing gets time to
//! read it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt as _;
use poem::Response;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::HEADER_BYTES;
use crate::http::envelope::RequestId;
use crate::http::problem::Problem;

/// So much of a refused request is read and thrown away: to close on what was not read would be a reset, and the client
/// would not see why (RFC 9112, section 9.6).
const LINGER_BYTES: usize = 4 << 20;
const LINGER_TIME: Duration = Duration::from_secs(2);
/// hyper's bare answers are shorter.
const LONGEST_BARE: usize = 256;

/// The bytes of a connection, with hyper's bare refusals exchanged for problems.
pub struct Courteous<S> {
    stream: S,
    /// The rest of a problem that has to be written yet.
    problem: Vec<u8>,
    /// Since a refusal: how long, and how much, to listen on.
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Courteous<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, problem: Vec::new(), linger: None }
    }

    /// Whether these bytes are a bare refusal, which is then taken as written.
    fn exchange(&mut self, bytes: &[u8]) -> bool {
        let Some(problem) = problem_of(bytes) else { return false };
        self.problem = bytes_of(problem);
        self.linger = Some((Box::pin(sleep(LINGER_TIME)), LINGER_BYTES));
        true
    }

    fn poll_problem(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.problem.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.problem))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.problem.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the client has closed, or has had its time.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some((time, bytes)) = &mut self.linger else { return Poll::Ready(()) };
        let mut scrap = [0; 8 << 10];
        while *bytes > 0 && time.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut scrap);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => *bytes = bytes.saturating_sub(buffer.filled().len()),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

/// Our own answers have a request id; hyper's have not even a body.
fn problem_of(bytes: &[u8]) -> Option<Problem> {
    let status = bytes.strip_prefix(b"HTTP/1.1 ")?.first_chunk::<3>()?;
    if bytes.len() > LONGEST_BARE || !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let text = str::from_utf8(bytes).ok()?.to_ascii_lowercase();
    if !text.contains("\r\ncontent-length: 0\r\n") || text.contains("\r\nx-request-id:") {
        return None;
    }
    match status {
        b"431" => Some(Problem::headers_too_large(HEADER_BYTES)),
        b"414" => Some(Problem::uri_too_long(HEADER_BYTES)),
        b"400" => Some(Problem::unreadable()),
        _ => None,
    }
}

fn bytes_of(problem: Problem) -> Vec<u8> {
    let request_id = RequestId::fresh();
    let mut response: Response = problem.into_response(&request_id);
    // It is there, so nobody waits.
    let body = response.take_body().into_vec().now_or_never().and_then(Result::ok).unwrap_or_default();
    let (status, kind) = (response.status(), response.content_type().unwrap_or_default());
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nx-request-id: {request_id}\r\n\
         x-content-type-options: nosniff\r\ncache-control: no-store\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Courteous<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Courteous<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_problem(context))?;
        if self.exchange(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_problem(context))?;
        if let [only] = slices
            && self.exchange(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_problem(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_problem(context))?;
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        ready!(self.poll_linger(context));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const BARE: &str = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\
                        date: Mon, 05 Jan 2026 10:00:00 GMT\r\n\r\n";

    #[rstest]
    #[case(BARE, Some("headers_too_large"))]
    #[case("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", Some("bad_request"))]
    #[case("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nx-request-id: a\r\n\r\n", None)]
    #[case("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", None)]
    #[case("HTTP/1.1 431 is what hyper says", None)]
    fn only_bare_refusals_are_exchanged(#[case] bytes: &str, #[case] code: Option<&str>) {
        let seen = problem_of(bytes.as_bytes()).map(|problem| problem.to_string());
        assert_eq!(seen.as_deref().and_then(|told| told.split(':').next()), code);
    }

    #[tokio::test]
    async fn a_refused_client_may_end_what_it_writes() {
        let (mut client, server) = duplex(64 << 10);
        let mut server = Courteous::new(server);
        let serving = tokio::spawn(async move {
            server.write_all(BARE.as_bytes()).await.unwrap();
            server.shutdown().await.unwrap();
        });
        client.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 431 ") && answer.contains("\"code\":\"headers_too_large\""), "{answer}");
        drop(client);
        serving.await.unwrap();
    }
}
