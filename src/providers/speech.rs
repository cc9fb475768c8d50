//! Speech to text: an OpenAI-compatible `/audio/transcriptions`.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Client;
use reqwest::multipart::{Form, Part};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::openai_server::{Answer, Failure, Server, TRANSCRIPTION, tokens};
use crate::config::TranscriptionConfig;
use crate::model::{UpstreamError, Usage};

mod language;

/// The only model of `OpenAI`'s that gives the times of what it heard, and takes the fields that ask for them.
const TIMED_MODEL: &str = "whisper-1";
/// The model that ignores `language`, and answers 400 to a code in `languages[]` that it does not know.
const MODEL_WITHOUT_LANGUAGE: &str = "gpt-transcribe";
/// A segment is invented when it is likely no speech and badly guessed, or repeats itself: Whisper's own thresholds.
const NO_SPEECH_PROBABILITY: f64 = 0.6;
const LOW_LOG_PROBABILITY: f64 = -1.0;
const HIGH_COMPRESSION: f64 = 2.4;
/// A text that is one word so many times is invented on silence.
const REPEATS: usize = 3;

/// A piece of one channel, cut at silence.
#[derive(Debug, Clone)]
pub struct SpeechPiece {
    /// A whole WAV file, at most 24 MiB.
    pub wav: Bytes,
    /// How long it is.
    pub seconds: f64,
    /// Ends in `.wav`: servers tell the format by it.
    pub file_name: String,
    /// ISO 639-1 code, if known.
    pub language: Option<String>,
}

/// What was heard in a piece.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SpeechAnswer {
    /// The words; empty when there were none.
    pub text: String,
    /// ISO 639-1 code, if the model told a language that has one.
    pub language: Option<String>,
    /// The words with times, only if the model gave them.
    pub segments: Vec<TimedText>,
    /// What it cost.
    pub usage: Usage,
    /// The upstream's id of the request.
    pub request_id: Option<String>,
    /// The whole answer as it came; null when there was none because the piece was too short.
    pub raw: Value,
}

/// Why a piece was not transcribed.
#[derive(Debug)]
pub enum SpeechError {
    /// It is more than the server takes at once; shorter pieces may do.
    TooMuch {
        /// How many seconds it takes, if it says so.
        most_seconds: Option<f64>,
        /// What follows when the piece is not to be cut any shorter.
        error: UpstreamError,
    },
    /// Anything else.
    Other(UpstreamError),
}

/// Words with times, in milliseconds from the start of the piece.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimedText {
    /// When they begin.
    pub start_ms: i64,
    /// When they end, never before they begin.
    pub end_ms: i64,
    /// The words, without blanks around them.
    pub text: String,
}

/// Asks for transcriptions. Cheap to clone; the clones share their connections.
#[derive(Debug, Clone)]
pub struct Speech {
    server: Server,
    model: String,
}

impl Speech {
    /// The server and model of the settings. `timeout` bounds each request, upload included.
    pub fn new(config: &TranscriptionConfig, http: Client, timeout: Duration) -> Self {
        let path = ["audio", "transcriptions"];
        let server = Server::new(&config.base_url, path, config.api_key.as_ref(), http, timeout, &TRANSCRIPTION);
        Self { server, model: config.model.clone() }
    }

    /// Fails, as [`crate::model::Fault::Blocked`], while there is no key for a server that wants one.
    pub fn is_configured(&self) -> Result<(), UpstreamError> {
        self.server.configured()
    }

    /// The words in a piece. A repeated request is paid for again: keep the answer before acting on it.
    pub async fn transcribe(&self, piece: SpeechPiece) -> Result<SpeechAnswer, SpeechError> {
        self.is_configured().map_err(SpeechError::Other)?;
        let request = self.server.post().multipart(self.form(&piece));
        match self.server.send(request).await {
            Ok(answer) => self.read(answer, piece.seconds).map_err(SpeechError::Other),
            Err(Failure::Refused(refusal)) if refusal.is_audio_too_short() => Ok(SpeechAnswer {
                text: String::new(),
                language: None,
                segments: Vec::new(),
                usage: Usage::default(),
                request_id: refusal.request_id(),
                raw: Value::Null,
            }),
            Err(Failure::Refused(refusal)) if refusal.is_too_much_audio() => Err(SpeechError::TooMuch {
                most_seconds: refusal.most_seconds(),
                error: refusal.into_too_much_audio(&TRANSCRIPTION, piece.seconds),
            }),
            Err(failure) => Err(SpeechError::Other(self.server.error(failure, ""))),
        }
    }

