//! What was said, in the form that a client wants: JSON, plain text, or subtitles for a player.

use std::collections::HashSet;
use std::fmt::Write as _;

use poem::Request;
use poem::http::header;
use poem_openapi::payload::{Json, PlainText};
use poem_openapi::{ApiResponse, Object, ResponseContent};
use uuid::Uuid;

use super::super::schema::Nullable;
use super::words::Format;
use crate::model::plain;
use crate::model::{Segment, Speaker, Timing, Transcript};

/// Media types and what they ask for.
const MEDIA_TYPES: [(&str, Format); 8] = [
    ("application/json", Format::Json),
    ("application/*", Format::Json),
    ("*/*", Format::Json),
    ("text/plain", Format::Txt),
    ("text/*", Format::Txt),
    ("text/vtt", Format::Vtt),
    ("application/x-subrip", Format::Srt),
    ("text/srt", Format::Srt),
];

/// What was said in a call.
#[derive(Debug, Object)]
#[oai(rename = "Transcript")]
pub struct TranscriptView {
    /// Our id of the call.
    call_id: Uuid,
    /// ISO 639-1 code.
    language: Nullable<String>,
    /// Where the times come from: the model, or an estimate of at most seconds.
    timing: Timing,
    /// Ordered by start.
    segments: Vec<SegmentView>,
}

/// A stretch of speech by one speaker.
#[derive(Debug, Object)]
#[oai(rename = "TranscriptSegment")]
struct SegmentView {
    /// Position, from 0; `evidence` points at it.
    index: i32,
    /// Who speaks.
    speaker: Speaker,
    /// From the start of the recording, in milliseconds.
    start_ms: i64,
    /// From the start of the recording, in milliseconds.
    end_ms: i64,
    /// The words.
    text: String,
    /// Whether a statement of the summary or an action item is founded on it.
    cited: bool,
}

/// A transcript in one of its forms.
#[derive(ResponseContent)]
pub enum TranscriptContent {
    /// All that is known of it.
    Json(Json<TranscriptView>),
    /// A line for each segment.
    #[oai(content_type = "text/plain; charset=utf-8")]
    Text(PlainText<String>),
    /// Subtitles.
    #[oai(content_type = "application/x-subrip")]
    Srt(PlainText<String>),
    /// Subtitles.
    #[oai(content_type = "text/vtt; charset=utf-8")]
    Vtt(PlainText<String>),
}

/// The answer with a transcript.
#[derive(ApiResponse)]
pub enum TranscriptAnswer {
    /// What was said.
    #[oai(status = 200)]
    Ok(
        TranscriptContent,
        /// What else decides about the form.
        #[oai(header = "Vary")]
        String,
    ),
}

impl TranscriptView {
    /// The transcript of a call, and the indexes of the segments on which its analysis is founded.
    pub fn new(call_id: Uuid, transcript: Transcript, cited: &HashSet<i32>) -> Self {
        let segment = |(index, segment): (usize, Segment)| SegmentView {
            index: index as i32,
            speaker: segment.speaker,
            start_ms: segment.start_ms,
            end_ms: segment.end_ms,
            text: segment.text,
            cited: cited.contains(&(index as i32)),
        };
        let segments = transcript.segments.into_iter().enumerate().map(segment).collect();
        Self { call_id, language: transcript.language.into(), timing: transcript.timing, segments }
    }
}

/// What `Accept` likes best among what there is; JSON without it, and for whoever likes nothing of it (RFC 9110, section
/// 12.5.1, leaves that to us).
pub fn accepted(request: &Request) -> Format {
    let accept = request.headers().get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut best = (0.0, Format::Json);
    for range in accept.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
        let known = MEDIA_TYPES.iter().find(|(known, _)| *known == media_type);
        if let Some((_, format)) = known
            && weight > best.0
        {
            best = (weight, *format);
        }
    }
    best.1
}

