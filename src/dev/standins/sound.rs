//! Knows a piece of audio again by its samples: finds where in the fixtures it was cut from.
//!
//! No index: the loudest sample of a piece occurs in few places, so walking over all fixture samples (about two
//! million) and comparing outwards from each candidate takes milliseconds. What matches is a run; what is left on
//! either side of it is looked for in turn, so that calls joined to longer ones are known too.

use std::io::Cursor;
use std::ops::Range;

use super::fixtures::{FixtureCall, Word};

/// A sample may differ by this much: decoders and encoders round.
const ROUNDING: u16 = 2;
/// Quieter than this (-50 dBFS) is silence.
const QUIET: u16 = 104;
/// A run shorter than this many seconds proves nothing, unless it is the whole piece.
const SHORTEST_RUN: f64 = 0.1;

/// Decoded audio.
#[derive(Debug, Clone)]
pub struct Sound {
    /// Samples per second.
    pub rate: u32,
    /// One list of 16-bit samples per channel.
    pub channels: Vec<Vec<i16>>,
}

/// A word that was recognised.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// The word as written.
    pub word: &'static str,
    /// Start and end in seconds from the start of the piece.
    pub time: (f64, f64),
    /// Call and segment that it comes from, to group words by.
    pub segment: (&'static str, usize),
}

/// A stretch of a piece that equals a stretch of a fixture's channel.
struct Run {
    call: &'static FixtureCall,
    channel: usize,
    /// In the piece.
    here: Range<usize>,
    /// Where `here.start` lies in the fixture; before its start when the piece has silence in front.
    there: isize,
}

impl Sound {
    /// Decodes a WAV file of integers or floats, of any width.
    pub fn read(wav: &[u8]) -> Result<Self, hound::Error> {
        let mut reader = hound::WavReader::new(Cursor::new(wav))?;
        let spec = reader.spec();
        let samples: Vec<i16> = match spec.sample_format {
            hound::SampleFormat::Float => {
                reader.samples::<f32>().map(|s| s.map(|s| (s * 32768.0).round() as i16)).collect::<Result<_, _>>()?
            }
            hound::SampleFormat::Int => {
                let scale = 2f64.powi(16 - i32::from(spec.bits_per_sample));
                let narrow = |sample: i32| (f64::from(sample) * scale).round() as i16;
                reader.samples::<i32>().map(|s| s.map(narrow)).collect::<Result<_, _>>()?
            }
        };
        let count = usize::from(spec.channels);
        let channels = (0..count).map(|at| samples.iter().skip(at).step_by(count).copied().collect()).collect();
        Ok(Self { rate: spec.sample_rate, channels })
    }

    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        self.channels.first().map_or(0, Vec::len) as f64 / f64::from(self.rate.max(1))
    }
}

/// The words in `piece`, in the order of their start: those whose middle lies inside it. `None` = not from the
/// fixtures; an empty list = silence, or a pause between words. A channel that is not known is left out as long as
/// another one is.
pub fn recognise(calls: &'static [FixtureCall], piece: &Sound) -> Option<Vec<Heard>> {
    let known: Vec<_> = piece.channels.iter().filter_map(|samples| listen(calls, piece.rate, samples)).collect();
    if known.is_empty() {
        return None;
    }
    let mut heard = known.concat();
    heard.sort_by(|one, other| one.time.0.total_cmp(&other.time.0));
    Some(heard)
}

fn listen(calls: &'static [FixtureCall], rate: u32, samples: &[i16]) -> Option<Vec<Heard>> {
    let mut heard = Vec::new();
    let mut open = std::iter::once(0..samples.len()).collect::<Vec<_>>();
    while let Some(range) = open.pop() {
        let Some(peak) = range.clone().max_by_key(|at| samples[*at].unsigned_abs()) else { continue };
        if samples[peak].unsigned_abs() < QUIET {
            continue;
        }
        let run = longest_run(calls, rate, samples, range.clone(), peak)?;
        if run.here != range && run.here.len() < (f64::from(rate) * SHORTEST_RUN) as usize {
            return None;
        }
        heard.extend(words(&run));
        open.extend([range.start..run.here.start, run.here.end..range.end]);
    }
    Some(heard)
}

/// The longest run around the loudest sample, at `peak`. Written as plain loops: they run over everything there is.
fn longest_run(
    calls: &'static [FixtureCall],
    rate: u32,
    samples: &[i16],
    range: Range<usize>,
    peak: usize,
) -> Option<Run> {
    let mut longest: Option<Run> = None;
    for call in calls.iter().filter(|call| call.sound().rate == rate) {
        for (channel, track) in call.sound().channels.iter().enumerate() {
            for (at, value) in track.iter().enumerate() {
                if value.abs_diff(samples[peak]) > ROUNDING {
                    continue;
                }
                let shift = at as isize - peak as isize;
                let differs = |here: &usize| sample(track, *here as isize + shift).abs_diff(samples[*here]) > ROUNDING;
                let start = (range.start..peak).rev().find(differs).map_or(range.start, |here| here + 1);
                let end = (peak..range.end).find(differs).unwrap_or(range.end);
                let run = Run { call, channel, here: start..end, there: start as isize + shift };
                if run.here == range {
                    return Some(run);
                }
                if longest.as_ref().is_none_or(|longest| longest.here.len() < run.here.len()) {
                    longest = Some(run);
                }
            }
        }
    }
    longest
}

