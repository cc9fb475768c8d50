//! Decodes a recording as a stream of blocks. Its content decides what it is, not its name.

use std::fs::File;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_AAC, CODEC_ID_MP3, CODEC_ID_OPUS};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;
use symphonia::core::units::TimeBase;

use super::AudioError;
use super::length::{Length, seconds};
use super::opus::{self, Opus};
use super::resample::Resampler;
use super::source::Source;
use crate::model::EndsEarly;

/// Two channels are two sides; more are mixed into one, but a file with more than this is no call.
const MOST_CHANNELS: usize = 8;
/// Nothing longer is taken for a call.
const LONGEST_HOURS: u64 = 12;
/// Packets that are this far behind their own time follow a gap, which is filled with silence.
const GAP_SECONDS: f64 = 0.1;
/// A longer gap is a broken time and no gap.
const LONGEST_GAP_SECONDS: f64 = 600.0;
/// AAC files begin with at least one frame that is only the encoder's delay.
const AAC_DELAY: usize = 1_024;
/// Delay of the usual encoder and the decoder of an MP3 file that does not tell its own.
const MP3_DELAY: usize = 576 + 529;

/// A recording that is being decoded.
pub(super) struct Recording {
    length: Option<Length>,
    format: Box<dyn FormatReader>,
    decoder: Decoder,
    track: u32,
    time_base: Option<TimeBase>,
    /// Time of the first packet, in units of the time base.
    first: Option<i64>,
    /// What the decoder gave last, before and after channels are mixed and rates brought down.
    planes: Vec<Vec<i16>>,
    shape: Option<Shape>,
    resamplers: Vec<Resampler>,
    /// Samples of each channel so far, at the recording's own rate.
    decoded: u64,
    /// Samples at the start that are no sound.
    skip: usize,
}

enum Decoder {
    Symphonia(Box<dyn AudioDecoder>),
    Opus(Box<Opus>),
}

/// A stretch of sound.
pub(super) struct Block<'a> {
    /// Samples per second.
    pub rate: u32,
    /// One or two channels of equal length.
    pub planes: &'a [Vec<i16>],
}

/// What stays the same from the first packet on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    channels: usize,
    rate: u32,
}

