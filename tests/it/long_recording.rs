//! A long recording: its times stay right, its worker stays small, and a killed one has paid for nothing in vain.
//!
//! Twelve minutes here; `scripts/long-recording.sh` tells the same story with seventy, as WAV and as MP3.

use std::path::Path;
use std::time::{Duration, Instant};

use goto_automation::model::{CallId, Transcript};
use goto_automation::store;
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::support::{Process, Product};

const CALL: &str = "double-charge";
/// Length of that call.
const CALL_MS: i64 = 29_005;
/// Requests that are under way when a worker is killed.
const PARALLEL: u64 = 4;
const MOST_MEMORY: u64 = 150 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_mins(10);

struct LongRecording {
    name: String,
    bytes: Vec<u8>,
    length_ms: i64,
}

/// The file that the script made, or the call again and again.
#[expect(clippy::disallowed_methods, reason = "not a setting of the product: the script's word to this story")]
fn long_recording() -> LongRecording {
    if let (Ok(path), Ok(seconds)) = (std::env::var("LONG_RECORDING"), std::env::var("LONG_RECORDING_SECONDS")) {
        let name = Path::new(&path).file_name().unwrap().to_str().unwrap().to_owned();
        let length_ms = seconds.parse::<i64>().unwrap() * 1_000;
        let mut bytes = std::fs::read(path).unwrap();
        if bytes.starts_with(b"RIFF") {
            tell_apart(&mut bytes);
        }
        return LongRecording { name, bytes, length_ms };
    }
    let times = 25;
    let call = std::fs::read(fixture("wav")).unwrap();
    let (header, sound) = call.split_at(44);
    let mut bytes = [header, &sound.repeat(times)].concat();
    let sizes = (bytes.len() as u32 - 8, bytes.len() as u32 - 44);
    bytes[4..8].copy_from_slice(&sizes.0.to_le_bytes());
    bytes[40..44].copy_from_slice(&sizes.1.to_le_bytes());
    tell_apart(&mut bytes);
    LongRecording { name: "long.wav".to_owned(), bytes, length_ms: times as i64 * CALL_MS }
}

/// Makes each repetition of the call a little different, less than anybody hears: the same sound is the same question,
/// and is asked once.
fn tell_apart(wav: &mut [u8]) {
    let frames_of_call = CALL_MS as usize * 8;
    for (at, frame) in wav[44..].chunks_exact_mut(4).enumerate() {
        if at % 211 == at / frames_of_call {
            frame[0] ^= 1;
            frame[2] ^= 1;
        }
    }
}

fn fixture(ending: &str) -> String {
    format!("{}/fixtures/calls/{CALL}.{ending}", env!("CARGO_MANIFEST_DIR"))
}

/// Who begins to speak when, over the whole length.
fn turns(length_ms: i64) -> Vec<(String, i64)> {
    let truth: Value = serde_json::from_slice(&std::fs::read(fixture("json")).unwrap()).unwrap();
    let turns = truth["segments"].as_array().unwrap();
    let turn = |turn: &Value| {
        (turn["channel"].as_str().unwrap().to_owned(), (turn["start"].as_f64().unwrap() * 1_000.0) as i64)
    };
    (0..=length_ms / CALL_MS)
        .flat_map(|again| turns.iter().map(turn).map(move |(speaker, start)| (speaker, start + again * CALL_MS)))
        .filter(|(_, start)| start + 1_000 < length_ms)
        .collect()
}

#[tokio::test]
async fn a_long_recording_goes_on_where_its_killed_worker_was() {
    let recording = long_recording();
    let turns = turns(recording.length_ms);
    let product = Product::at_rest(&[]).await;
    let began = Instant::now();
    let first = product.worker();
    let id = product.ring_with_file(&recording.name, recording.bytes).await;
    until_answers(&product, id, turns.len() * 2 / 3).await;
    let memory = peak(&first);
    first.signal(Signal::SIGKILL);
    drop(first);
    let stored = answers(&product).await;
    let second = product.worker();
    let transcript = transcript(&product, id).await;
    let (pieces, asked) = (answers(&product).await, product.standins.requests("speech"));
    let memory = [memory, peak(&second)];
    let length = recording.length_ms / 60_000;
    eprintln!("{}: {length} min, {pieces} pieces, {asked} requests, {stored} stored at the kill,", recording.name);
    eprintln!("peak memory {memory:?} MiB, {:.1} s", began.elapsed().as_secs_f64());

    assert!(stored >= turns.len() * 2 / 3 && asked <= pieces as u64 + PARALLEL, "{asked} requests for {pieces} pieces");
    assert!(memory.iter().flatten().all(|mib| mib * 1024 * 1024 < MOST_MEMORY), "{memory:?} MiB");
    for (speaker, start) in &turns {
        let near = |at: i64| (at - start).abs() <= 300;
        let heard = transcript.segments.iter().any(|s| s.speaker.as_str() == speaker && near(s.start_ms));
        assert!(heard, "nothing of the {speaker} at {start} ms");
    }
    assert_eq!(files_below(&product.config.recordings.store.to_file_path().unwrap()), 1, "the recording alone");
}

fn peak(worker: &Process) -> Option<u64> {
    worker.peak_memory().map(|bytes| bytes / 1024 / 1024)
}

async fn answers(product: &Product) -> usize {
    product.count("SELECT count(*) FROM step_answers WHERE step = 'transcribe'").await as usize
}

async fn until_answers(product: &Product, id: CallId, enough: usize) {
    let reached = async {
        while answers(product).await < enough {
            assert_eq!(product.call(id).await.state, "processing", "{} answers of {enough}", answers(product).await);
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, reached).await.expect("two thirds of the pieces are answered");
}

async fn transcript(product: &Product, id: CallId) -> Transcript {
    let written = async {
        loop {
            if let Some(transcript) = store::summaries::transcript(product.pool(), id).await.unwrap() {
                return transcript;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, written).await.expect("the transcript is written")
}

fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}