/// A sample of a fixture's channel, which is silent before and after.
fn sample(track: &[i16], at: isize) -> i16 {
    usize::try_from(at).ok().and_then(|at| track.get(at)).copied().unwrap_or(0)
}

fn words(run: &Run) -> impl Iterator<Item = Heard> {
    let rate = f64::from(run.call.sound().rate);
    let start = run.there as f64 / rate;
    let inside = start..start + run.here.len() as f64 / rate;
    let shift = run.here.start as f64 / rate - start;
    let call = run.call;
    let channel = run.channel;
    let segments = call.segments.iter().enumerate().filter(move |(_, segment)| segment.channel_index() == channel);
    segments.flat_map(move |(index, segment)| {
        let inside = inside.clone();
        let spoken = segment.words.iter().filter(move |word| inside.contains(&middle(word)));
        spoken.map(move |Word { word, start, end }| Heard {
            word,
            time: ((start + shift).max(0.0), end + shift),
            segment: (&call.name, index),
        })
    })
}

fn middle(word: &Word) -> f64 {
    f64::midpoint(word.start, word.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::standins::Fixtures;

    fn text(piece: &Sound) -> Option<String> {
        let heard = recognise(Fixtures::embedded().calls(), piece)?;
        Some(heard.iter().map(|heard| heard.word).collect::<Vec<_>>().join(" "))
    }

    fn cut(name: &str, channel: usize, seconds: Range<f64>) -> Sound {
        let sound = Fixtures::embedded().call(name).unwrap().sound();
        let at = |second: f64| (second * f64::from(sound.rate)) as usize;
        let track = &sound.channels[channel];
        Sound { rate: sound.rate, channels: vec![track[at(seconds.start)..at(seconds.end).min(track.len())].to_vec()] }
    }

    #[test]
    fn whole_channels_give_all_words_of_their_speaker() {
        for call in Fixtures::embedded().calls() {
            for (channel, track) in call.sound().channels.iter().enumerate() {
                let piece = Sound { rate: call.sound().rate, channels: vec![track.clone()] };
                let spoken = call.segments.iter().filter(|segment| segment.channel_index() == channel);
                let expected = spoken.map(|segment| segment.text.as_str()).collect::<Vec<_>>().join(" ");
                assert_eq!(text(&piece), Some(expected), "{} channel {channel}", call.name);
            }
        }
    }

    #[test]
    fn a_piece_gives_the_words_whose_middle_it_holds_at_their_time_within_it() {
        let piece = cut("double-charge", 0, 13.0..16.0);
        assert_eq!(text(&piece).unwrap(), "sorry about that. I can see the second charge.");
        let heard = recognise(Fixtures::embedded().calls(), &piece).unwrap();
        let that = heard.iter().find(|heard| heard.word == "that.").unwrap();
        assert!((that.time.0 - 0.73).abs() < 0.01, "{:?}", that.time);
    }

    #[test]
    fn rounding_padding_and_joining_do_not_hide_a_piece() {
        let mut piece = cut("double-charge", 1, 18.0..20.0);
        for (at, sample) in piece.channels[0].iter_mut().enumerate() {
            *sample = sample.saturating_add((at % 5) as i16 - 2);
        }
        assert_eq!(text(&piece).unwrap(), "How long will the refund take?");

        let padded = [vec![0; 900], cut("double-charge", 1, 18.0..20.0).channels[0].clone(), vec![0; 9000]].concat();
        let other = cut("appointment", 0, 0.0..3.0).channels[0].clone();
        let joined = Sound { rate: 8000, channels: vec![[padded, other].concat()] };
        assert_eq!(text(&joined).unwrap(), "How long will the refund take? Riverside Dental, this is Susan.");
    }

    #[test]
    fn silence_has_no_words_and_other_sounds_are_not_known() {
        assert_eq!(text(&Sound { rate: 8000, channels: vec![vec![0; 8000]] }).unwrap(), "");
        let tone = (0..80_000).map(|at| (f64::from(at) * 0.35).sin().mul_add(9000.0, 0.0) as i16).collect();
        assert_eq!(text(&Sound { rate: 8000, channels: vec![tone] }), None);
        let other_rate = Sound { rate: 16_000, ..cut("double-charge", 0, 0.0..5.0) };
        assert_eq!(text(&other_rate), None);
        let half_known = [cut("double-charge", 0, 0.0..5.0).channels[0].clone(), vec![7000; 4000]].concat();
        assert_eq!(text(&Sound { rate: 8000, channels: vec![half_known] }), None);
    }
}
