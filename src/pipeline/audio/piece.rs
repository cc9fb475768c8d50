//! A piece of one channel: what is sent to the transcriber, and where its words stand in time.

use super::AudioError;
use super::activity::frame_samples;

/// A sentence that begins this long after the segment's start opens a new segment: evidence should point at a place,
/// not at a speech.
const SEGMENT_MS: i64 = 5_000;
/// A new segment's estimated start moves to a breath that lies this near.
const SNAP_MS: i64 = 1_200;
/// A gap in the voice of this length is a breath.
const BREATH_MS: i64 = 160;

/// At most 30 seconds of one channel, with a little silence around the voice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// 0 for the first channel.
    pub channel: usize,
    /// Samples per second.
    pub rate: u32,
    /// From the start of the recording, in milliseconds.
    pub start_ms: i64,
    /// The sound.
    pub samples: Vec<i16>,
    /// Where there is voice: from, to, in milliseconds from the piece's start; ordered.
    pub voiced_ms: Vec<(i64, i64)>,
}

impl Piece {
    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate)
    }

    /// The same without its sound, once that was sent.
    #[must_use]
    pub fn without_samples(self) -> Self {
        Self { samples: Vec::new(), ..self }
    }

    /// Two pieces out of one, cut in its middle third where it is quietest, the nearer to the middle the better.
    #[must_use]
    pub fn halves(mut self) -> (Self, Self) {
        let frame = frame_samples(self.rate);
        let frames = self.samples.len() / frame;
        let power = |at: usize| -> i64 {
            self.samples[at * frame..(at + 1) * frame].iter().map(|&sample| i64::from(sample).pow(2)).sum()
        };
        let quietest = (frames / 3..frames * 2 / 3).min_by_key(|&at| (power(at), at.abs_diff(frames / 2)));
        let cut = quietest.map_or(self.samples.len() / 2, |at| at * frame + frame / 2);
        let cut_ms = (cut * 1_000 / self.rate as usize) as i64;
        let second = Self {
            channel: self.channel,
            rate: self.rate,
            start_ms: self.start_ms + cut_ms,
            samples: self.samples.split_off(cut),
            voiced_ms: spans(&self.voiced_ms, cut_ms, i64::MAX),
        };
        self.voiced_ms = spans(&self.voiced_ms, 0, cut_ms);
        (self, second)
    }

    /// The sound as a WAV file: one channel, 16 bit, the recording's own rate.
    pub fn to_wav(&self) -> Result<Vec<u8>, AudioError> {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: self.rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut bytes = std::io::Cursor::new(Vec::with_capacity(self.samples.len() * 2 + 44));
        let unwritable = |error: hound::Error| AudioError::Io(std::io::Error::other(error));
        let mut writer = hound::WavWriter::new(&mut bytes, spec).map_err(unwritable)?;
        let mut samples = writer.get_i16_writer(self.samples.len() as u32);
        self.samples.iter().for_each(|&sample| samples.write_sample(sample));
        samples.flush().map_err(unwritable)?;
        writer.finalize().map_err(unwritable)?;
        Ok(bytes.into_inner())
    }

    /// Places a text in the recording's time: its words are spread over the voiced time by their letters, and a new
    /// segment begins at a sentence once the last one is long enough. Gives `(start_ms, end_ms, text)`.
    pub fn spread(&self, text: &str) -> Vec<(i64, i64, String)> {
        let sentences = sentences(text);
        let letters: usize = sentences.iter().map(|sentence| sentence.chars().count()).sum();
        if letters == 0 {
            return Vec::new();
        }
        let mut segments: Vec<(i64, i64, String)> = Vec::new();
        let mut before = 0;
        for sentence in sentences {
            let start = self.at_share(before as f64 / letters as f64);
            before += sentence.chars().count();
            let end = self.start_ms + self.at_share(before as f64 / letters as f64);
            match segments.last_mut() {
                Some((segment_start, segment_end, words)) if self.start_ms + start - *segment_start < SEGMENT_MS => {
                    words.push(' ');
                    words.push_str(sentence);
                    *segment_end = end;
                }
                // Where the voice of the piece begins is known.
                None => segments.push((self.start_ms + start, end, sentence.to_owned())),
                Some(_) => segments.push((self.start_ms + self.snapped(start), end, sentence.to_owned())),
            }
        }
        segments
    }

    /// Time within the piece at which the given share of its voice has passed.
    fn at_share(&self, share: f64) -> i64 {
        let voiced: i64 = self.voiced_ms.iter().map(|(start, end)| end - start).sum();
        let mut left = (voiced as f64 * share).round() as i64;
        for (start, end) in &self.voiced_ms {
            if left < end - start {
                return start + left;
            }
            left -= end - start;
        }
        self.voiced_ms.last().map_or(0, |(_, end)| *end)
    }

    /// The end of the nearest breath, if one is near.
    fn snapped(&self, at: i64) -> i64 {
        let after_breath = self.voiced_ms.windows(2).filter(|w| w[1].0 - w[0].1 >= BREATH_MS).map(|w| w[1].0);
        after_breath.min_by_key(|start| (start - at).abs()).filter(|start| (start - at).abs() <= SNAP_MS).unwrap_or(at)
    }
}

/// What lies of some spans between two times, counted from the first.
fn spans(spans: &[(i64, i64)], from: i64, to: i64) -> Vec<(i64, i64)> {
    let inside = spans.iter().map(|&(start, end)| (start.max(from) - from, end.min(to) - from));
    inside.filter(|(start, end)| start < end).collect()
}

/// Splits after `.`, `!`, `?` and their like when blank space follows.
fn sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut from = 0;
    let mut ended = false;
    for (index, letter) in text.char_indices() {
        if ended && letter.is_whitespace() {
            sentences.push(text[from..index].trim());
            from = index;
        }
        ended = matches!(letter, '.' | '!' | '?' | '…' | '。' | '！' | '？');
    }
    sentences.push(text[from..].trim());
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}
