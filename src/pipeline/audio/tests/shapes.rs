//! Recordings of every format, rate and number of channels.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavSpec, WavWriter};
use rstest::rstest;

use super::{Channels, Piece, fixture, pieces_of, pieces_of_bytes};

/// Where the agent and then the customer begin in `fixtures/shapes`, in milliseconds.
const STARTS: [(usize, i64); 2] = [(0, 0), (1, 2_460)];

pub(super) fn shape(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/shapes").join(name)
}

fn voice_starts(pieces: &[Piece]) -> Vec<(usize, i64)> {
    pieces.iter().map(|piece| (piece.channel, piece.start_ms + piece.voiced_ms[0].0)).collect()
}

#[rstest]
#[case::pcm_of_8_bits("8 bits", 8_000)]
#[case::pcm_of_16_bits("16 bits", 8_000)]
#[case::pcm_of_24_bits_extensible("24 bits", 8_000)]
#[case::pcm_of_32_bits_extensible("32 bits", 8_000)]
#[case::floats("floats", 8_000)]
#[case("mu-law.wav", 8_000)]
#[case("a-law.wav", 8_000)]
#[case("tagged.mp3", 8_000)]
#[case::mp3_without_any_tag("bare.mp3", 8_000)]
#[case::mp3_at_44100_hertz("cd-rate.mp3", 16_000)]
#[case("vorbis.ogg", 8_000)]
#[case("opus.ogg", 16_000)]
#[case("opus.webm", 16_000)]
#[case::webm_written_into_a_pipe("live.webm", 16_000)]
#[case("call.flac", 8_000)]
#[case("index-last.m4a", 8_000)]
#[case("index-first.m4a", 8_000)]
#[case("call.aac", 8_000)]
fn each_format_has_its_speakers_at_their_time(#[case] name: &str, #[case] rate: u32) {
    let (channels, pieces) =
        if name.contains('.') { pieces_of(&shape(name)) } else { pieces_of_bytes(&wav_of(name)) }.unwrap();
    assert_eq!(channels, Channels::Two);
    let starts = voice_starts(&pieces);
    assert_eq!(starts.len(), 2, "{starts:?}");
    for ((channel, start), (expected_channel, expected)) in starts.into_iter().zip(STARTS) {
        assert_eq!(channel, expected_channel);
        assert!((start - expected).abs() <= 60, "{start} instead of {expected} ms");
    }
    assert!(pieces.iter().all(|piece| piece.rate == rate), "{} Hz", pieces[0].rate);
}

/// The same five seconds as PCM of some width.
fn wav_of(kind: &str) -> Vec<u8> {
    let (bits_per_sample, sample_format) = match kind.split_once(' ') {
        Some((bits, _)) => (bits.parse().unwrap(), SampleFormat::Int),
        None => (32, SampleFormat::Float),
    };
    write_wav(WavSpec { channels: 2, sample_rate: 8_000, bits_per_sample, sample_format }, &call())
}

/// Samples of the five seconds, channel after channel in turn.
fn call() -> Vec<i16> {
    let mut reader = hound::WavReader::open(fixture("double-charge.wav")).unwrap();
    reader.seek(28_000).unwrap();
    reader.samples::<i16>().take(80_000).map(Result::unwrap).collect()
}

