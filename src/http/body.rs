//! Bodies: read with a limit that counts real bytes, a limit for their whole time, and one for the memory of all.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use poem::Request;
use poem::http::header;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::problem::Problem;

/// Most bytes of a body: 1 MiB.
pub const LIMIT: usize = 1 << 20;

/// A larger body is one of a few that are read at the same time: clients that send slowly cannot fill the memory. Those
/// of telephone calls have one or two kB.
const LARGE: usize = 64 << 10;
const LARGE_AT_ONCE: usize = 32;
static LARGE_BODIES: Semaphore = Semaphore::const_new(LARGE_AT_ONCE);

/// So much more of a refused body is read and thrown away: a client that is still writing would else be cut off before
/// it reads why (RFC 9112, section 9.6).
const LINGER_BYTES: u64 = 4 << 20;
const LINGER_TIME: Duration = Duration::from_secs(2);
/// The others wait for their turn, within their time: reading fast is work, and honest requests would wait behind it.
const LINGER_AT_ONCE: usize = 4;
static LINGERING: Semaphore = Semaphore::const_new(LINGER_AT_ONCE);

/// SHA-256 of a request's body, for those who compare requests.
#[derive(Debug, Clone, Copy)]
pub struct BodyHash(pub [u8; 32]);

/// For routes that read their body by themselves: puts in its place one that is there and not too large.
pub async fn bounded(mut request: Request, time_limit: Duration) -> poem::Result<Request> {
    let body = read(&mut request, time_limit).await?;
    request.set_data(BodyHash(Sha256::digest(&body).into()));
    request.set_body(body);
    Ok(request)
}

/// Takes the body out of the request, whose last byte must come within the time. poem's `SizeLimit` would trust
/// `Content-Length` and refuse chunked bodies.
pub async fn read(request: &mut Request, time_limit: Duration) -> Result<Bytes, Problem> {
    let announced = request.header(header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    let awaits_leave = request.headers().contains_key(header::EXPECT);
    let mut body = request.take_body().into_async_read();
    if announced.is_some_and(|length| length > LIMIT) {
        // A client that waits for "100 Continue" has sent nothing yet, and reading would tell it to go on.
        if !awaits_leave {
            linger(body);
        }
        return Err(Problem::too_large(LIMIT));
    }
    let mut bytes = BytesMut::with_capacity(announced.unwrap_or(4096).min(LARGE));
    let mut turn = None;
    let whole = async {
        while body.read_buf(&mut bytes).await? > 0 {
            if bytes.len() > LIMIT {
                return Ok(false);
            }
            if bytes.len() > LARGE && turn.is_none() {
                turn = LARGE_BODIES.acquire().await.ok();
            }
        }
        Ok::<_, std::io::Error>(true)
    };
    match timeout(time_limit, whole).await {
        Ok(Ok(true)) => Ok(bytes.freeze()),
        Ok(Ok(false)) => {
            linger(body);
            Err(Problem::too_large(LIMIT))
        }
        Ok(Err(_)) => Err(Problem::broken_body()),
        Err(_) if bytes.len() > LARGE && turn.is_none() => Err(Problem::overloaded()),
        Err(_) => Err(Problem::body_timeout()),
    }
}

fn linger(body: impl AsyncRead + Send + 'static) {
    tokio::spawn(async move {
        let mut rest = std::pin::pin!(body.take(LINGER_BYTES));
        let thrown_away = async {
            let _turn = LINGERING.acquire().await;
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
        };
        let _ = timeout(LINGER_TIME, thrown_away).await;
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::stream;
    use poem::Body;

    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    fn chunked(chunks: usize) -> (Request, Arc<AtomicUsize>) {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = taken.clone();
        let chunks = (0..chunks).map(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1024]))
        });
        (Request::builder().body(Body::from_bytes_stream(stream::iter(chunks))), taken)
    }

    #[tokio::test]
    async fn a_mebibyte_passes_and_no_byte_more() {
        let (mut request, _) = chunked(1024);
        assert_eq!(read(&mut request, PATIENCE).await.unwrap().len(), LIMIT);
        let (mut request, taken) = chunked(100_000);
        assert!(read(&mut request, PATIENCE).await.unwrap_err().to_string().starts_with("body_too_large"));
        assert!(taken.load(Ordering::Relaxed) <= 1030, "not read to its end");
        let mut announced = Request::builder().header("content-length", LIMIT + 1).body(Body::empty());
        assert!(read(&mut announced, PATIENCE).await.unwrap_err().to_string().starts_with("body_too_large"));
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let mut request = Request::builder().body(Body::from_bytes_stream(stream::pending::<std::io::Result<Bytes>>()));
        let given_up = read(&mut request, Duration::ZERO).await.unwrap_err();
        assert!(given_up.to_string().starts_with("body_timeout"));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_refused() {
        let broken = stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))]);
        let mut request = Request::builder().body(Body::from_bytes_stream(broken));
        assert!(read(&mut request, PATIENCE).await.unwrap_err().to_string().starts_with("broken_body"));
    }

    /// The only test of this process that takes the turns away.
    #[tokio::test]
    async fn a_large_body_waits_for_its_turn_and_a_small_one_does_not() {
        let held = LARGE_BODIES.acquire_many(LARGE_AT_ONCE as u32).await.unwrap();
        assert_eq!(read(&mut chunked(64).0, PATIENCE).await.unwrap().len(), LARGE);
        let (mut request, _) = chunked(65);
        let waiting = read(&mut request, PATIENCE);
        let (body, ()) = tokio::join!(waiting, async { drop(held) });
        assert_eq!(body.unwrap().len(), 65 << 10);
    }
}
