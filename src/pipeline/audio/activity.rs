//! Where somebody speaks: looks at a whole channel before any of it is cut, so that what comes later can say what was
//! before. A channel of an hour is half a megabyte here.

use super::steadiness::Steadiness;

/// Loudness is looked at in steps of this length.
pub(super) const FRAME_MS: usize = 20;
/// A frame whose RMS is below this is silence, on the quietest line.
const SILENCE_DBFS: f64 = -50.0;
/// A voice is at least this much louder than the noise around it.
const ABOVE_NOISE_DB: f64 = 6.0;
/// The noise is what the quietest frames of this time before and after have.
const NOISE_SECONDS: usize = 10;
/// So many of them, in percent: a speaker without pauses has more dips than this between words.
const NOISE_PERCENT: usize = 5;
/// To compare with the noise, loudness is averaged over this many frames: noise jumps from frame to frame.
const SMOOTH_FRAMES: usize = 5;
/// Sound without dips that is at least this long and whose loudness moves by less than this is no voice.
const EVEN_FRAMES: usize = 1_000 / FRAME_MS;
const EVEN_DB: f64 = 6.0;
/// Steady frames are one melody when they are not further apart.
const NOTES_APART_FRAMES: usize = 300 / FRAME_MS;
/// A melody has at least this share of steady frames, in percent, and this length; a shorter one (a beep) must be
/// alone and steadier.
const MELODY_PERCENT: usize = 50;
const MELODY_FRAMES: usize = 1_000 / FRAME_MS;
const BEEP_PERCENT: usize = 80;
const BEEP_FRAMES: usize = 8;
/// Beside a beep it is silent for this time.
const BESIDE_BEEP_FRAMES: usize = 200 / FRAME_MS;

const FRAMES_PER_SECOND: usize = 1_000 / FRAME_MS;
/// Levels are kept as bytes: half a decibel each, from here on.
const LOWEST_DBFS: f64 = -110.0;

/// Samples of a frame.
pub(super) fn frame_samples(rate: u32) -> usize {
    (rate as usize * FRAME_MS / 1000).max(1)
}

/// Listens to one channel.
pub(super) struct Activity {
    frame: Vec<i16>,
    frame_samples: usize,
    levels: Vec<u8>,
    steadiness: Steadiness,
}

impl Activity {
    pub(super) fn new(rate: u32) -> Self {
        let frame_samples = frame_samples(rate);
        let steadiness = Steadiness::new(rate, frame_samples);
        Self { frame: Vec::with_capacity(frame_samples), frame_samples, levels: Vec::new(), steadiness }
    }

    pub(super) fn push(&mut self, samples: &[i16]) {
        let mut rest = samples;
        while !rest.is_empty() {
            let (taken, left) = rest.split_at((self.frame_samples - self.frame.len()).min(rest.len()));
            self.frame.extend_from_slice(taken);
            rest = left;
            if self.frame.len() == self.frame_samples {
                let level = level(&self.frame);
                self.steadiness.push(&self.frame, level > SILENCE_DBFS);
                self.levels.push(to_byte(level));
                self.frame.clear();
            }
        }
    }

    /// For each whole frame, whether it is voice.
    pub(super) fn finish(self) -> Vec<bool> {
        let loud: Vec<bool> = self.levels.iter().map(|level| from_byte(*level) > SILENCE_DBFS).collect();
        let smooth = smooth(&self.levels);
        let noise = noise(&smooth);
        let above = |at: usize| loud[at] && smooth[at] > noise[at / FRAMES_PER_SECOND] + ABOVE_NOISE_DB;
        let mut voice: Vec<bool> = (0..loud.len()).map(above).collect();
        silence_melodies(&mut voice, &loud, &self.steadiness.finish());
        silence_even_sound(&mut voice, &smooth);
        voice
    }
}

/// Loudness in dBFS, without a constant part.
fn level(frame: &[i16]) -> f64 {
    let count = frame.len() as f64;
    let mean = frame.iter().map(|sample| f64::from(*sample)).sum::<f64>() / count;
    let power = frame.iter().map(|sample| (f64::from(*sample) - mean).powi(2)).sum::<f64>() / count;
    10.0 * (power / f64::from(i16::MAX).powi(2)).max(1e-12).log10()
}

