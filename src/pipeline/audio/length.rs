//! How long a recording says that it is: one that was cut off says more than there is.

use symphonia::core::formats::well_known::{FORMAT_ID_FLAC, FORMAT_ID_ISOMP4, FORMAT_ID_MKV, FORMAT_ID_MP3};
use symphonia::core::formats::{FormatReader, Track};
use symphonia::core::units::TimeBase;

use super::header::Header;
use crate::model::EndsEarly;

/// Less than this is missing at the end of many a whole recording: encoders round, and fill up. In seconds, and as a
/// part of the whole.
const LITTLE_SECONDS: f64 = 1.0;
const LITTLE_PART: f64 = 0.01;

/// The file's own word about its length, where it has one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Length {
    /// So many times what is there.
    Times(f64),
    /// In seconds.
    Seconds(f64),
}

impl Length {
    /// What the file says. Formats without a word about it are left out: the demuxers guess it from what is there.
    pub(super) fn told(header: Header, format: &dyn FormatReader, track: &Track) -> Option<Self> {
        if let Some(times) = header.times {
            return Some(Self::Times(times));
        }
        let media = format.media_info();
        let (units, base) = match format.format_info().format {
            FORMAT_ID_FLAC | FORMAT_ID_ISOMP4 => (track.duration, track.time_base),
            FORMAT_ID_MP3 if header.counts_frames => (track.duration, track.time_base),
            FORMAT_ID_MKV => (media.duration, media.time_base),
            _ => (None, None),
        };
        Some(Self::Seconds(seconds(units?.get() as f64, base)))
    }

    /// What is missing of it when so many seconds were heard. `longest` is what no honest file says, in seconds.
    pub(super) fn missing(self, heard: f64, longest: f64) -> Option<EndsEarly> {
        let promised = match self {
            Self::Times(times) => heard * times,
            Self::Seconds(seconds) => seconds,
        };
        let missing = promised - heard;
        let much = missing >= LITTLE_SECONDS && missing >= LITTLE_PART * promised && promised <= longest;
        much.then(|| EndsEarly { heard_seconds: heard.floor() as i64, promised_seconds: promised.round() as i64 })
    }
}

/// Length of so many units; 0 when the unit is not known.
pub(super) fn seconds(units: f64, base: Option<TimeBase>) -> f64 {
    base.map_or(0.0, |base| units * f64::from(base.numer.get()) / f64::from(base.denom.get()))
}
