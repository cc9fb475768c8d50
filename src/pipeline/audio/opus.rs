//! Opus packets: symphonia takes them out of Ogg and `WebM`, but has no decoder for them.

use opus_pure::{MAX_PACKET_SAMPLES, OpusDecoder};
use symphonia::core::audio::Channels;
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::packet::Packet;

use super::AudioError;

/// Opus decodes to whatever rate is asked for; more than this is not kept anyway.
pub(super) const RATE: u32 = 16_000;
/// Opus counts in this rate, whatever the rate of the sound (RFC 7845, section 4).
const CLOCK: u32 = 48_000;
/// Longest packet: 120 ms (RFC 6716, section 3.2.5).
const LONGEST: usize = RATE as usize * 120 / 1000;

/// Decoder of one stream of one or two channels.
pub(super) struct Opus {
    decoder: OpusDecoder,
    channels: usize,
    interleaved: Vec<i16>,
    /// Samples at the start that are the encoder's delay and no sound.
    skip: usize,
}

impl Opus {
    /// Reads the identification header (RFC 7845, section 5.1), which Ogg and `WebM` both carry.
    pub(super) fn new(parameters: &AudioCodecParameters) -> Result<Self, AudioError> {
        let head = parameters.extra_data.as_deref().unwrap_or_default();
        let (channels, skip) = match head {
            [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', _, channels, low, high, ..] => {
                (usize::from(*channels), u32::from(u16::from_le_bytes([*low, *high])))
            }
            _ => (parameters.channels.as_ref().map_or(1, Channels::count), 0),
        };
        if !(1..=2).contains(&channels) {
            let text = format!("it is Opus with {channels} channels; one or two are understood");
            return Err(AudioError::Unsupported(text));
        }
        let decoder = OpusDecoder::new(RATE as i32, channels)
            .map_err(|error| AudioError::Unsupported(format!("the Opus decoder stops ({error})")))?;
        let skip = (skip * RATE / CLOCK) as usize;
        Ok(Self { decoder, channels, interleaved: vec![0; MAX_PACKET_SAMPLES * channels], skip })
    }

    /// The sound of a packet, channel by channel; `None` when the packet is broken.
    pub(super) fn decode(&mut self, packet: &Packet, planes: &mut Vec<Vec<i16>>) -> Option<()> {
        let count = self.decoder.decode_s16(&packet.data, LONGEST, &mut self.interleaved).ok()?;
        // Only the end is trimmed by the container; in WebM the times are in other units, and nothing is.
        let padding = usize::try_from(packet.trim_end.get()).unwrap_or(0) * RATE as usize / CLOCK as usize;
        let end = count.saturating_sub(padding);
        let start = self.skip.min(end);
        self.skip -= start;
        let sound = self.interleaved.get(start * self.channels..end * self.channels)?;
        planes.resize(self.channels, Vec::new());
        for (channel, plane) in planes.iter_mut().enumerate() {
            plane.clear();
            plane.extend(sound.iter().skip(channel).step_by(self.channels));
        }
        Some(())
    }
}
