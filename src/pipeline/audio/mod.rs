//! Sound: decode a recording as a stream and cut each channel at silence into pieces. Nothing here knows the network,
//! and memory is bounded by the pieces in flight, not by the length of the call (ADR 0004).

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::mpsc::Sender;

mod activity;
mod alike;
mod cutter;
mod decode;
mod header;
mod length;
mod opus;
mod piece;
mod resample;
mod source;
mod steadiness;
#[cfg(test)]
mod tests;

use activity::Activity;
use alike::Comparison;
use cutter::Cutter;
use decode::{Block, Recording};
pub use piece::Piece;

use crate::model::EndsEarly;

/// How many sides can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// Everybody on one channel.
    One,
    /// Agent on the first, customer on the second.
    Two,
}

/// What is known of a recording once all of it was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// How many sides can be told apart.
    pub channels: Channels,
    /// What it lacks at its end, if it announces more than there is.
    pub ends_early: Option<EndsEarly>,
}

/// Why a recording could not be read.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// Its content is not something we decode; the text says what it is.
    #[error("{0}")]
    Unsupported(String),
    /// The file could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Decodes a recording and sends its pieces as they are found, channel by channel as their pauses come. The file is
/// read twice: first to learn where somebody speaks and whether its channels differ, then for the pieces. Blocks: call
/// it on a thread of its own. Ends early, without an error, when nobody listens any more.
pub fn cut(file: File, pieces: &Sender<Piece>) -> Result<Whole, AudioError> {
    // Decoders meet hostile files, and a panic of theirs would meet every further attempt too.
    catch_unwind(AssertUnwindSafe(|| {
        let survey = survey(file.try_clone()?, pieces)?;
        send_pieces(file, survey, pieces)
    }))
    .unwrap_or_else(|_| {
        Err(AudioError::Unsupported("its content is damaged in a way that breaks the decoder".to_owned()))
    })
}

/// What the first reading has found.
struct Survey {
    rate: u32,
    /// For each channel that is to be cut: which one of the file, and where there is voice.
    voices: Vec<(usize, Vec<bool>)>,
    ends_early: Option<EndsEarly>,
}

fn survey(file: File, pieces: &Sender<Piece>) -> Result<Survey, AudioError> {
    let mut recording = Recording::open(file)?;
    let mut activities: Vec<Activity> = Vec::new();
    let mut comparison = None;
    let mut known_rate = 0;
    while let Some(Block { rate, planes }) = recording.next_block()? {
        if pieces.is_closed() {
            break;
        }
        if activities.is_empty() {
            known_rate = rate;
            activities = planes.iter().map(|_| Activity::new(rate)).collect();
            comparison = (planes.len() == 2).then(|| Comparison::new(rate));
        }
        for (activity, samples) in activities.iter_mut().zip(planes) {
            activity.push(samples);
        }
        if let (Some(comparison), [left, right]) = (&mut comparison, planes) {
            comparison.push(left, right);
        }
    }
    let likeness = comparison.map(Comparison::finish).unwrap_or_default();
    let voices = activities.into_iter().map(Activity::finish).enumerate();
    let kept = voices.filter(|(channel, _)| likeness.same.is_none_or(|same| same == *channel));
    let voices = kept.map(|(channel, mut voice)| {
        for (voice, leak) in voice.iter_mut().zip(&likeness.leaks).filter(|_| likeness.same.is_none()) {
            *voice &= leak.is_none_or(|leak| usize::from(leak) != channel);
        }
        (channel, voice)
    });
    Ok(Survey { rate: known_rate, voices: voices.collect(), ends_early: recording.ends_early() })
}

fn send_pieces(file: File, survey: Survey, pieces: &Sender<Piece>) -> Result<Whole, AudioError> {
    let channels = if survey.voices.len() == 1 { Channels::One } else { Channels::Two };
    let whole = Whole { channels, ends_early: survey.ends_early };
    let mut recording = Recording::open(file)?;
    let mut cutters: Vec<(usize, Cutter)> = Vec::new();
    for (number, (channel, voice)) in survey.voices.into_iter().enumerate() {
        cutters.push((channel, Cutter::new(number, survey.rate, voice)));
    }
    while let Some(Block { planes, .. }) = recording.next_block()? {
        for (channel, cutter) in &mut cutters {
            let Some(samples) = planes.get(*channel) else { continue };
            for piece in cutter.push(samples) {
                if pieces.blocking_send(piece).is_err() {
                    return Ok(whole);
                }
            }
        }
    }
    for piece in cutters.into_iter().filter_map(|(_, cutter)| cutter.finish()) {
        let _ = pieces.blocking_send(piece);
    }
    Ok(whole)
}
