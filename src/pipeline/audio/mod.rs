//! Sound: decode a recording as a stream and cut each channel at silence into pieces. Nothing here knows the network,
//! and memory is bounded by the pieces in flight, not by the length of the call (ADR 0004).

use std::fs::File;

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use tokio::sync::mpsc::Sender;

mod cutter;
mod piece;
#[cfg(test)]
mod tests;

use cutter::Cutter;
pub use piece::Piece;

/// How many sides can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// Everybody on one channel.
    One,
    /// Agent on the first, customer on the second.
    Two,
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

/// Decodes a recording and sends its pieces as they are found, channel by channel as their pauses come. Blocks: call
/// it on a thread of its own. Ends early, without an error, when nobody listens any more.
pub fn cut(file: File, pieces: &Sender<Piece>) -> Result<Channels, AudioError> {
    let (mut format, mut decoder, track) = open(file)?;
    let mut cutters: Vec<Cutter> = Vec::new();
    let mut planes: Vec<Vec<i16>> = Vec::new();
    loop {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) | Err(SymphoniaError::ResetRequired) => break,
            // A recording that was cut off is transcribed as far as it goes.
            Err(SymphoniaError::IoError(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(unsupported(&error)),
        };
        if packet.track_id != track {
            continue;
        }
        let sound = match decoder.decode(&packet) {
            Ok(sound) => sound,
            Err(SymphoniaError::DecodeError(_)) => continue,
            Err(error) => return Err(unsupported(&error)),
        };
        sound.copy_to_vecs_planar::<i16>(&mut planes);
        if cutters.is_empty() {
            let rate = sound.spec().rate();
            cutters = cutters_for(planes.len(), rate)?;
        }
        for (cutter, samples) in cutters.iter_mut().zip(&planes) {
            for piece in cutter.push(samples) {
                if pieces.blocking_send(piece).is_err() {
                    return Ok(channels(cutters.len()));
                }
            }
        }
    }
    if cutters.is_empty() {
        return Err(AudioError::Unsupported("it holds no sound".to_owned()));
    }
    let count = cutters.len();
    for piece in cutters.into_iter().filter_map(Cutter::finish) {
        let _ = pieces.blocking_send(piece);
    }
    Ok(channels(count))
}

fn channels(count: usize) -> Channels {
    if count == 1 { Channels::One } else { Channels::Two }
}

fn cutters_for(count: usize, rate: u32) -> Result<Vec<Cutter>, AudioError> {
    if !(4_000..=192_000).contains(&rate) {
        return Err(AudioError::Unsupported(format!("a sample rate of {rate} Hz makes no sense")));
    }
    match count {
        1 | 2 => Ok((0..count).map(|channel| Cutter::new(channel, rate)).collect()),
        other => Err(AudioError::Unsupported(format!("{other} channels; one or two are understood"))),
    }
}

/// A recording that can be read, its decoder, and the track that holds the sound.
type Opened = (Box<dyn FormatReader>, Box<dyn AudioDecoder>, u32);

fn open(file: File) -> Result<Opened, AudioError> {
    let stream = MediaSourceStream::new(Box::new(file), symphonia::core::io::MediaSourceStreamOptions::default());
    // No hint: the content decides, not the name.
    let format = symphonia::default::get_probe()
        .probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
        .map_err(|error| unsupported(&error))?;
    let track = format
        .default_track(TrackType::Audio)
        .ok_or_else(|| AudioError::Unsupported("it has no audio track".to_owned()))?;
    let parameters = track
        .codec_params
        .as_ref()
        .and_then(|parameters| parameters.audio())
        .ok_or_else(|| AudioError::Unsupported("its codec is not known".to_owned()))?;
    let decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(|error| unsupported(&error))?;
    let track = track.id;
    Ok((format, decoder, track))
}

fn unsupported(error: &SymphoniaError) -> AudioError {
    AudioError::Unsupported(format!("the decoder says: {error}"))
}