/// A line for each segment: `[00:00:04] customer: Hello.`
pub fn text(transcript: &Transcript) -> String {
    transcript.segments.iter().fold(String::new(), |mut text, segment| {
        let time = clock(segment.start_ms);
        let _ = writeln!(text, "[{}] {}: {}", &time[..8], segment.speaker, plain(&segment.text));
        text
    })
}

/// `SubRip`.
pub fn srt(transcript: &Transcript) -> String {
    transcript.segments.iter().enumerate().fold(String::new(), |mut text, (index, segment)| {
        let (start, end) = times(segment);
        let (start, end) = (start.replace('.', ","), end.replace('.', ","));
        // An arrow in a text would be taken for one of the times.
        let words = plain(&segment.text).replace("-->", "->");
        let _ = write!(text, "{}\n{start} --> {end}\n{}: {words}\n\n", index + 1, segment.speaker);
        text
    })
}

/// WebVTT, the speaker as its voice (W3C, WebVTT, section 4.2.2).
pub fn vtt(transcript: &Transcript) -> String {
    transcript.segments.iter().fold("WEBVTT\n\n".to_owned(), |mut text, segment| {
        let (start, end) = times(segment);
        let words = plain(&segment.text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = write!(text, "{start} --> {end}\n<v {}>{words}\n\n", segment.speaker);
        text
    })
}

/// Subtitles end after they begin.
fn times(segment: &Segment) -> (String, String) {
    (clock(segment.start_ms), clock(segment.end_ms.max(segment.start_ms + 1)))
}

/// `01:02:03.456`
fn clock(milliseconds: i64) -> String {
    let (seconds, rest) = (milliseconds / 1_000, milliseconds % 1_000);
    format!("{:02}:{:02}:{:02}.{rest:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// In one line, and without characters that control a screen or turn the direction of writing.
fn plain(text: &str) -> String {
    plain::plain(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn transcript() -> Transcript {
        let segment =
            |speaker, start_ms, end_ms, text: &str| Segment { speaker, start_ms, end_ms, text: text.to_owned() };
        let segments = vec![
            segment(Speaker::Agent, 0, 4_100, "Hello,\nyou <b>there</b> --> & me."),
            segment(Speaker::Customer, 3_723_456, 3_723_456, "Hi\u{202E}\u{7}."),
        ];
        Transcript { language: None, timing: Timing::Model, segments, ends_early: None }
    }

    #[test]
    fn text_has_a_line_for_each_segment() {
        let expected = "[00:00:00] agent: Hello, you <b>there</b> --> & me.\n[01:02:03] customer: Hi .\n";
        assert_eq!(text(&transcript()), expected);
    }

    #[test]
    fn subtitles_are_well_formed() {
        let expected = "1\n00:00:00,000 --> 00:00:04,100\nagent: Hello, you <b>there</b> -> & me.\n\n\
                        2\n01:02:03,456 --> 01:02:03,457\ncustomer: Hi .\n\n";
        assert_eq!(srt(&transcript()), expected);
        let expected = "WEBVTT\n\n00:00:00.000 --> 00:00:04.100\n<v agent>Hello, you &lt;b&gt;there&lt;/b&gt; --&gt; \
                        &amp; me.\n\n01:02:03.456 --> 01:02:03.457\n<v customer>Hi .\n\n";
        assert_eq!(vtt(&transcript()), expected);
    }

    #[rstest]
    #[case(&[], Format::Json)]
    #[case(&["*/*"], Format::Json)]
    #[case(&["text/vtt"], Format::Vtt)]
    #[case(&["text/plain;q=0.5, text/vtt"], Format::Vtt)]
    #[case(&["text/plain;q=0.5", "application/json; q=0.1"], Format::Txt)]
    #[case(&["image/png"], Format::Json)]
    fn the_best_is_chosen(#[case] accept: &[&str], #[case] expected: Format) {
        let mut request = Request::builder();
        for value in accept {
            request = request.header(header::ACCEPT, *value);
        }
        assert_eq!(accepted(&request.finish()), expected);
    }
}
