//! Damaged recordings: whatever they hold, the answer comes soon, and is pieces or a reason.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rstest::rstest;

use super::shapes::shape;
use super::{AudioError, ends_early, fixture, pieces_of_bytes};

const SHAPES: [&str; 11] = [
    "mu-law.wav",
    "a-law.wav",
    "tagged.mp3",
    "bare.mp3",
    "vorbis.ogg",
    "opus.ogg",
    "opus.webm",
    "call.flac",
    "index-last.m4a",
    "index-first.m4a",
    "call.aac",
];
/// Of each shape and kind; 220 files in all.
const EACH: u64 = 4;
const LONGEST: Duration = Duration::from_secs(10);

enum Damage {
    FlippedBits,
    FlippedHeader,
    Truncated,
    SwappedHeader,
    Shuffled,
}

impl Damage {
    fn done_to(&self, bytes: &mut Vec<u8>, random: &mut StdRng) {
        match self {
            Self::FlippedBits => flip(bytes, 64, random),
            Self::FlippedHeader => flip(&mut bytes[..200], 8, random),
            Self::Truncated => bytes.truncate(random.random_range(0..bytes.len())),
            Self::SwappedHeader => {
                let other = std::fs::read(shape(SHAPES[random.random_range(0..SHAPES.len())])).unwrap();
                let length = random.random_range(16..400);
                bytes[..length].copy_from_slice(&other[..length]);
            }
            Self::Shuffled => {
                for _ in 0..8 {
                    let length = random.random_range(1..1_000);
                    let from = random.random_range(0..bytes.len() - length);
                    let to = random.random_range(0..bytes.len() - length);
                    bytes.copy_within(from..from + length, to);
                }
            }
        }
    }
}

fn flip(bytes: &mut [u8], times: usize, random: &mut StdRng) {
    for _ in 0..times {
        let at = random.random_range(0..bytes.len());
        bytes[at] ^= 1 << random.random_range(0..8);
    }
}

#[rstest]
#[case(Damage::FlippedBits, 1)]
#[case(Damage::FlippedHeader, 2)]
#[case(Damage::Truncated, 3)]
#[case(Damage::SwappedHeader, 4)]
#[case(Damage::Shuffled, 5)]
fn a_damaged_recording_ends_soon_with_pieces_or_a_reason(#[case] damage: Damage, #[case] seed: u64) {
    for (shape_number, name) in SHAPES.iter().enumerate() {
        for variant in 0..EACH {
            let mut random = StdRng::seed_from_u64(seed * 1_000_000 + shape_number as u64 * 1_000 + variant);
            let mut bytes = std::fs::read(shape(name)).unwrap();
            damage.done_to(&mut bytes, &mut random);
            let began = Instant::now();
            let outcome = pieces_of_bytes(&bytes);
            assert!(began.elapsed() < LONGEST, "{name} {variant} took {:?}", began.elapsed());
            match outcome {
                Ok((_, pieces)) => assert!(pieces.iter().all(|piece| piece.seconds() <= 30.0), "{name} {variant}"),
                Err(AudioError::Unsupported(reason)) => assert!(!reason.is_empty(), "{name} {variant}"),
                Err(AudioError::Io(error)) => panic!("{name} {variant}: {error}"),
            }
        }
    }
}

#[rstest]
#[case("tagged.mp3")]
#[case("opus.ogg")]
#[case("vorbis.ogg")]
#[case("call.flac")]
#[case("call.aac")]
#[case("index-first.m4a")]
#[case("opus.webm")]
#[case("live.webm")]
fn what_was_cut_off_is_heard_as_far_as_it_goes(#[case] name: &str) {
    let whole = std::fs::read(shape(name)).unwrap();
    let (_, pieces) = pieces_of_bytes(&whole[..whole.len() * 2 / 3]).unwrap();
    assert!(pieces.iter().any(|piece| piece.channel == 0), "the first speaker is heard");
}

/// These announce how long they are; the others do not know it themselves.
#[rstest]
#[case("mu-law.wav", true)]
#[case("a-law.wav", true)]
#[case("tagged.mp3", true)]
#[case("call.flac", true)]
#[case("index-first.m4a", true)]
#[case("opus.webm", true)]
#[case("bare.mp3", false)]
#[case("vorbis.ogg", false)]
#[case("opus.ogg", false)]
#[case("call.aac", false)]
#[case("live.webm", false)]
fn what_was_cut_off_says_how_much_is_missing(#[case] name: &str, #[case] known: bool) {
    let whole = std::fs::read(shape(name)).unwrap();
    assert_eq!(ends_early(&whole), None, "nothing is missing");
    let early = ends_early(&whole[..whole.len() / 2]);
    assert_eq!(early.is_some(), known);
    if let Some((heard, promised)) = early {
        assert!((1..=3).contains(&heard) && promised == 5, "{heard} of {promised}");
    }
}

/// Programs that write into a pipe cannot know the sizes when they write the header.
#[rstest]
#[case::unknown(u32::MAX, u32::MAX)]
#[case::never_filled_in(0, 0)]
#[case::longer_than_the_file(u32::MAX, u32::MAX - 36)]
#[case::data_longer_than_the_rest(417_956, u32::MAX)]
fn a_wav_file_with_wrong_sizes_is_heard_as_far_as_it_goes(#[case] riff: u32, #[case] data: u32) {
    let mut bytes = std::fs::read(fixture("mono.wav")).unwrap();
    bytes[4..8].copy_from_slice(&riff.to_le_bytes());
    bytes[40..44].copy_from_slice(&data.to_le_bytes());
    assert!(!pieces_of_bytes(&bytes).unwrap().1.is_empty());
    assert_eq!(ends_early(&bytes), None, "nobody knows of anything that is missing");
}
