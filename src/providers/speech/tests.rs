//! Transcriptions by a server on loopback.

use rstest::rstest;
use serde_json::json;

use super::*;
use crate::model::Fault;
use crate::providers::http_client;
use crate::providers::loopback::{Loopback, Reply, http};

fn speech(server: &Loopback, model: &str, timeout: Duration) -> Speech {
    let base_url = server.url("/v1").parse().unwrap();
    let config = TranscriptionConfig { base_url, api_key: Some("sk-1".into()), model: model.to_owned() };
    Speech::new(&config, http_client::client().unwrap(), timeout)
}

fn piece() -> SpeechPiece {
    let wav = Bytes::from_static(b"RIFF....WAVEfmt ");
    SpeechPiece { wav, seconds: 4.0, file_name: "agent-3.wav".into(), language: Some("en".into()) }
}

fn reason(error: SpeechError) -> UpstreamError {
    match error {
        SpeechError::TooMuch { error, .. } | SpeechError::Other(error) => error,
    }
}

async fn answer(model: &str, status: u16, body: &[u8]) -> (Result<SpeechAnswer, UpstreamError>, String) {
    let server = Loopback::script(vec![http(status, &[("x-request-id", "req_1")], body)]).await;
    let result = speech(&server, model, Duration::from_secs(20)).transcribe(piece()).await.map_err(reason);
    (result, server.requests().remove(0))
}

async fn heard(model: &str, body: Value) -> SpeechAnswer {
    answer(model, 200, body.to_string().as_bytes()).await.0.unwrap()
}

#[tokio::test]
async fn the_words_of_a_piece() {
    let body = json!({"text": " hello there ", "languages": [{"code": "en"}],
        "usage": {"type": "tokens", "input_tokens": 290, "output_tokens": 80, "total_tokens": 370}});
    let (result, request) = answer("gpt-transcribe", 200, body.to_string().as_bytes()).await;
    let answer = result.unwrap();
    assert_eq!((answer.text.as_str(), answer.language.as_deref()), ("hello there", Some("en")));
    assert_eq!((answer.request_id.as_deref(), answer.raw), (Some("req_1"), body));
    assert!(answer.segments.is_empty());
    let model = Some("gpt-transcribe".to_owned());
    let expected = Usage { model, input_tokens: 290, output_tokens: 80, audio_seconds: 4.0, ..Usage::default() };
    assert_eq!(answer.usage, expected);

    assert!(request.starts_with("POST /v1/audio/transcriptions HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: Bearer sk-1\r\n"));
    assert!(request.contains("name=\"file\"; filename=\"agent-3.wav\"\r\nContent-Type: audio/wav\r\n"), "{request}");
    assert!(request.contains("name=\"response_format\"\r\n\r\njson\r\n"));
    assert!(request.contains("name=\"model\"\r\n\r\ngpt-transcribe\r\n"));
    for field in ["temperature", "timestamp_granularities", "name=\"language\""] {
        assert!(!request.contains(field), "{request}");
    }
}

#[tokio::test]
async fn whisper_gives_times() {
    let body = json!({"task": "transcribe", "language": "english", "duration": 4.0, "text": " Hello. Bye.",
        "segments": [
            {"id": 0, "start": 0.0, "end": 1.5, "text": " Hello.", "avg_logprob": -0.2, "no_speech_prob": 0.02},
            {"id": 1, "start": 3.0, "end": 30.0, "text": " Bye."},
            {"id": 2, "start": "x", "end": 30.0, "text": "broken"}],
        "usage": {"type": "duration", "seconds": 4}});
    let (result, request) = answer("whisper-1", 200, body.to_string().as_bytes()).await;
    let answer = result.unwrap();
    assert_eq!((answer.text.as_str(), answer.language.as_deref()), ("Hello. Bye.", Some("en")));
    let expected = [
        TimedText { start_ms: 0, end_ms: 1500, text: "Hello.".into() },
        TimedText { start_ms: 3000, end_ms: 4000, text: "Bye.".into() },
    ];
    assert_eq!(answer.segments, expected);
    assert!(request.contains("name=\"response_format\"\r\n\r\nverbose_json\r\n"));
    assert!(request.contains("name=\"timestamp_granularities[]\"\r\n\r\nsegment\r\n"));
    assert!(request.contains("name=\"language\"\r\n\r\nen\r\n"));
}

#[rstest]
#[case(json!({"text": " Yes. Thank you for watching.", "segments": [
    {"start": 0.0, "end": 1.0, "text": " Yes.", "no_speech_prob": 0.9, "avg_logprob": -0.3},
    {"start": 1.0, "end": 2.0, "text": " Thank you for watching.", "no_speech_prob": 0.7, "avg_logprob": -1.2}]}),
    "Yes.", 1)]
#[case(json!({"text": "la la", "segments": [
    {"start": 0.0, "end": 1.0, "text": "la la", "compression_ratio": 3.0}]}), "", 0)]
