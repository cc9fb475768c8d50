//! What a file says of its own length, in the formats whose demuxers do not pass it on or stumble over it.
//!
//! Programs that write into a pipe do not know the sizes when they write the header, and a file that was cut off is
//! shorter than it says. Demuxers refuse some of these files, although there is sound in them.

use std::fs::File;
use std::io::{Read as _, Result, Seek as _, SeekFrom};

/// Sizes from here on stand for "not known yet": sox writes about 2 GB into a pipe, others 4 GB.
const UNKNOWN_SIZE: u32 = 0x7fff_0000;
/// What marks the count of frames in the first frame of an MP3 file (Xing's and Fraunhofer's headers).
const FRAME_COUNTS: [&[u8]; 3] = [b"Xing\0\0\0", b"Info\0\0\0", b"VBRI\0"];
/// No honest file has more boxes at its top.
const MOST_BOXES: usize = 1_000;
/// Matroska's elements (RFC 8794; RFC 9559, section 5.1).
const EBML: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];
const SEGMENT: [u8; 4] = [0x18, 0x53, 0x80, 0x67];

/// What the start of a file tells.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Header {
    /// WAV: the samples that it announces, as so many times those that are there. Known only where it announces more.
    pub(super) times: Option<f64>,
    /// MP3: it announces how many frames there are; else demuxers guess it.
    pub(super) counts_frames: bool,
    /// M4A and `WebM`: the file is shorter than it says.
    pub(super) is_cut_off: bool,
}

impl Header {
    /// Reads the start of a file of this length. Leaves in `head` what is to be read instead of it, if anything.
    pub(super) fn read(file: &mut File, head: &mut Vec<u8>, length: u64) -> Result<Self> {
        let announces_more = |end: Option<u64>| end.is_some_and(|end| end > length);
        let mut header = Self::default();
        match head.as_slice() {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => {
                return Ok(Self { times: correct_wav(head, length), ..header });
            }
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => header.is_cut_off = announces_more(end_of_boxes(file, length)?),
            start if start.starts_with(&EBML) => header.is_cut_off = announces_more(end_of_segment(start)),
            start => header.counts_frames = FRAME_COUNTS.iter().any(|mark| holds(start, mark)),
        }
        head.clear();
        Ok(header)
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|at| at == part)
}

/// RIFF: the whole, and the samples, reach to the end of the file at most. A size of 0 was never filled in. Gives back
/// how many times the samples that are there were announced, if it was more and can be true.
fn correct_wav(head: &mut [u8], length: u64) -> Option<f64> {
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
            return (rest > 0 && (rest..UNKNOWN_SIZE).contains(&size)).then(|| f64::from(size) / f64::from(rest));
        }
        // Chunks begin at even places.
        at = at.saturating_add(8).saturating_add(size as usize).saturating_add(size as usize % 2);
    }
    None
}

/// Where the last box of an MP4 file ends (ISO/IEC 14496-12, section 4.2): a size, a type, and for large ones the size
/// once more. `None` when the last one goes on for ever.
fn end_of_boxes(file: &mut File, length: u64) -> Result<Option<u64>> {
    let mut at = 0_u64;
    for _ in 0..MOST_BOXES {
        let mut start = [0; 16];
        if at.saturating_add(start.len() as u64) > length {
            break;
        }
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut start)?;
        let [a, b, c, d, _, _, _, _, large @ ..] = start;
        let size = match u32::from_be_bytes([a, b, c, d]) {
            1 => u64::from_be_bytes(large),
            size => u64::from(size),
        };
        if size < 8 {
            return Ok(None);
        }
        at = at.saturating_add(size);
    }
    Ok(Some(at))
}

/// Where the segment ends that has all the sound. `None` when its size is not known, or it is not where it should be.
fn end_of_segment(head: &[u8]) -> Option<u64> {
    let (size, read) = variable_size(head.get(EBML.len()..)?)?;
    let at = usize::try_from(size?).ok()?.checked_add(EBML.len() + read)?;
    let segment = head.get(at..)?.strip_prefix(&SEGMENT)?;
    let (size, read) = variable_size(segment)?;
    size?.checked_add((at + SEGMENT.len() + read) as u64)
}

/// A size of one to eight bytes, whose first bits say how many, and how many there were; all bits set = not known.
fn variable_size(bytes: &[u8]) -> Option<(Option<u64>, usize)> {
    let length = bytes.first()?.leading_zeros() as usize + 1;
    let read = bytes.get(..length).filter(|_| length <= 8)?;
    let value = read.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    let unknown = (1 << (7 * length)) - 1;
    let value = value & unknown;
    Some(((value != unknown).then_some(value), length))
}
