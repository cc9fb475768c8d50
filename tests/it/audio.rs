//! Recordings as they come: what is in them ends as words with the right speakers and times, or as a sentence.

use std::path::Path;

use goto_automation::model::{CallId, Speaker, Transcript};
use goto_automation::store;
use rstest::rstest;
use serde_json::json;

use crate::support::{FrontDoor, Product, SECRET};

fn file(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)).unwrap()
}

/// A WAV file at 8 kHz.
fn wav(channels: u16, samples: impl Iterator<Item = i16>) -> Vec<u8> {
    let spec =
        hound::WavSpec { channels, sample_rate: 8_000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    samples.for_each(|sample| writer.write_sample(sample).unwrap());
    writer.finalize().unwrap();
    bytes.into_inner()
}

/// Noise that gets softer towards high frequencies, at about a tenth of the full scale.
fn noise(count: usize) -> impl Iterator<Item = i16> {
    let (mut seed, mut slow, mut fast) = (17_u64, 0.0, 0.0);
    std::iter::repeat_with(move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let white = (seed >> 40) as f64 / f64::from(1 << 23) - 1.0;
        slow = slow * 0.98 + white * 0.02;
        fast = fast * 0.8 + white * 0.2;
        ((slow * 5.0 + fast + white * 0.2) * 4_000.0) as i16
    })
    .take(count)
}

fn samples(name: &str) -> Vec<i16> {
    let mut reader = hound::WavReader::new(std::io::Cursor::new(file(name))).unwrap();
    reader.samples::<i16>().map(Result::unwrap).collect()
}

async fn transcript(product: &Product, id: CallId) -> Transcript {
    product.until(id, "completed").await;
    store::summaries::transcript(product.pool(), id).await.unwrap().unwrap()
}

#[rstest]
#[case("tagged.mp3", "call.bin")]
#[case("bare.mp3", "wrong.wav")]
#[case("opus.ogg", "call.ogg")]
#[case("vorbis.ogg", "call.ogg")]
#[case("opus.webm", "call.webm")]
#[case("index-last.m4a", "call.m4a")]
#[case("index-first.m4a", "call.m4a")]
#[case("call.flac", "call.mp3")]
#[case("mu-law.wav", "call.wav")]
#[case("a-law.wav", "call.wav")]
#[case("call.aac", "call.aac")]
#[tokio::test]
async fn each_format_is_transcribed_by_its_content_and_not_its_name(#[case] shape: &str, #[case] name: &str) {
    let product = Product::start().await;
    let id = product.ring_with_file(name, file(&format!("shapes/{shape}"))).await;
    let transcript = transcript(&product, id).await;
    let speakers: Vec<_> = transcript.segments.iter().map(|segment| segment.speaker).collect();
    assert_eq!(speakers, [Speaker::Agent, Speaker::Customer], "{transcript:#?}");
    assert!((transcript.segments[1].start_ms - 2_460).abs() < 100, "{transcript:#?}");
}

#[tokio::test]
async fn mono_in_disguise_is_sent_once_and_its_speakers_are_unknown() {
    let product = Product::start().await;
    let mono = product.ring("mono").await;
    let expected = transcript(&product, mono).await;
    let asked = product.standins.requests("speech");
    let twice = wav(2, samples("calls/mono.wav").into_iter().flat_map(|sample| [sample, sample]));
    let disguised = product.ring_with_file("twice.wav", twice).await;
    assert_eq!(transcript(&product, disguised).await, expected);
    assert_eq!(product.standins.requests("speech"), 2 * asked);
}

#[rstest]
#[case::silence(wav(2, std::iter::repeat_n(0, 160_000)))]
#[case::a_ring_tone(wav(1, (0..192_000).map(|at| {
    let time = f64::from(at % 48_000) / 8_000.0;
    let tone = |hertz: f64| (std::f64::consts::TAU * hertz * time).sin() * 8_000.0;
    if time < 2.0 { (tone(440.0) + tone(480.0)) as i16 } else { 0 }
})))]
#[case::noise(wav(1, noise(80_000)))]
#[case::music(file("shapes/melody.mp3"))]
#[tokio::test]
async fn where_nobody_speaks_nothing_is_asked_and_nothing_invented(#[case] recording: Vec<u8>) {
    let product = Product::start().await;
    let id = product.ring_with_file("quiet.wav", recording).await;
    assert_eq!(transcript(&product, id).await.segments, []);
    assert_eq!((product.standins.requests("speech"), product.standins.requests("language_model")), (0, 0));
}

#[rstest]
#[case::empty(Vec::new(), "not_audio")]
#[case::too_short(b"RIFF\x24\0\0\0WAVE".repeat(10), "not_audio")]
#[case::json(br#"{"error":"not found"}"#.repeat(60), "not_audio")]
#[case::a_page(b"<html>not found</html>".repeat(60), "not_audio")]
#[case::a_playlist(b"#EXTM3U\nhttps://example.com/a.ts\n".repeat(60), "not_audio")]
#[case::a_list_of_files(b"ffconcat version 1.0\nfile /etc/passwd\n".repeat(60), "not_audio")]
#[case::a_broken_header(b"OggS\0\x02broken".repeat(200), "unsupported_audio")]
#[tokio::test]
async fn what_cannot_be_heard_fails_with_a_sentence_before_anything_is_asked(
    #[case] recording: Vec<u8>,
    #[case] class: &str,
) {
    let product = Product::start().await;
    let id = product.ring_with_file("call.mp3", recording).await;
    let call = product.until(id, "failed").await;
    let reason = call.state_reason.unwrap();
    assert!(reason.len() > 30 && reason.ends_with('.'), "a sentence: {reason:?}");
    let attempts = product.attempts(id).await;
    assert_eq!(attempts.last().unwrap().error_class.as_deref(), Some(class), "{attempts:#?}");
    assert_eq!(product.standins.requests("speech"), 0);
}

#[rstest]
#[case::wav("calls/double-charge.wav", "cut.wav", "The recording ends early: 14 of 29 seconds.")]
#[case::mp3("shapes/tagged.mp3", "cut.mp3", "The recording ends early: 2 of 5 seconds.")]
#[tokio::test]
async fn a_recording_that_was_cut_off_is_transcribed_as_far_as_it_goes_and_says_so(
    #[case] recording: &str,
    #[case] name: &str,
    #[case] note: &str,
) {
    let product = Product::start().await;
    let whole = file(recording);
    let id = product.ring_with_file(name, whole[..whole.len() / 2].to_vec()).await;
    assert_eq!(transcript(&product, id).await.segments[0].speaker, Speaker::Agent);
    product.drain().await;
    let door = FrontDoor::on(product.pool().clone(), &[SECRET]).await;
    let (_, call) = door.ask(&door.key(&["calls:read"]).await, &format!("/api/calls/{id}")).await;
    let statements = call["statements"].as_array().unwrap();
    assert_eq!(statements.last().unwrap(), &json!({"text": note, "evidence": [], "supported": true}), "{call}");
    assert!(call["summary"].as_str().unwrap().ends_with(note), "{call}");
    let told = product.standins.outbox.slack()[0].body.to_string() + &product.standins.outbox.mail()[0].raw;
    assert_eq!(told.matches(note).count(), 3, "in Slack, and in both forms of the mail: {told}");
}
