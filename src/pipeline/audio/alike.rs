//! Two channels that carry the same sound: all the time (mono in disguise), or where one hears the other (crosstalk, or
//! a codec that saved on the difference).

use super::activity::frame_samples;

/// Quieter frames (RMS, about -45 dBFS) say nothing: there codecs leave differences.
const LEAST_POWER: f64 = 34_000.0;
/// Correlation of two frames, or of all sound, from which they are alike: 10 % of the power may differ. How loud one is
/// beside the other does not matter.
const ALIKE: f64 = 0.95;
/// Share of frames that must be alike, in percent.
const ALIKE_PERCENT: usize = 90;

/// A frame that is alike and whose power is this many times that of the other channel's is where it comes from.
const LEAK: f64 = 4.0;

/// What the comparison of two channels says.
#[derive(Debug, Default)]
pub(super) struct Likeness {
    /// The louder one of two channels that are alike; `None` when they differ, or are silent.
    pub same: Option<usize>,
    /// For each whole frame, the channel that only hears the other one there.
    pub leaks: Vec<Option<u8>>,
}

/// Compares two channels.
pub(super) struct Comparison {
    frame_samples: usize,
    left: Vec<i16>,
    right: Vec<i16>,
    whole: Products,
    frames: usize,
    alike: usize,
    leaks: Vec<Option<u8>>,
}

/// Sums over samples: left with left, left with right, right with right.
#[derive(Debug, Clone, Copy, Default)]
struct Products {
    left: f64,
    both: f64,
    right: f64,
}

impl Comparison {
    pub(super) fn new(rate: u32) -> Self {
        Self {
            frame_samples: frame_samples(rate),
            left: Vec::new(),
            right: Vec::new(),
            whole: Products::default(),
            frames: 0,
            alike: 0,
            leaks: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, left: &[i16], right: &[i16]) {
        self.left.extend_from_slice(left);
        self.right.extend_from_slice(right);
        let whole = self.left.len().min(self.right.len()) / self.frame_samples * self.frame_samples;
        for (left, right) in self.left[..whole].chunks(self.frame_samples).zip(self.right.chunks(self.frame_samples)) {
            let frame = Products::of(left, right);
            self.whole = self.whole.plus(frame);
            if frame.left.max(frame.right) > LEAST_POWER * self.frame_samples as f64 {
                self.frames += 1;
                self.alike += usize::from(frame.alike());
            }
            self.leaks.push(frame.leak());
        }
        self.left.drain(..whole);
        self.right.drain(..whole);
    }

    pub(super) fn finish(self) -> Likeness {
        let alike = self.frames > 0 && self.whole.alike() && self.alike * 100 >= self.frames * ALIKE_PERCENT;
        let same = alike.then_some(usize::from(self.whole.right > self.whole.left));
        Likeness { same, leaks: self.leaks }
    }
}

impl Products {
    fn of(left: &[i16], right: &[i16]) -> Self {
        left.iter().zip(right).fold(Self::default(), |sums, (left, right)| {
            let (left, right) = (f64::from(*left), f64::from(*right));
            sums.plus(Self { left: left * left, both: left * right, right: right * right })
        })
    }

    fn plus(self, other: Self) -> Self {
        Self { left: self.left + other.left, both: self.both + other.both, right: self.right + other.right }
    }

    /// The channel that only hears the other one.
    fn leak(self) -> Option<u8> {
        match self {
            _ if !self.alike() => None,
            Self { left, right, .. } if left > right * LEAK => Some(1),
            Self { left, right, .. } if right > left * LEAK => Some(0),
            _ => None,
        }
    }

    fn alike(self) -> bool {
        self.both * self.both > ALIKE * ALIKE * self.left * self.right
    }
}
