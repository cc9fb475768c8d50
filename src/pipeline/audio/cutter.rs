//! Cuts one channel where nobody speaks, as its samples come. What is no voice is not sent: models invent words for
//! it, and are paid for them.

use super::Piece;
use super::activity::{FRAME_MS, frame_samples};

/// A pause of this length ends a piece: mostly the other side speaks then.
const PAUSE_FRAMES: usize = 800 / FRAME_MS;
/// Kept before and after the voice, so that no consonant is cut off.
const MARGIN_FRAMES: usize = 200 / FRAME_MS;
/// No piece is longer, so that its words can be placed in time without the model's help.
const LONGEST_FRAMES: usize = 30_000 / FRAME_MS;
/// A piece that must be cut is cut at its last pause of this length in its second half, else at its quietest frame.
const BREATH_FRAMES: usize = 160 / FRAME_MS;
/// Less voice than this is a click, and too short for the models (0.1 s).
const LEAST_VOICED_FRAMES: usize = 160 / FRAME_MS;

/// The state of one channel.
pub(super) struct Cutter {
    channel: usize,
    rate: u32,
    frame_samples: usize,
    /// Samples of the piece that is being gathered and of the margin before it.
    samples: Vec<i16>,
    /// Loudness of each whole frame in `samples`, as mean square.
    frames: Vec<f64>,
    /// Index of the first frame in `samples`, counted from the start of the recording.
    first_frame: usize,
    /// Whether there is voice in each frame of the recording.
    voice: Vec<bool>,
    /// Frames since the last voice.
    quiet: usize,
    voiced: bool,
}

impl Cutter {
    /// For a channel that has voice in these frames.
    pub(super) fn new(channel: usize, rate: u32, voice: Vec<bool>) -> Self {
        Self {
            channel,
            rate,
            frame_samples: frame_samples(rate),
            samples: Vec::new(),
            frames: Vec::new(),
            first_frame: 0,
            voice,
            quiet: 0,
            voiced: false,
        }
    }

    /// Takes the next samples and gives back the pieces that they complete.
    pub(super) fn push(&mut self, samples: &[i16]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut rest = samples;
        while !rest.is_empty() {
            let open = (self.frames.len() + 1) * self.frame_samples - self.samples.len();
            let (taken, left) = rest.split_at(open.min(rest.len()));
            self.samples.extend_from_slice(taken);
            rest = left;
            if self.samples.len() == (self.frames.len() + 1) * self.frame_samples {
                pieces.extend(self.close_frame());
            }
        }
        pieces
    }

    /// The recording has ended: what is left.
    pub(super) fn finish(mut self) -> Option<Piece> {
        if self.voiced { self.take(self.frames.len()) } else { None }
    }

    fn close_frame(&mut self) -> Option<Piece> {
        let frame = &self.samples[self.frames.len() * self.frame_samples..];
        let power = frame.iter().map(|&s| f64::from(s) * f64::from(s)).sum::<f64>() / frame.len() as f64;
        self.frames.push(power);
        if self.is_voice(self.frames.len() - 1) {
            self.voiced = true;
            self.quiet = 0;
        } else {
            self.quiet += 1;
        }
        if !self.voiced {
            self.forget(self.frames.len().saturating_sub(MARGIN_FRAMES));
            None
        } else if self.quiet >= PAUSE_FRAMES {
            self.take(self.frames.len() - self.quiet + MARGIN_FRAMES)
        } else if self.frames.len() >= LONGEST_FRAMES {
            self.take(self.best_cut())
        } else {
            None
        }
    }

    /// Where to cut a piece that has no pause long enough: in its last breath, else where it is quietest.
    fn best_cut(&self) -> usize {
        let half = self.frames.len() / 2;
        let mut run = 0;
        let mut breath = None;
        for index in half..self.frames.len() {
            run = if self.is_voice(index) { 0 } else { run + 1 };
            if run >= BREATH_FRAMES {
                breath = Some(index + 1 - run / 2);
            }
        }
        let quietest = || {
            let tail = self.frames.iter().enumerate().skip(half);
            tail.min_by(|a, b| a.1.total_cmp(b.1)).map_or(self.frames.len(), |(index, _)| index)
        };
        breath.unwrap_or_else(quietest).max(1)
    }

    /// Cuts off the first `count` frames as a piece; the rest stays for the next one.
    fn take(&mut self, count: usize) -> Option<Piece> {
        let count = count.min(self.frames.len());
        // The samples of a last frame that is not whole belong to the last piece.
        let end = if count == self.frames.len() { self.samples.len() } else { count * self.frame_samples };
        let voiced = self.voiced_spans(count);
        let voiced_frames: usize = voiced.iter().map(|(start, end)| end - start).sum();
        let piece = (voiced_frames >= LEAST_VOICED_FRAMES).then(|| Piece {
            channel: self.channel,
            rate: self.rate,
            start_ms: self.milliseconds(self.first_frame),
            samples: self.samples[..end].to_vec(),
            voiced_ms: voiced.iter().map(|(s, e)| (self.milliseconds(*s), self.milliseconds(*e))).collect(),
        });
        self.forget(count);
        self.voiced = (0..self.frames.len()).any(|index| self.is_voice(index));
        self.quiet = (0..self.frames.len()).rev().take_while(|index| !self.is_voice(*index)).count();
        piece
    }

    /// Stretches of voice among the first `count` frames, as frame ranges.
    fn voiced_spans(&self, count: usize) -> Vec<(usize, usize)> {
        let mut spans: Vec<(usize, usize)> = Vec::new();
        for index in (0..count).filter(|index| self.is_voice(*index)) {
            match spans.last_mut() {
                Some((_, end)) if *end == index => *end = index + 1,
                _ => spans.push((index, index + 1)),
            }
        }
        spans
    }

    /// Whether there is voice in a frame of `samples`.
    fn is_voice(&self, index: usize) -> bool {
        self.voice.get(self.first_frame + index).copied().unwrap_or(false)
    }

    /// Length of so many frames, which at some rates are a little shorter than they should be.
    fn milliseconds(&self, frames: usize) -> i64 {
        (frames * self.frame_samples * 1_000 / self.rate as usize) as i64
    }

    fn forget(&mut self, count: usize) {
        let count = count.min(self.frames.len());
        if count > 0 {
            self.frames.drain(..count);
            let samples = (count * self.frame_samples).min(self.samples.len());
            self.samples.drain(..samples);
            self.first_frame += count;
        }
    }
}
