//! Brings sound of a high rate down to one that a voice needs.

use std::f64::consts::PI;

/// Speech recognition works at this rate; what is above only makes uploads longer.
const TARGET: u32 = 16_000;
/// What is kept, as a share of the new rate: up to 7.2 kHz.
const PASS: f64 = 0.45;
/// Half the length of the low-pass in periods of its edge. With the Blackman window it damps by 70 dB.
const HALF_PERIODS: f64 = 12.0;

/// A low-pass (a windowed sinc, one set of weights for each place of a new sample between two old ones) for one
/// channel. Adds no delay.
pub(super) struct Resampler {
    /// New samples and old samples in the shortest time that holds whole numbers of both.
    new: usize,
    old: usize,
    half: usize,
    /// Weights of the `2 * half` old samples around a new one, by the place in between.
    phases: Vec<Vec<f32>>,
    /// Old samples that are still needed, beginning with `half` zeros before the first.
    samples: Vec<f32>,
    /// Place of the next new sample, in `1 / new` of an old one, from the first kept sample on.
    next: usize,
}

impl Resampler {
    /// The rate that comes out: that of the recording if it is low enough, unchanged.
    pub(super) fn rate(rate: u32) -> u32 {
        rate.min(TARGET)
    }

    /// `None` when nothing has to be done.
    pub(super) fn new(rate: u32) -> Option<Self> {
        if rate <= TARGET {
            return None;
        }
        let common = gcd(rate, TARGET);
        let (new, old) = ((TARGET / common) as usize, (rate / common) as usize);
        let edge = PASS * f64::from(TARGET) / f64::from(rate);
        let half = (HALF_PERIODS / (2.0 * edge)).ceil() as usize;
        let phases = (0..new).map(|phase| weights(phase as f64 / new as f64, half, edge)).collect();
        Some(Self { new, old, half, phases, samples: vec![0.0; half], next: 0 })
    }

    /// Replaces the samples by those of the new rate that they complete.
    pub(super) fn push(&mut self, plane: &mut Vec<i16>) {
        self.samples.extend(plane.iter().map(|sample| f32::from(*sample)));
        plane.clear();
        loop {
            let (at, phase) = (self.next / self.new, self.next % self.new);
            // The weights reach from half - 1 samples before the place to half after it, which is 2 * half from `at` on.
            let Some(around) = self.samples.get(at + 1..=at + 2 * self.half) else { break };
            let sum: f32 = around.iter().zip(&self.phases[phase]).map(|(sample, weight)| sample * weight).sum();
            plane.push(sum.round() as i16);
            self.next += self.old;
        }
        let done = (self.next / self.new).min(self.samples.len());
        self.samples.drain(..done);
        self.next -= done * self.new;
    }
}

/// Weights of the old samples from `half - 1` before to `half` after a place that lies `share` after one of them.
/// Together they are one, so that loudness stays.
fn weights(share: f64, half: usize, edge: f64) -> Vec<f32> {
    let distance = |index: usize| index as f64 - (half as f64 - 1.0) - share;
    let weight = |index: usize| {
        let x = distance(index);
        let sinc = if x.abs() < 1e-9 { 2.0 * edge } else { (2.0 * PI * edge * x).sin() / (PI * x) };
        let turn = PI * (x / half as f64).clamp(-1.0, 1.0);
        sinc * (0.42 + 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos())
    };
    let weights: Vec<f64> = (0..2 * half).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| (weight / sum) as f32).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn tone(rate: u32, hertz: f64, seconds: f64) -> Vec<i16> {
        let count = (f64::from(rate) * seconds) as usize;
        (0..count).map(|at| (10_000.0 * (2.0 * PI * hertz * at as f64 / f64::from(rate)).sin()) as i16).collect()
    }

    fn resampled(rate: u32, samples: &[i16]) -> Vec<i16> {
        let mut resampler = Resampler::new(rate).unwrap();
        let blocks = samples.chunks(1_000).flat_map(|block| {
            let mut block = block.to_vec();
            resampler.push(&mut block);
            block
        });
        blocks.collect()
    }

    #[rstest]
    #[case(16_001)]
    #[case(22_050)]
    #[case(44_100)]
    #[case(48_000)]
    #[case(192_000)]
    fn a_voice_passes_at_its_time_and_what_is_too_high_does_not(#[case] rate: u32) {
        let low = resampled(rate, &tone(rate, 1_000.0, 0.5));
        let expected = tone(TARGET, 1_000.0, 0.5);
        assert!((low.len() as i64 - 8_000).abs() < 30, "{} samples", low.len());
        let off = low.iter().zip(&expected).skip(100).map(|(a, b)| (a - b).abs()).max().unwrap();
        assert!(off < 60, "off by {off}");
        if rate > 20_000 {
            let high = resampled(rate, &tone(rate, 9_500.0, 0.5));
            let left = high.iter().skip(100).map(|sample| sample.abs()).max().unwrap();
            assert!(left < 20, "{left} of 10000 are left");
        }
    }

    #[test]
    fn telephone_rates_stay_as_they_are() {
        assert!(Resampler::new(8_000).is_none() && Resampler::new(16_000).is_none());
        assert_eq!((Resampler::rate(11_025), Resampler::rate(44_100)), (11_025, 16_000));
    }
}