pub(super) fn write_wav(spec: WavSpec, samples: &[i16]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
    for sample in samples {
        match spec.sample_format {
            SampleFormat::Float => writer.write_sample(f32::from(*sample) / 32_768.0).unwrap(),
            SampleFormat::Int if spec.bits_per_sample < 16 => writer.write_sample(i32::from(*sample) >> 8).unwrap(),
            SampleFormat::Int => writer.write_sample(i32::from(*sample) << (spec.bits_per_sample - 16)).unwrap(),
        }
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

pub(super) fn spec(channels: u16, sample_rate: u32) -> WavSpec {
    WavSpec { channels, sample_rate, bits_per_sample: 16, sample_format: SampleFormat::Int }
}

#[test]
fn two_channels_with_the_same_sound_are_one_and_sent_once() {
    let agent: Vec<i16> = call().chunks(2).map(|pair| pair[0].midpoint(pair[1])).collect();
    let alone = pieces_of_bytes(&write_wav(spec(1, 8_000), &agent)).unwrap();
    assert_eq!(alone.0, Channels::One);
    let twice: Vec<i16> = agent.iter().flat_map(|sample| [*sample, *sample]).collect();
    assert_eq!(pieces_of_bytes(&write_wav(spec(2, 8_000), &twice)).unwrap(), alone);
    // Softer on one side, and with the small differences that a codec leaves.
    let nearly: Vec<i16> =
        agent.iter().enumerate().flat_map(|(at, sample)| [sample / 2 + (at % 9) as i16 * 8, *sample]).collect();
    assert_eq!(pieces_of_bytes(&write_wav(spec(2, 8_000), &nearly)).unwrap(), alone);
}

#[test]
fn a_side_that_hears_the_other_one_says_nothing_meanwhile() {
    let leaky: Vec<i16> = call().chunks(2).flat_map(|pair| [pair[0] + pair[1] / 8, pair[1] + pair[0] / 8]).collect();
    let (channels, pieces) = pieces_of_bytes(&write_wav(spec(2, 8_000), &leaky)).unwrap();
    assert_eq!((channels, voice_starts(&pieces).len()), (Channels::Two, 2), "{:?}", voice_starts(&pieces));
}

#[test]
fn more_channels_become_one_and_a_crowd_is_refused() {
    let (channels, pieces) = pieces_of(&shape("three-channels.flac")).unwrap();
    assert_eq!((channels, voice_starts(&pieces)), (Channels::One, vec![(0, 0)]));
    let crowd = write_wav(spec(9, 8_000), &vec![1; 9_000]);
    let refused = pieces_of_bytes(&crowd).unwrap_err().to_string();
    assert!(refused.contains('9') || refused.contains("channels"), "{refused}");
}

#[rstest]
#[case(48_000, 16_000)]
#[case(192_000, 16_000)]
#[case(11_025, 11_025)]
fn high_rates_are_brought_down_and_low_ones_left(#[case] rate: u32, #[case] sent: u32) {
    // Two seconds of the agent, played faster or slower than spoken: only the rate matters here.
    let voice: Vec<i16> = call().chunks(2).map(|pair| pair[0]).take(16_000).collect();
    let stretch = (rate / 8_000) as usize;
    let stretched: Vec<i16> = voice.iter().flat_map(|sample| std::iter::repeat_n(*sample, stretch)).collect();
    let (_, pieces) = pieces_of_bytes(&write_wav(spec(1, rate), &stretched)).unwrap();
    assert!(!pieces.is_empty() && pieces.iter().all(|piece| piece.rate == sent));
}

#[test]
fn a_rate_that_no_frame_divides_does_not_drift() {
    let rate = 11_025;
    let voice: Vec<i16> = call().chunks(2).map(|pair| pair[0]).collect();
    let voice: Vec<i16> = (0..voice.len() * rate / 8_000).map(|at| voice[at * 8_000 / rate]).collect();
    let late = [vec![0; 100 * rate], voice.clone()].concat();
    let (_, pieces) = pieces_of_bytes(&write_wav(spec(1, rate as u32), &late)).unwrap();
    let (_, at_once) = pieces_of_bytes(&write_wav(spec(1, rate as u32), &voice)).unwrap();
    let (late, at_once) = (voice_starts(&pieces)[0].1, voice_starts(&at_once)[0].1);
    assert!((late - at_once - 100_000).abs() <= 40, "{late} ms");
}

#[test]
fn an_hour_of_mp3_frames_does_not_drift() {
    let frames = std::fs::read(shape("bare.mp3")).unwrap();
    let samples = frames.len() as i64 / 144 * 576;
    let (_, once) = pieces_of(&shape("bare.mp3")).unwrap();
    let (_, pieces) = pieces_of_bytes(&frames.repeat(48)).unwrap();
    let customer = |pieces: &[Piece]| -> Vec<i64> {
        voice_starts(pieces).into_iter().filter(|(channel, _)| *channel == 1).map(|(_, start)| start).collect()
    };
    let first = customer(&once)[0];
    let starts = customer(&pieces);
    assert_eq!(starts.len(), 48);
    for (turn, start) in starts.iter().enumerate() {
        let expected = first + turn as i64 * samples / 8;
        assert!((start - expected).abs() <= 100, "turn {turn} at {start} instead of {expected} ms");
    }
}
