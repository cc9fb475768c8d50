//! Stands in for `OpenAI`'s `POST /v1/audio/transcriptions`: knows the fixtures' audio by its samples.

use std::sync::Arc;

use bytes::Bytes;
use poem::http::StatusCode;
use poem::web::{Data, Multipart};
use poem::{Body, Endpoint, EndpointExt, FromRequest, Request, RequestBody, Response, handler, post};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::fixtures::Fixtures;
use super::openai::{MODEL, Refusal, answer, authorize, json_answer};
use super::read_body;
use super::sound::{Heard, Sound, recognise};

/// Counted over the whole body, multipart included.
const MAX_BODY: usize = 26_214_400;
/// Seconds; less is refused.
const SHORTEST: f64 = 0.1;
/// The format of a file is told from its name.
const EXTENSIONS: [&str; 10] = ["flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "wav", "webm"];
/// The answer to audio that is not from the fixtures.
const UNKNOWN: &str = "(The stand-in transcriber does not know this audio. Set TRANSCRIPTION_BASE_URL or \
                       OPENAI_API_KEY to have it transcribed.)";

/// The form fields that are looked at. Others are ignored, as `OpenAI` does.
#[derive(Default)]
struct Form {
    file: Option<(String, Bytes)>,
    model: Option<String>,
    response_format: Option<String>,
    word_times: bool,
}

/// What was heard, ready to be written in any format.
struct Transcription {
    text: String,
    heard: Vec<Heard>,
    seconds: Option<f64>,
}

pub(super) fn endpoint(fixtures: Fixtures, key: Arc<SecretString>) -> impl Endpoint {
    post(transcriptions).data(fixtures).data(key)
}

#[handler]
async fn transcriptions(
    request: &Request,
    body: Body,
    Data(fixtures): Data<&Fixtures>,
    Data(key): Data<&Arc<SecretString>>,
) -> Response {
    transcribe(request, body, *fixtures, key).await.unwrap_or_else(Response::from)
}

async fn transcribe(
    request: &Request,
    body: Body,
    fixtures: Fixtures,
    key: &SecretString,
) -> Result<Response, Refusal> {
    authorize(request, key)?;
    let body = read_body(body, MAX_BODY).await.map_err(|error| Refusal::invalid(error.to_string()))?;
    let body = body.map_err(|length| Refusal::too_large(MAX_BODY, length))?;
    let form = Form::read(request, body).await?;
    let model = form.model.filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| Refusal::invalid("you must provide a model parameter"))?;
    let format = response_format(&model, form.response_format.as_deref())?;
    let (name, audio) =
        form.file.ok_or_else(|| Refusal::invalid("Could not find a file in the form.").param("file"))?;
    check_name(&name)?;
    let heard = tokio::task::spawn_blocking(move || hear(fixtures, &name, &audio)).await;
    let transcription = heard.map_err(|error| Refusal::invalid(format!("The stand-in broke: {error}")))??;
    Ok(transcription.write(format, form.word_times))
}

impl Form {
    async fn read(request: &Request, body: Bytes) -> Result<Self, Refusal> {
        let broken =
            |error: &dyn std::fmt::Display| Refusal::invalid(format!("Could not parse multipart form: {error}"));
        let mut body = RequestBody::new(Body::from_bytes(body));
        let mut parts = Multipart::from_request(request, &mut body).await.map_err(|error| broken(&error))?;
        let mut form = Self::default();
        while let Some(field) = parts.next_field().await.map_err(|error| broken(&error))? {
            let name = field.name().unwrap_or_default().to_owned();
            let file_name = field.file_name().unwrap_or_default().to_owned();
            let bytes = field.bytes().await.map_err(|error| broken(&error))?;
            let text = || String::from_utf8_lossy(&bytes).into_owned();
            match name.as_str() {
                "file" => form.file = Some((file_name, Bytes::from(bytes))),
                "model" => form.model = Some(text()),
                "response_format" => form.response_format = Some(text()),
                "timestamp_granularities[]" => form.word_times |= text() == "word",
                _ => {}
            }
        }
        Ok(form)
    }
}

