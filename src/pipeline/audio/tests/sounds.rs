//! What is no speech is not sent, and speech beside it is.

use std::f64::consts::TAU;

use rstest::rstest;

use super::shapes::{shape, spec, write_wav};
use super::{fixture, pieces_of, pieces_of_bytes};

const RATE: usize = 8_000;

/// The sum of tones, in hertz.
fn tones(hertz: &[f64], seconds: f64, loudness: f64) -> Vec<i16> {
    let at = |sample: usize| hertz.iter().map(|h| (TAU * h * sample as f64 / RATE as f64).sin()).sum::<f64>();
    (0..(seconds * RATE as f64) as usize).map(|n| (at(n) / hertz.len() as f64 * loudness * 32_767.0) as i16).collect()
}

/// On and off in turn.
fn cadence(sound: &[i16], pause: f64, times: usize) -> Vec<i16> {
    let pause = vec![0; (pause * RATE as f64) as usize];
    [sound, &pause].concat().repeat(times)
}

/// Noise with less power at higher frequencies, as lines have it; about this loud (RMS, in dBFS).
fn noise(seconds: usize, dbfs: f64) -> Vec<i16> {
    let mut seed = 17u64;
    let mut white = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f64 / f64::from(1 << 23) - 1.0
    };
    // Three low-passes of different edges together fall by about 3 dB per octave.
    let mut states = [0.0; 3];
    let pink = (0..seconds * RATE).map(|_| {
        let white = white();
        for (state, keep) in states.iter_mut().zip([0.99, 0.9, 0.5]) {
            *state = *state * keep + white * (1.0 - keep);
        }
        states[0] * 6.0 + states[1] * 2.0 + states[2] + white * 0.3
    });
    let pink: Vec<f64> = pink.collect();
    let rms = (pink.iter().map(|sample| sample * sample).sum::<f64>() / pink.len() as f64).sqrt();
    let gain = 32_767.0 * 10f64.powf(dbfs / 20.0) / rms;
    pink.iter().map(|sample| (sample * gain) as i16).collect()
}

fn channel(name: &str, channel: usize) -> Vec<i16> {
    let mut reader = hound::WavReader::open(fixture(name)).unwrap();
    let channels = usize::from(reader.spec().channels);
    reader.samples::<i16>().map(Result::unwrap).skip(channel).step_by(channels).collect()
}

/// Where sound is sent from and to, in milliseconds.
fn sent(samples: &[i16]) -> Vec<(i64, i64)> {
    let (_, pieces) = pieces_of_bytes(&write_wav(spec(1, 8_000), samples)).unwrap();
    pieces.iter().map(|piece| (piece.start_ms, piece.start_ms + (piece.seconds() * 1000.0) as i64)).collect()
}

#[rstest]
#[case::digital_silence(vec![0; 80_000])]
#[case::an_american_ring_tone(cadence(&tones(&[440.0, 480.0], 2.0, 0.5), 4.0, 4))]
#[case::a_european_ring_tone(cadence(&tones(&[425.0], 1.0, 0.5), 4.0, 3))]
#[case::a_busy_tone(cadence(&tones(&[480.0, 620.0], 0.5, 0.5), 0.5, 10))]
#[case::a_beep(cadence(&tones(&[1_400.0], 0.4, 0.3), 5.0, 2))]
#[case::dialled_digits(cadence(&tones(&[697.0, 1_209.0], 0.3, 0.4), 0.4, 7))]
#[case::a_held_chord(tones(&[262.0, 330.0, 392.0, 523.0], 10.0, 0.6))]
#[case::hum(tones(&[50.0, 150.0, 250.0], 10.0, 0.1))]
#[case::a_quiet_noisy_line(noise(20, -45.0))]
#[case::a_loud_noisy_line(noise(20, -25.0))]
#[case::a_constant(vec![9_000; 80_000])]
fn what_nobody_says_is_not_sent(#[case] samples: Vec<i16>) {
    assert_eq!(sent(&samples), []);
}

#[rstest]
#[case("melody.mp3")]
#[case("chords.mp3")]
fn music_is_not_sent(#[case] name: &str) {
    assert_eq!(pieces_of(&shape(name)).unwrap().1, []);
}

#[test]
fn on_a_noisy_line_voices_are_heard_and_pauses_still_are_pauses() {
    let voice = channel("double-charge.wav", 0);
    let quiet = sent(&voice);
    let noisy: Vec<i16> = voice.iter().zip(noise(30, -40.0)).map(|(a, b)| a.saturating_add(b)).collect();
    let loud = sent(&noisy);
    assert_eq!(loud.len(), quiet.len(), "{loud:?} instead of {quiet:?}");
    for ((start, end), (expected_start, expected_end)) in loud.iter().zip(&quiet) {
        let near = (start - expected_start).abs() <= 250 && (end - expected_end).abs() <= 250;
        assert!(near, "{loud:?} instead of {quiet:?}");
    }
}

#[test]
fn after_music_and_ringing_no_word_is_lost() {
    let voice = channel("double-charge.wav", 1);
    // From the first word on: nothing is silent between the music and the voice.
    let voice = &voice[(5.95 * RATE as f64) as usize..(11.8 * RATE as f64) as usize];
    let mut music = Vec::new();
    for note in [262.0, 330.0, 392.0, 523.0, 494.0, 392.0, 440.0, 349.0].repeat(4) {
        music.extend(tones(&[note, 2.0 * note, 3.0 * note], 0.35, 0.4));
    }
    let after_music = sent(&[music.as_slice(), voice].concat());
    let start = music.len() as i64 / 8;
    assert_eq!(after_music.len(), 1, "{after_music:?}");
    assert!((start - 400..=start + 60).contains(&after_music[0].0), "{after_music:?}, spoken from {start} ms on");

    let ringing = cadence(&tones(&[440.0, 480.0], 2.0, 0.5), 4.0, 2);
    let after_ringing = sent(&[ringing.as_slice(), voice].concat());
    assert_eq!(after_ringing.len(), 1);
    assert!((11_700..=12_060).contains(&after_ringing[0].0), "{after_ringing:?}");
}