impl Recording {
    /// Looks at the content and finds its track of sound.
    pub(super) fn open(file: File) -> Result<Self, AudioError> {
        let (source, header) = Source::new(file)?;
        let stream = MediaSourceStream::new(Box::new(source), MediaSourceStreamOptions::default());
        // No hint: the content decides, not the name.
        let format = symphonia::default::get_probe()
            .probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
            .map_err(|error| unsupported(&error))?;
        let track = format
            .default_track(TrackType::Audio)
            .ok_or_else(|| AudioError::Unsupported("it has no audio track".to_owned()))?;
        let Some(CodecParameters::Audio(parameters)) = &track.codec_params else {
            return Err(AudioError::Unsupported("its codec is not known".to_owned()));
        };
        let decoder = if parameters.codec == CODEC_ID_OPUS {
            Decoder::Opus(Box::new(Opus::new(parameters)?))
        } else {
            let decoder =
                symphonia::default::get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default());
            Decoder::Symphonia(decoder.map_err(|error| unsupported(&error))?)
        };
        let skip = match parameters.codec {
            CODEC_ID_AAC => AAC_DELAY,
            CODEC_ID_MP3 if track.delay.unwrap_or(0) == 0 => MP3_DELAY,
            _ => 0,
        };
        let length = Length::told(header, format.as_ref(), track);
        let (track, time_base) = (track.id, track.time_base);
        Ok(Self {
            length,
            format,
            decoder,
            track,
            time_base,
            first: None,
            planes: Vec::new(),
            shape: None,
            resamplers: Vec::new(),
            decoded: 0,
            skip,
        })
    }

    /// The next stretch of sound; `None` at the end. A recording that was cut off ends where it was cut, and what cannot
    /// be decoded in its middle is silence.
    pub(super) fn next_block(&mut self) -> Result<Option<Block<'_>>, AudioError> {
        let (packet, shape) = loop {
            let Some(packet) = self.next_packet()? else {
                return match self.shape {
                    Some(_) => Ok(None),
                    None => Err(AudioError::Unsupported("it holds no sound that can be decoded".to_owned())),
                };
            };
            match (self.decode(&packet)?, self.shape) {
                (Some(shape), None) => {
                    self.begin(shape)?;
                    break (packet, shape);
                }
                (Some(shape), Some(known)) if shape == known => break (packet, known),
                (_, Some(known)) => {
                    self.silence(&packet, known);
                    break (packet, known);
                }
                (None, None) => {}
            }
        };
        self.fill_gap(&packet, shape);
        self.decoded += self.planes[0].len() as u64;
        if self.decoded > LONGEST_HOURS * 3600 * u64::from(shape.rate) {
            return Err(AudioError::Unsupported(format!("it is longer than {LONGEST_HOURS} hours")));
        }
        if self.skip > 0 {
            let skipped = self.skip.min(self.planes[0].len());
            self.planes.iter_mut().for_each(|plane| drop(plane.drain(..skipped)));
            self.skip -= skipped;
        }
        if self.planes.len() > 2 {
            mix(&mut self.planes);
        }
        for (resampler, plane) in self.resamplers.iter_mut().zip(&mut self.planes) {
            resampler.push(plane);
        }
        Ok(Some(Block { rate: Resampler::rate(shape.rate), planes: &self.planes }))
    }

    /// What is missing at the end, once all blocks were taken.
    pub(super) fn ends_early(&self) -> Option<EndsEarly> {
        let heard = self.decoded as f64 / f64::from(self.shape?.rate);
        self.length?.missing(heard, (LONGEST_HOURS * 3600) as f64)
    }

    /// The next packet of our track.
    fn next_packet(&mut self) -> Result<Option<Packet>, AudioError> {
        loop {
            match self.format.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track => return Ok(Some(packet)),
                Ok(Some(_)) => {}
                Err(SymphoniaError::IoError(error)) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
                    return Err(AudioError::Io(error));
                }
                // The end, or the container is broken here or cut off: what came before is heard.
                Ok(None) | Err(_) => return Ok(None),
            }
        }
    }

    /// Decodes into `planes`; `None` when the packet is broken.
    fn decode(&mut self, packet: &Packet) -> Result<Option<Shape>, AudioError> {
        match &mut self.decoder {
            Decoder::Opus(opus) => {
                let decoded = opus.decode(packet, &mut self.planes);
                Ok(decoded.map(|()| Shape { channels: self.planes.len(), rate: opus::RATE }))
            }
            Decoder::Symphonia(decoder) => match decoder.decode(packet) {
                Ok(sound) => {
                    sound.copy_to_vecs_planar::<i16>(&mut self.planes);
                    Ok(Some(Shape { channels: self.planes.len(), rate: sound.spec().rate() }))
                }
                Err(SymphoniaError::DecodeError(_) | SymphoniaError::IoError(_)) => Ok(None),
                Err(error) => Err(unsupported(&error)),
            },
        }
    }

    fn begin(&mut self, shape: Shape) -> Result<(), AudioError> {
        let Shape { channels, rate } = shape;
        if !(4_000..=192_000).contains(&rate) {
            return Err(AudioError::Unsupported(format!("a sample rate of {rate} Hz makes no sense")));
        }
        if !(1..=MOST_CHANNELS).contains(&channels) {
            let text =
                format!("it has {channels} channels; a call has one or two, and at most {MOST_CHANNELS} are mixed");
            return Err(AudioError::Unsupported(text));
        }
        let kept = if channels > 2 { 1 } else { channels };
        self.resamplers = (0..kept).filter_map(|_| Resampler::new(rate)).collect();
        self.shape = Some(shape);
        Ok(())
    }

    /// Silence in place of a packet that is broken, or that suddenly has another rate or number of channels.
    fn silence(&mut self, packet: &Packet, shape: Shape) {
        let length = seconds(packet.dur.get() as f64, self.time_base).clamp(0.0, 1.0);
        self.planes = vec![vec![0; (length * f64::from(shape.rate)) as usize]; shape.channels];
    }

    /// Puts silence before the sound of a packet whose time says that something is missing: containers leave out what
    /// was silent, and demuxers skip what is broken.
    fn fill_gap(&mut self, packet: &Packet, shape: Shape) {
        // What lies before zero is the encoder's delay.
        let first = *self.first.get_or_insert(packet.pts.get().max(0));
        let due = seconds((packet.pts.get() as f64) - first as f64, self.time_base);
        let missing = due - self.decoded as f64 / f64::from(shape.rate);
        if (GAP_SECONDS..LONGEST_GAP_SECONDS).contains(&missing) {
            let silence = vec![0; (missing * f64::from(shape.rate)) as usize];
            self.planes.iter_mut().for_each(|plane| drop(plane.splice(..0, silence.iter().copied())));
        }
    }
}

/// Many channels become one. Divided by the root of their number: mostly one speaks at a time.
fn mix(planes: &mut Vec<Vec<i16>>) {
    let share = (planes.len() as f32).sqrt().recip();
    let mixed = (0..planes[0].len()).map(|at| {
        let sum: f32 = planes.iter().filter_map(|plane| plane.get(at)).map(|sample| f32::from(*sample)).sum();
        (sum * share).round() as i16
    });
    *planes = vec![mixed.collect()];
}

fn unsupported(error: &SymphoniaError) -> AudioError {
    AudioError::Unsupported(format!("the decoder stops ({error})"))
}