fn to_byte(level: f64) -> u8 {
    // Upwards, so that a frame counts as loud after the way back exactly when it did before.
    ((level - LOWEST_DBFS) * 2.0).ceil().clamp(0.0, 255.0) as u8
}

fn from_byte(level: u8) -> f64 {
    f64::from(level) / 2.0 + LOWEST_DBFS
}

/// Each level averaged with its neighbours.
fn smooth(levels: &[u8]) -> Vec<f64> {
    let powers: Vec<f64> = levels.iter().map(|level| 10f64.powf(from_byte(*level) / 10.0)).collect();
    let around = |at: usize| {
        let part = &powers[at.saturating_sub(SMOOTH_FRAMES / 2)..(at + SMOOTH_FRAMES / 2 + 1).min(powers.len())];
        10.0 * (part.iter().sum::<f64>() / part.len() as f64).log10()
    };
    (0..powers.len()).map(around).collect()
}

/// The level of the noise in each second.
fn noise(smooth: &[f64]) -> Vec<f64> {
    let seconds = smooth.len().div_ceil(FRAMES_PER_SECOND);
    let around = |second: usize| {
        let from = second.saturating_sub(NOISE_SECONDS) * FRAMES_PER_SECOND;
        let to = ((second + NOISE_SECONDS + 1) * FRAMES_PER_SECOND).min(smooth.len());
        percentile(&smooth[from..to], NOISE_PERCENT)
    };
    (0..seconds).map(around).collect()
}

/// The level that so many percent are at or below.
fn percentile(levels: &[f64], percent: usize) -> f64 {
    let mut counts = [0usize; 256];
    for level in levels {
        counts[usize::from(to_byte(*level))] += 1;
    }
    let mut left = levels.len() * percent / 100;
    let found = counts.iter().position(|count| {
        let here = left < *count;
        left = left.saturating_sub(*count);
        here
    });
    from_byte(found.unwrap_or(0) as u8)
}

/// Tones, beeps and melodies are no voice.
fn silence_melodies(voice: &mut [bool], loud: &[bool], steady: &[bool]) {
    let mut at = 0;
    while let Some(from) = steady[at..].iter().position(|steady| *steady).map(|next| at + next) {
        let mut to = from + 1;
        while let Some(next) = steady[to..].iter().take(NOTES_APART_FRAMES).position(|steady| *steady) {
            to += next + 1;
        }
        let count = |frames: &[bool]| frames.iter().filter(|frame| **frame).count();
        let percent = count(&steady[from..to]) * 100 / count(&loud[from..to]).max(1);
        let (start, end) = (from.saturating_sub(BEEP_FRAMES), (to + BEEP_FRAMES).min(voice.len()));
        let melody = to - from >= MELODY_FRAMES && percent >= MELODY_PERCENT;
        let beep = to - from >= BEEP_FRAMES && percent >= BEEP_PERCENT && is_alone(loud, start, end);
        if melody || beep {
            voice[start..end].fill(false);
        }
        at = to;
    }
}

/// Whether it is silent before and after.
fn is_alone(loud: &[bool], start: usize, end: usize) -> bool {
    let before = &loud[start.saturating_sub(BESIDE_BEEP_FRAMES)..start];
    let after = &loud[end..(end + BESIDE_BEEP_FRAMES).min(loud.len())];
    before.iter().chain(after).all(|loud| !loud)
}

/// Long sound that is always equally loud is no voice.
fn silence_even_sound(voice: &mut [bool], smooth: &[f64]) {
    let mut from = 0;
    while from < voice.len() {
        let to = voice[from..].iter().position(|voice| !voice).map_or(voice.len(), |length| from + length);
        let levels = &smooth[from..to];
        if levels.len() >= EVEN_FRAMES && percentile(levels, 95) - percentile(levels, 5) < EVEN_DB {
            voice[from..to].fill(false);
        }
        from = to + 1;
    }
}
