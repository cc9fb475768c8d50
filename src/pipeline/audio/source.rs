//! A recording's bytes, with sizes in the header of a WAV file that cannot be true put right.
//!
//! Programs that write into a pipe do not know the sizes when they write the header, and a file that was cut off is
//! shorter than it says. The demuxer refuses some of these files, although all the sound is there.

use std::fs::File;
use std::io::{Read, Result, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

/// Where the sizes stand: the start of the file, up to this many bytes.
const HEAD_BYTES: usize = 64 * 1024;

/// The file, with a corrected start.
pub(super) struct Source {
    file: File,
    length: u64,
    position: u64,
    /// The start as it should be; empty when it is left as it is.
    head: Vec<u8>,
}

impl Source {
    /// From the start of the file, wherever it was read to before.
    pub(super) fn new(mut file: File) -> Result<Self> {
        let length = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        let mut head = Vec::new();
        (&mut file).take(HEAD_BYTES as u64).read_to_end(&mut head)?;
        file.rewind()?;
        match head.as_slice() {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => correct_wav(&mut head, length),
            _ => head.clear(),
        }
        Ok(Self { file, length, position: 0, head })
    }
}

/// RIFF: the whole, and the samples, reach to the end of the file at most. A size of 0 was never filled in.
fn correct_wav(head: &mut [u8], length: u64) {
    let mut at = 12;
    while let Some([.., a, b, c, d]) = head.get(at..at + 8) {
        let size = u32::from_le_bytes([*a, *b, *c, *d]);
        let rest = u32::try_from(length.saturating_sub(at as u64 + 8)).unwrap_or(u32::MAX);
        if head[at..].starts_with(b"data") {
            if size == 0 || size > rest {
                head[at + 4..at + 8].copy_from_slice(&rest.to_le_bytes());
                let whole = u32::try_from(length.saturating_sub(8)).unwrap_or(u32::MAX);
                head[4..8].copy_from_slice(&whole.to_le_bytes());
            }
            return;
        }
        // Chunks begin at even places.
        at = at.saturating_add(8).saturating_add(size as usize).saturating_add(size as usize % 2);
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.file.read(buffer)?;
        if let Some(head) = usize::try_from(self.position).ok().and_then(|position| self.head.get(position..)) {
            let corrected = head.len().min(count);
            buffer[..corrected].copy_from_slice(&head[..corrected]);
        }
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        self.position = self.file.seek(to)?;
        Ok(self.position)
    }
}

impl MediaSource for Source {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.length)
    }
}
