//! Tells what was downloaded by its first bytes. Neither the content type nor the end of the URL is believed: MP3
//! often comes as `application/octet-stream`.

/// Fewer bytes than this are no recording.
pub(super) const MIN_BYTES: usize = 512;

/// A kind of audio file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AudioType {
    /// For the names of files, without a dot. Transcription servers tell the format by it.
    pub extension: &'static str,
    /// For `Content-Type`.
    pub media_type: &'static str,
}

const WAV: AudioType = AudioType { extension: "wav", media_type: "audio/wav" };
const MP3: AudioType = AudioType { extension: "mp3", media_type: "audio/mpeg" };
const AAC: AudioType = AudioType { extension: "aac", media_type: "audio/aac" };
const OGG: AudioType = AudioType { extension: "ogg", media_type: "audio/ogg" };
const FLAC: AudioType = AudioType { extension: "flac", media_type: "audio/flac" };
const M4A: AudioType = AudioType { extension: "m4a", media_type: "audio/mp4" };
const WEBM: AudioType = AudioType { extension: "webm", media_type: "audio/webm" };

/// What the first bytes of a file say, or, as the end of a sentence, what they are instead of audio.
pub(super) fn sniff(head: &[u8]) -> Result<AudioType, &'static str> {
    match head {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Ok(WAV),
        [b'I', b'D', b'3', ..] => Ok(MP3),
        [b'O', b'g', b'g', b'S', ..] => Ok(OGG),
        [b'f', b'L', b'a', b'C', ..] => Ok(FLAC),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Ok(M4A),
        [0x1A, 0x45, 0xDF, 0xA3, ..] => Ok(WEBM),
        [0xFF, 0xF1 | 0xF9, ..] => Ok(AAC),
        [0xFF, second, ..] if is_mp3_frame(*second) => Ok(MP3),
        _ => Err(what_instead(head)),
    }
}

/// Second byte of a frame: three set bits, two of the version (01 is reserved; 00 is MPEG 2.5, which is how 8 kHz
/// telephone audio comes), two of the layer (01 is layer III).
fn is_mp3_frame(byte: u8) -> bool {
    byte & 0xE0 == 0xE0 && byte & 0x18 != 0x08 && byte & 0x06 == 0x02
}

fn what_instead(head: &[u8]) -> &'static str {
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start();
    match text {
        [b'{' | b'[', ..] => "JSON",
        [b'<', ..] => "a web page or XML",
        _ if text.starts_with(b"#EXTM3U") || text.starts_with(b"ffconcat") => "a playlist",
        [] => "nothing but blanks",
        _ if text.iter().take(64).all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) => "plain text",
        _ => "data of an unknown format",
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(b"RIFF\x24\x08\0\0WAVEfmt ", WAV)]
    #[case(b"ID3\x04\0\0\0\0", MP3)]
    #[case(b"\xFF\xFB\x90\x64", MP3)]
    #[case(b"\xFF\xF3\x90\x64", MP3)]
    #[case(b"\xFF\xE3\x18\xC4", MP3)]
    #[case(b"\xFF\xFA\x90\x64", MP3)]
    #[case(b"\xFF\xF1\x50\x80", AAC)]
    #[case(b"\xFF\xF9\x50\x80", AAC)]
    #[case(b"OggS\0\x02", OGG)]
    #[case(b"fLaC\0\0\0\x22", FLAC)]
    #[case(b"\0\0\0\x20ftypM4A ", M4A)]
    #[case(b"\x1A\x45\xDF\xA3", WEBM)]
    fn audio_is_known(#[case] head: &[u8], #[case] expected: AudioType) {
        assert_eq!(sniff(head), Ok(expected));
    }

    #[rstest]
    #[case(b"  {\"error\":1}", "JSON")]
    #[case(b"[1]", "JSON")]
    #[case(b"\r\n<!doctype html>", "a web page or XML")]
    #[case(b"\xEF\xBB\xBF<html>", "a web page or XML")]
    #[case(b"#EXTM3U\n", "a playlist")]
    #[case(b"ffconcat version 1.0", "a playlist")]
    #[case(b"hello", "plain text")]
    #[case(b"", "nothing but blanks")]
    #[case(b"RIFF\0\0\0\0AVI LIST\0\0", "data of an unknown format")]
    #[case(b"\xFF\xEB\0\0", "data of an unknown format")]
    #[case(b"\xFF\xFD\0\0", "data of an unknown format")]
    #[case(b"\x1F\x8B\x08\0", "data of an unknown format")]
    #[case(b"\xFF", "data of an unknown format")]
    fn the_rest_is_refused(#[case] head: &[u8], #[case] expected: &str) {
        assert_eq!(sniff(head), Err(expected));
    }
}
