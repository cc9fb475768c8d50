use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rstest::rstest;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{AudioError, Channels, Piece, cut};

mod damage;
mod shapes;
mod sounds;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/calls").join(name)
}

fn pieces_of(path: &Path) -> Result<(Channels, Vec<Piece>), AudioError> {
    pieces_in(File::open(path).unwrap())
}

/// As if these bytes were a recording.
fn pieces_of_bytes(bytes: &[u8]) -> Result<(Channels, Vec<Piece>), AudioError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    pieces_in(file)
}

fn pieces_in(file: File) -> Result<(Channels, Vec<Piece>), AudioError> {
    let (send, mut receive) = mpsc::channel(1_000);
    let channels = cut(file, &send)?.channels;
    drop(send);
    Ok((channels, std::iter::from_fn(|| receive.blocking_recv()).collect()))
}

/// What the recording lacks at its end.
fn ends_early(bytes: &[u8]) -> Option<(i64, i64)> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let (send, _receive) = mpsc::channel(1_000);
    cut(file, &send).unwrap().ends_early.map(|early| (early.heard_seconds, early.promised_seconds))
}

/// Who speaks from when to when, in milliseconds, and with which words.
fn truth(name: &str) -> Vec<(usize, i64, i64, String)> {
    let json: Value = serde_json::from_slice(&std::fs::read(fixture(&format!("{name}.json"))).unwrap()).unwrap();
    let turns = json["segments"].as_array().unwrap().iter().map(|turn| {
        let channel = usize::from(turn["channel"] == "customer");
        let ms = |key: &str| (turn[key].as_f64().unwrap() * 1000.0) as i64;
        (channel, ms("start"), ms("end"), turn["text"].as_str().unwrap().to_owned())
    });
    turns.collect()
}

#[rstest]
#[case("double-charge")]
#[case("delivery-late")]
#[case("appointment")]
#[case("monologue")]
#[case("mono")]
fn each_turn_is_heard_where_it_is_spoken(#[case] name: &str) {
    let (channels, pieces) = pieces_of(&fixture(&format!("{name}.wav"))).unwrap();
    assert_eq!(channels, if name == "mono" { Channels::One } else { Channels::Two });
    for piece in &pieces {
        assert!(piece.seconds() <= 30.0, "a piece of {} s", piece.seconds());
    }
    for (channel, start, end, text) in truth(name) {
        let voiced: i64 = pieces
            .iter()
            .filter(|piece| piece.channel == channel)
            .flat_map(|piece| piece.voiced_ms.iter().map(|(s, e)| (piece.start_ms + s, piece.start_ms + e)))
            .map(|(s, e)| (e.min(end) - s.max(start)).max(0))
            .sum();
        assert!(voiced * 10 > (end - start) * 7, "{text:?} is voiced for {voiced} of {} ms", end - start);
    }
}

#[test]
fn a_long_turn_is_cut_at_a_breath_and_its_sentences_are_placed_in_time() {
    let (_, pieces) = pieces_of(&fixture("monologue.wav")).unwrap();
    let long: Vec<&Piece> = pieces.iter().filter(|piece| piece.channel == 1).collect();
    assert!(long.len() >= 2, "36 s of speech are more than one piece");
    let text = "One two three four five six. Seven eight nine ten. Eleven twelve thirteen fourteen fifteen sixteen.";
    let placed = long[0].spread(text);
    assert!(placed.len() >= 2, "{placed:?}");
    assert_eq!(placed.iter().map(|(_, _, words)| words.as_str()).collect::<Vec<_>>().join(" "), text);
    assert!(placed.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[1].0 - pair[0].0 >= 2_000), "{placed:?}");
}

#[test]
fn silence_is_no_piece() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("silence.wav");
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: 8_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(&path, spec).unwrap();
    (0..160_000).for_each(|n| writer.write_sample((n % 7 - 3) as i16).unwrap());
    writer.finalize().unwrap();
    let (channels, pieces) = pieces_of(&path).unwrap();
    assert_eq!((channels, pieces.len()), (Channels::Two, 0));
}

#[test]
fn a_recording_that_was_cut_off_is_heard_as_far_as_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.wav");
    let whole = std::fs::read(fixture("double-charge.wav")).unwrap();
    std::fs::write(&path, &whole[..300_001]).unwrap();
    let (_, pieces) = pieces_of(&path).unwrap();
    assert!(!pieces.is_empty());
    assert!(pieces.iter().all(|piece| piece.start_ms < 9_400));
}

#[test]
fn what_is_no_sound_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.wav");
    std::fs::write(&path, "<html>not found</html>".repeat(100)).unwrap();
    assert!(matches!(pieces_of(&path), Err(AudioError::Unsupported(reason)) if !reason.is_empty()));
}

#[test]
fn the_first_words_of_a_piece_begin_with_its_voice() {
    let voiced_ms = vec![(200, 760), (920, 4_000)];
    let piece = Piece { channel: 0, rate: 8_000, start_ms: 1_000, samples: Vec::new(), voiced_ms };
    assert_eq!(piece.spread("Hello there.")[0].0, 1_200);
}

#[test]
fn halves_are_cut_where_it_is_quiet_near_the_middle_and_lose_nothing() {
    let mut samples = vec![1_000; 80_000];
    samples[36_000..37_600].fill(3);
    samples[1_000..2_000].fill(0);
    let voiced_ms = vec![(200, 4_500), (4_700, 9_800)];
    let piece = Piece { channel: 1, rate: 8_000, start_ms: 1_000, samples: samples.clone(), voiced_ms };
    let (first, second) = piece.halves();
    assert_eq!([first.samples.as_slice(), &second.samples].concat(), samples);
    let cut = first.samples.len() as i64 / 8;
    assert!((4_500..4_700).contains(&cut), "cut at {cut} ms");
    assert_eq!((first.start_ms, first.voiced_ms), (1_000, vec![(200, 4_500)]));
    assert_eq!((second.start_ms, second.channel, second.rate), (1_000 + cut, 1, 8_000));
    assert_eq!(second.voiced_ms, [(4_700 - cut, 9_800 - cut)]);

    let even = Piece { channel: 0, rate: 8_000, start_ms: 0, samples: vec![9; 80_000], voiced_ms: vec![(0, 10_000)] };
    let (first, second) = even.halves();
    assert_eq!((first.samples.len(), second.samples.len()), (40_080, 39_920), "in the middle where all is alike");
    assert_eq!((first.voiced_ms, second.voiced_ms), (vec![(0, 5_010)], vec![(0, 4_990)]));
    let short = Piece { channel: 0, rate: 8_000, start_ms: 0, samples: vec![1, 2], voiced_ms: Vec::new() };
    assert_eq!(short.halves().0.samples, [1]);
}

#[test]
fn a_piece_is_a_wav_file_of_its_own() {
    let piece = Piece { channel: 0, rate: 8_000, start_ms: 0, samples: vec![1, -2, 3], voiced_ms: vec![(0, 1)] };
    let wav = piece.to_wav().unwrap();
    let mut reader = hound::WavReader::new(wav.as_slice()).unwrap();
    assert_eq!((reader.spec().channels, reader.spec().sample_rate), (1, 8_000));
    assert_eq!(reader.samples::<i16>().map(Result::unwrap).collect::<Vec<_>>(), [1, -2, 3]);
}
