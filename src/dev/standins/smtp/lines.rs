//! Lines of an SMTP conversation, and the message after DATA.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::MAX_MESSAGE;

/// Octets of a text line with CRLF; RFC 5321 section 4.5.3.1.6.
pub(super) const MAX_TEXT_LINE: u64 = 1000;
/// RFC 5321 section 4.5.3.2.7.
const IDLE: Duration = Duration::from_mins(5);

/// A line as it came.
pub(super) enum Line {
    /// Without its CRLF.
    Whole(Vec<u8>),
    /// Ended by a lone LF, which RFC 5321 section 2.3.8 forbids.
    Bare,
    TooLong,
    /// The client has gone, or said nothing for too long.
    End,
}

/// The next line of at most `limit` octets with its end; what is longer is read over.
pub(super) async fn read_line(stream: &mut (impl AsyncBufRead + Unpin), limit: u64) -> io::Result<Line> {
    let mut too_long = false;
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut *stream).take(limit);
        let Ok(read) = tokio::time::timeout(IDLE, limited.read_until(b'\n', &mut line)).await else {
            return Ok(Line::End);
        };
        let read = read?;
        if line.pop_if(|last| *last == b'\n').is_some() {
            return Ok(if too_long {
                Line::TooLong
            } else if line.pop_if(|last| *last == b'\r').is_some() {
                Line::Whole(line)
            } else {
                Line::Bare
            });
        }
        if (read as u64) < limit {
            return Ok(Line::End);
        }
        too_long = true;
    }
}

/// The message with its dots unstuffed (RFC 5321 section 4.5.2), or a refusal after having read it all. `None` = the
/// client has gone.
pub(super) async fn read_message(
    stream: &mut (impl AsyncBufRead + Unpin),
) -> io::Result<Option<Result<Vec<u8>, &'static str>>> {
    let (mut message, mut refusal) = (Vec::new(), None);
    loop {
        match read_line(stream, MAX_TEXT_LINE).await? {
            Line::End => return Ok(None),
            Line::TooLong => refusal = refusal.or(Some("500 Line too long")),
            Line::Bare => refusal = refusal.or(Some("554 Lines end with CR LF")),
            Line::Whole(line) if line == b"." => return Ok(Some(refusal.map_or(Ok(message), Err))),
            Line::Whole(line) if message.len() + line.len() + 2 <= MAX_MESSAGE => {
                message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
                message.extend_from_slice(b"\r\n");
            }
            Line::Whole(_) => refusal = refusal.or(Some("552 Message too large")),
        }
    }
}

/// Sends a reply of one or more lines.
pub(super) async fn say(stream: &mut (impl AsyncWrite + Unpin), reply: &str) -> io::Result<()> {
    stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
    stream.flush().await
}