#[case(json!({"text": "you you You.", "segments": [{"start": 0.0, "end": 1.0, "text": "you you You."}]}), "", 0)]
#[case(json!({"text": "no no"}), "no no", 0)]
#[case(json!({"text": "no no no sir"}), "no no no sir", 0)]
#[case(json!({"text": "", "segments": null, "usage": null, "language": null}), "", 0)]
#[case(json!({"text": "x", "segments": "?", "usage": [1], "languages": []}), "x", 0)]
#[tokio::test]
async fn invented_words_are_dropped(#[case] body: Value, #[case] text: &str, #[case] segments: usize) {
    let answer = heard("whisper-1", body).await;
    assert_eq!((answer.text.as_str(), answer.segments.len()), (text, segments));
}

#[rstest]
#[case(200, b"hello", Fault::Transient, "bad_answer")]
#[case(200, b"", Fault::Transient, "bad_answer")]
#[case(200, b"{\"text\":null}", Fault::Transient, "bad_answer")]
#[case(200, b"[\"text\"]", Fault::Transient, "bad_answer")]
#[case(200, b"{\"text\":\"cut o", Fault::Transient, "bad_answer")]
#[case(400, b"{\"error\":{\"message\":\"Invalid file format.\"}}", Fault::Permanent, "bad_request")]
#[case(401, b"{}", Fault::Blocked, "key_refused")]
#[case(404, b"<html>", Fault::Blocked, "not_found")]
#[case(413, b"", Fault::Permanent, "audio_too_long")]
#[case(429, b"{}", Fault::Transient, "rate_limited")]
#[case(500, b"", Fault::Transient, "server_error")]
#[tokio::test]
async fn failures(#[case] status: u16, #[case] body: &[u8], #[case] fault: Fault, #[case] class: &str) {
    let error = answer("gpt-transcribe", status, body).await.0.unwrap_err();
    assert_eq!(
        (error.fault, error.class.as_str(), error.request_id.as_deref()),
        (fault, class, Some("req_1")),
        "{error}"
    );
}

#[rstest]
#[case(json!({"text": null, "model": "other", "usage": {"type": "duration", "seconds": 4}}), Some("other"))]
#[case(json!({"error": {"message": "x"}}), None)]
#[tokio::test]
async fn a_useless_answer_of_a_model_is_paid_for(#[case] body: Value, #[case] model: Option<&str>) {
    let error = answer("gpt-transcribe", 200, body.to_string().as_bytes()).await.0.unwrap_err();
    let used = error.usage.map(|usage| (usage.model.unwrap(), usage.audio_seconds));
    assert_eq!(used, model.map(|model| (model.to_owned(), 4.0)));
}

#[tokio::test]
async fn too_short_a_piece_is_silent_and_free() {
    let body = br#"{"error":{"message":"Audio file is too short.","type":"invalid_request_error","param":"file","code":"audio_too_short"}}"#;
    let answer = answer("gpt-transcribe", 400, body).await.0.unwrap();
    assert_eq!((answer.text.as_str(), answer.usage), ("", Usage::default()));
}

#[rstest]
#[case(Reply::Hang(vec![]), "timeout")]
#[case(Reply::Hang(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{".to_vec()), "timeout")]
#[case(Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{".to_vec()), "connection_lost")]
#[case(Reply::Bytes(vec![]), "connection_lost")]
#[case(Reply::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b' '; 65536]), "bad_answer")]
#[tokio::test]
async fn lost_answers_may_be_asked_for_again(#[case] reply: Reply, #[case] class: &str) {
    // Long enough only for the case that does not wait for it.
    let timeout = Duration::from_millis(if class == "timeout" { 100 } else { 20_000 });
    let server = Loopback::start(move |_| reply.clone()).await;
    let error = speech(&server, "gpt-transcribe", timeout).transcribe(piece()).await.map_err(reason).unwrap_err();
    assert_eq!((error.fault, error.class.as_str()), (Fault::Transient, class), "{error}");
}

#[tokio::test]
async fn without_a_key_nothing_is_sent() {
    let base_url = "https://api.openai.com/v1".parse().unwrap();
    let config = TranscriptionConfig { base_url, api_key: None, model: "gpt-transcribe".into() };
    let speech = Speech::new(&config, http_client::client().unwrap(), Duration::from_secs(1));
    assert_eq!(speech.transcribe(piece()).await.map_err(reason).unwrap_err().class.as_str(), "not_configured");
}

#[rstest]
#[case(
    400,
    "audio duration 1500.5 seconds is longer than 1400 seconds which is the maximum for this model",
    Some(1_400.0)
)]
#[case(400, "Audio too long.", None)]
#[case(400, "This model's maximum context length is 16000 tokens.", None)]
#[case(413, "Maximum content size limit (26214400) exceeded (26222592 bytes read)", None)]
#[case(429, "Request too large for the model.", None)]
#[tokio::test]
async fn too_much_audio_is_told_apart(#[case] status: u16, #[case] message: &str, #[case] most: Option<f64>) {
    let body = json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": null}});
    let server = Loopback::script(vec![http(status, &[], body.to_string().as_bytes())]).await;
    let refused = speech(&server, "gpt-transcribe", Duration::from_secs(20)).transcribe(piece()).await;
    let Err(SpeechError::TooMuch { most_seconds, error }) = refused else { panic!("{refused:?}") };
    assert_eq!((most_seconds, error.fault, error.class.as_str()), (most, Fault::Permanent, "audio_too_long"));
    assert!(error.message.contains("4.0 seconds") && error.message.contains("It says"), "{error}");
}
