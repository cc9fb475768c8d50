//! A recording's bytes, for demuxers that refuse a file which is shorter than it says, although there is sound in it.

use std::fs::File;
use std::io::{Read, Result, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

use super::header::Header;

/// Where the sizes stand: the start of the file, up to this many bytes.
const HEAD_BYTES: usize = 64 * 1024;

/// The file, with a corrected start.
pub(super) struct Source {
    file: File,
    /// `None` for a file that was cut off: demuxers that know its length refuse to read what is there, or look for an
    /// index at the end that is not there.
    length: Option<u64>,
    position: u64,
    /// The start as it should be; empty when it is left as it is.
    head: Vec<u8>,
}

impl Source {
    /// From the start of the file, wherever it was read to before.
    pub(super) fn new(mut file: File) -> Result<(Self, Header)> {
        let length = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        let mut head = Vec::new();
        (&mut file).take(HEAD_BYTES as u64).read_to_end(&mut head)?;
        let header = Header::read(&mut file, &mut head, length)?;
        let length = (!header.is_cut_off).then_some(length);
        file.rewind()?;
        Ok((Self { file, length, position: 0, head }, header))
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
        self.length.is_some()
    }

    fn byte_len(&self) -> Option<u64> {
        self.length
    }
}