/// The gpt models answer in `json` and `text` only; `srt` and `vtt` are not spoken here.
fn response_format<'a>(model: &str, asked: Option<&'a str>) -> Result<&'a str, Refusal> {
    let format = asked.unwrap_or("json");
    match format {
        "json" | "text" => Ok(format),
        "verbose_json" if !model.starts_with("gpt-") => Ok(format),
        _ => Err(Refusal::invalid(format!(
            "response_format '{format}' is not compatible with model '{model}'. Use 'json' or 'text' instead."
        ))
        .param("response_format")
        .code("unsupported_value")),
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let known = name.rsplit_once('.').is_some_and(|(_, end)| EXTENSIONS.contains(&end.to_ascii_lowercase().as_str()));
    if known { Ok(()) } else { Err(invalid_format()) }
}

fn invalid_format() -> Refusal {
    let formats: Vec<_> = EXTENSIONS.iter().map(|format| format!("'{format}'")).collect();
    Refusal::invalid(format!("Invalid file format. Supported formats: [{}]", formats.join(", "))).param("file")
}

fn hear(fixtures: Fixtures, name: &str, audio: &[u8]) -> Result<Transcription, Refusal> {
    let unknown = |seconds| Transcription { text: UNKNOWN.to_owned(), heard: Vec::new(), seconds };
    if !name.to_ascii_lowercase().ends_with(".wav") {
        return Ok(unknown(None));
    }
    let sound = match Sound::read(audio) {
        Ok(sound) => sound,
        Err(hound::Error::Unsupported) => return Ok(unknown(None)),
        Err(_) => return Err(invalid_format()),
    };
    if sound.seconds() < SHORTEST {
        return Err(Refusal::invalid("Audio file is too short. Minimum audio length is 0.1 seconds.")
            .param("file")
            .code("audio_too_short"));
    }
    let seconds = Some(sound.seconds());
    Ok(match recognise(fixtures.calls(), &sound) {
        None => unknown(seconds),
        Some(heard) => Transcription { text: join(&heard), heard, seconds },
    })
}

impl Transcription {
    fn write(&self, format: &str, word_times: bool) -> Response {
        let usage = self.seconds.map(|seconds| json!({"type": "duration", "seconds": seconds.ceil()}));
        match format {
            "text" => answer(format!("{}\n", self.text)),
            "verbose_json" => {
                let mut body = json!({
                    "model": MODEL, "task": "transcribe", "language": "english", "duration": self.seconds.unwrap_or_default(),
                    "text": self.text, "segments": self.segments(), "usage": usage,
                });
                if word_times {
                    let word = |Heard { word, time, .. }: &Heard| json!({"word": word, "start": time.0, "end": time.1});
                    body["words"] = self.heard.iter().map(word).collect();
                }
                json_answer(StatusCode::OK, &body)
            }
            _ => json_answer(StatusCode::OK, &json!({"model": MODEL, "text": self.text, "usage": usage})),
        }
    }

    /// One per turn of the fixture; unknown audio is one segment.
    fn segments(&self) -> Vec<Value> {
        let turns = self.heard.chunk_by(|one, other| one.segment == other.segment);
        let mut turns: Vec<_> =
            turns.map(|words| (words[0].time.0, words[words.len() - 1].time.1, join(words))).collect();
        if turns.is_empty() && !self.text.is_empty() {
            turns.push((0.0, self.seconds.unwrap_or_default(), self.text.clone()));
        }
        let segment = |(id, (start, end, text)): (usize, &(f64, f64, String))| {
            json!({
                "id": id, "seek": 0, "start": start, "end": end, "text": format!(" {text}"), "tokens": [],
                "temperature": 0.0, "avg_logprob": -0.2, "compression_ratio": 1.2, "no_speech_prob": 0.01,
            })
        };
        turns.iter().enumerate().map(segment).collect()
    }
}