    fn form(&self, piece: &SpeechPiece) -> Form {
        let file = Part::stream_with_length(piece.wav.clone(), piece.wav.len() as u64)
            .file_name(piece.file_name.clone())
            .mime_str("audio/wav")
            .expect("a fixed media type");
        let mut form = Form::new().text("model", self.model.clone());
        form = if self.model == TIMED_MODEL {
            form.text("response_format", "verbose_json").text("timestamp_granularities[]", "segment")
        } else {
            form.text("response_format", "json")
        };
        if let Some(language) = piece.language.clone().filter(|_| self.model != MODEL_WITHOUT_LANGUAGE) {
            form = form.text("language", language);
        }
        form.part("file", file)
    }

    fn read(&self, answer: Answer, seconds: f64) -> Result<SpeechAnswer, UpstreamError> {
        let Answer { json, request_id } = answer;
        let Some(text) = json["text"].as_str() else {
            let error = self.server.bad_answer("without a text").with_request_id(request_id);
            // An answer that speaks of its use was made by a model, and is paid for.
            let usage = if json["usage"].is_object() { self.usage(&json, seconds) } else { Usage::default() };
            return Err(error.with_usage(usage));
        };
        let heard: Vec<&Value> = json["segments"].as_array().into_iter().flatten().collect();
        let kept: Vec<&Value> = heard.iter().copied().filter(|segment| !is_invented(segment)).collect();
        let mut segments: Vec<TimedText> = kept.iter().filter_map(|segment| timed(segment, seconds)).collect();
        let mut text = if kept.len() == heard.len() {
            text.trim().to_owned()
        } else {
            let words: Vec<&str> = kept.iter().filter_map(|segment| segment["text"].as_str()).map(str::trim).collect();
            words.join(" ")
        };
        if is_one_word_repeated(&text) {
            text.clear();
        }
        if text.is_empty() {
            segments.clear();
        }
        let language = json["language"].as_str().or_else(|| json["languages"][0]["code"].as_str());
        Ok(SpeechAnswer {
            text,
            language: language.and_then(language::code),
            segments,
            usage: self.usage(&json, seconds),
            request_id,
            raw: json,
        })
    }

    fn usage(&self, json: &Value, audio_seconds: f64) -> Usage {
        let count = |name: &str| tokens(&json["usage"][name]).unwrap_or(0);
        Usage {
            model: Some(json["model"].as_str().unwrap_or(&self.model).to_owned()),
            input_tokens: count("input_tokens"),
            output_tokens: count("output_tokens"),
            audio_seconds,
            ..Usage::default()
        }
    }
}

fn is_invented(segment: &Value) -> bool {
    let above = |name: &str, limit: f64| segment[name].as_f64().is_some_and(|value| value > limit);
    let unsure = segment["avg_logprob"].as_f64().is_some_and(|value| value < LOW_LOG_PROBABILITY);
    (above("no_speech_prob", NO_SPEECH_PROBABILITY) && unsure) || above("compression_ratio", HIGH_COMPRESSION)
}

/// The segment within its piece; models let the last one run on past the end.
fn timed(segment: &Value, seconds: f64) -> Option<TimedText> {
    let milliseconds =
        |name: &str| Some((segment[name].as_f64()?.clamp(0.0, seconds.max(0.0)) * 1000.0).round() as i64);
    let text = segment["text"].as_str()?.trim();
    let start_ms = milliseconds("start")?;
    let end_ms = milliseconds("end")?.max(start_ms);
    (!text.is_empty()).then(|| TimedText { start_ms, end_ms, text: text.to_owned() })
}

fn is_one_word_repeated(text: &str) -> bool {
    let word = |token: &str| token.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let mut words = text.split_whitespace().map(word);
    let Some(first) = words.next() else { return false };
    let mut count = 1;
    words.all(|next| {
        count += 1;
        next == first
    }) && count >= REPEATS
}

#[cfg(test)]
mod tests;