fn join(heard: &[Heard]) -> String {
    heard.iter().map(|heard| heard.word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use reqwest::multipart::{Form, Part};
    use secrecy::ExposeSecret;

    use super::*;
    use crate::dev::standins::Standins;

    fn wav(samples: &[i16]) -> Vec<u8> {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut file = std::io::Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
        for sample in samples {
            writer.write_sample(*sample).unwrap();
        }
        writer.finalize().unwrap();
        file.into_inner()
    }

    fn piece() -> Vec<u8> {
        let sound = Fixtures::embedded().call("double-charge").unwrap().sound();
        wav(&sound.channels[1][5 * 8000..12 * 8000])
    }

    fn form(name: &str, audio: Vec<u8>, fields: &[(&'static str, &'static str)]) -> Form {
        let part = Part::bytes(audio).file_name(name.to_owned()).mime_str("audio/wav").unwrap();
        fields.iter().fold(Form::new().part("file", part), |form, (name, value)| form.text(*name, *value))
    }

    async fn send(standins: &Standins, key: &str, form: Form) -> (u16, Value) {
        let url = format!("{}/audio/transcriptions", standins.openai_url);
        let client = crate::dev::standins::http_client();
        let response = client.post(url).bearer_auth(key).multipart(form).send().await.unwrap();
        assert_eq!(response.headers()["x-stand-in"], "speech");
        assert!(response.headers().contains_key("x-request-id"));
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    #[tokio::test]
    async fn a_piece_is_transcribed_in_each_format() {
        let standins = Standins::start(Fixtures::embedded()).await.unwrap();
        let key = standins.key.expose_secret();
        let words = "Hello. I was charged twice for my October invoice. The number is four four one seven.";

        let (status, body) = send(&standins, key, form("a.wav", piece(), &[("model", "gpt-transcribe")])).await;
        assert_eq!(
            (status, body),
            (200, json!({"model": MODEL, "text": words, "usage": {"type": "duration", "seconds": 7.0}}))
        );

        let fields = [("model", "whisper-1"), ("response_format", "text")];
        let (_, body) = send(&standins, key, form("a.wav", piece(), &fields)).await;
        assert_eq!(body, format!("{words}\n"));

        let fields =
            [("model", "whisper-1"), ("response_format", "verbose_json"), ("timestamp_granularities[]", "word")];
        let (_, body) = send(&standins, key, form("a.wav", piece(), &fields)).await;
        assert_eq!(body["segments"][0]["text"], format!(" {words}"));
        assert_eq!(body["words"][0]["word"], "Hello.");
        assert!((body["words"][0]["start"].as_f64().unwrap() - 0.95).abs() < 0.001);

        let (_, body) = send(&standins, key, form("a.wav", wav(&[9000; 8000]), &[("model", "gpt-transcribe")])).await;
        assert_eq!(body["text"], UNKNOWN);
        assert_eq!(standins.requests("speech"), 4);
    }

    #[tokio::test]
    async fn refusals_have_the_shape_of_openai() {
        let standins = Standins::start(Fixtures::embedded()).await.unwrap();
        let key = standins.key.expose_secret();
        let model = [("model", "gpt-transcribe")];
        let verbose = [("model", "gpt-transcribe"), ("response_format", "verbose_json")];
        let cases = [
            (send(&standins, "wrong", form("a.wav", piece(), &model)).await, 401, json!("invalid_api_key")),
            (send(&standins, key, form("a.wav", piece(), &[])).await, 400, Value::Null),
            (send(&standins, key, form("a.txt", piece(), &model)).await, 400, Value::Null),
            (send(&standins, key, form("a.wav", b"<html>".to_vec(), &model)).await, 400, Value::Null),
            (send(&standins, key, form("a.wav", piece(), &verbose)).await, 400, json!("unsupported_value")),
            (send(&standins, key, form("a.wav", wav(&[9000; 799]), &model)).await, 400, json!("audio_too_short")),
            (send(&standins, key, form("a.wav", vec![0; MAX_BODY], &model)).await, 413, Value::Null),
        ];
        for (at, ((status, body), expected, code)) in cases.into_iter().enumerate() {
            assert_eq!((status, &body["error"]["code"]), (expected, &code), "case {at}: {body}");
            assert!(body["error"]["message"].is_string() && body["error"]["type"].is_string());
        }
    }
}
