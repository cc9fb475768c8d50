//! Stands in for the recording host: serves the fixtures' audio, and audio that `simulate --audio FILE` hands over.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use poem::error::InternalServerError;
use poem::http::StatusCode;
use poem::web::{Data, Json, Path};
use poem::{Body, Endpoint, EndpointExt, IntoResponse, Request, Response, Result, Route, get, handler};
use secrecy::SecretString;
use serde_json::json;
use tempfile::TempDir;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::Mutex;
use url::Url;

use super::bearer_is;
use super::effects::Deed;
use super::fixtures::Fixtures;

/// Uploads that are kept; an older one goes when another comes.
const MOST_UPLOADS: usize = 20;
/// One upload may be this long, like the product's own `RECORDING_MAX_BYTES`.
const MAX_UPLOAD: u64 = 500 * 1024 * 1024;

/// The audio that can be fetched.
pub(super) struct Recordings {
    fixtures: Fixtures,
    base: Url,
    folder: TempDir,
    /// Names, oldest first.
    uploads: Mutex<Vec<String>>,
}

impl Recordings {
    pub(super) fn new(fixtures: Fixtures, base: Url) -> anyhow::Result<Arc<Self>> {
        let folder = tempfile::tempdir().context("The recording stand-in needs a temporary folder for uploads.")?;
        Ok(Arc::new(Self { fixtures, base, folder, uploads: Mutex::default() }))
    }

    fn fixture(&self, file: &str, request: &Request) -> Response {
        match file.strip_suffix(".wav").and_then(|name| self.fixtures.call(name)) {
            Some(call) => {
                Deed::to(asked_for(request)).on(Response::builder().content_type("audio/wav").body(call.wav.to_vec()))
            }
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

    /// Where the upload of that name lies. Names that could lead out of the folder have no place.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let fine = name.len() <= 100 && !name.starts_with('.') && !name.is_empty() && name.chars().all(fits);
        fine.then(|| self.folder.path().join(name))
    }
}

/// `GET NAME.wav`: a fixture; `GET signed/NAME.wav?signature=..`: the same for those who show no key. `PUT upload/NAME`: keeps the body and answers 201 with its `url`; `GET upload/NAME` gives
/// it back. All ask for the key as bearer. An upload of the same name replaces the earlier one.
pub(super) fn routes(recordings: Arc<Recordings>, key: Arc<SecretString>) -> impl Endpoint {
    let with_key = Route::new().at("/:name", get(fixture)).at("/upload/:name", get(uploaded).put(upload));
    let with_key = with_key.around(move |endpoint, request| {
        let key = key.clone();
        async move {
            if bearer_is(&request, &key) == Some(true) {
                return endpoint.call(request).await.map(IntoResponse::into_response);
            }
            Ok(StatusCode::UNAUTHORIZED.with_header("www-authenticate", "Bearer").into_response())
        }
    });
    Route::new().at("/signed/:name", get(signed)).nest_no_strip("/", with_key).data(recordings)
}

/// As at an object store, a signed link and a key exclude one another.
#[handler]
fn signed(request: &Request, Path(file): Path<String>, Data(recordings): Data<&Arc<Recordings>>) -> Response {
    let is_signed = request.uri().query().is_some_and(|query| query.contains("signature="));
    if !is_signed || request.header("authorization").is_some() {
        return "Only one auth mechanism allowed".with_status(StatusCode::BAD_REQUEST).into_response();
    }
    recordings.fixture(&file, request)
}

#[handler]
fn fixture(request: &Request, Path(file): Path<String>, Data(recordings): Data<&Arc<Recordings>>) -> Response {
    recordings.fixture(&file, request)
}

#[handler]
async fn uploaded(
    request: &Request,
    Path(name): Path<String>,
    Data(recordings): Data<&Arc<Recordings>>,
) -> Result<Response> {
    let Some(path) = recordings.path(&name) else { return Ok(StatusCode::NOT_FOUND.into_response()) };
    let Ok(file) = File::open(path).await else { return Ok(StatusCode::NOT_FOUND.into_response()) };
    let length = file.metadata().await.map_err(InternalServerError)?.len();
    let response = Response::builder().content_type(content_type(&name)).header("content-length", length);
    Ok(Deed::to(asked_for(request)).on(response.body(Body::from_async_read(file))))
}

#[handler]
async fn upload(Path(name): Path<String>, body: Body, Data(recordings): Data<&Arc<Recordings>>) -> Result<Response> {
    let Some(path) = recordings.path(&name) else {
        let rule = "A name has 1 to 100 letters, digits, dots, dashes and underscores and does not start with a dot.";
        return Ok(rule.with_status(StatusCode::UNPROCESSABLE_ENTITY).into_response());
    };
    let part = tempfile::NamedTempFile::new_in(recordings.folder.path()).map_err(InternalServerError)?;
    let mut file = File::from_std(part.reopen().map_err(InternalServerError)?);
    let mut body = body.into_async_read().take(MAX_UPLOAD + 1);
    if tokio::io::copy(&mut body, &mut file).await.map_err(InternalServerError)? > MAX_UPLOAD {
        let rule = format!("An upload has at most {MAX_UPLOAD} bytes.");
        return Ok(rule.with_status(StatusCode::PAYLOAD_TOO_LARGE).into_response());
    }
    tokio::io::AsyncWriteExt::flush(&mut file).await.map_err(InternalServerError)?;

    let mut uploads = recordings.uploads.lock().await;
    part.persist(path).map_err(InternalServerError)?;
    uploads.retain(|kept| *kept != name);
    uploads.push(name.clone());
    if uploads.len() > MOST_UPLOADS {
        let oldest = uploads.remove(0);
        let path = recordings.folder.path().join(oldest);
        tokio::fs::remove_file(path).await.map_err(InternalServerError)?;
    }
    let url = recordings.base.join("upload/").and_then(|base| base.join(&name)).map_err(InternalServerError)?;
    Ok(Json(json!({"url": url.as_str()})).with_status(StatusCode::CREATED).into_response())
}

/// Path and query as the client sent them.
fn asked_for(request: &Request) -> String {
    let uri = request.original_uri();
    uri.path_and_query().map_or(uri.path(), |path| path.as_str()).to_owned()
}

/// By the name's ending; the product looks at the bytes anyway.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "wav" => "audio/wav",
        "mp3" => "audio/mpeg",
        "ogg" => "audio/ogg",
        "flac" => "audio/flac",
        "m4a" => "audio/mp4",
        "webm" => "audio/webm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::dev::standins::{Standins, http_client};

    #[tokio::test]
    async fn fixtures_are_served_to_those_who_have_the_key() {
        let standins = Standins::start(Fixtures::embedded()).await.unwrap();
        let get = |name: &str| http_client().get(standins.recordings_url.join(name).unwrap());
        assert_eq!(get("double-charge.wav").send().await.unwrap().status(), 401);
        assert_eq!(get("double-charge.wav").bearer_auth("wrong").send().await.unwrap().status(), 401);
        let key = standins.key.expose_secret();
        assert_eq!(get("nobody.wav").bearer_auth(key).send().await.unwrap().status(), 404);
        let response = get("double-charge.wav").bearer_auth(key).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "audio/wav");
        let expected = &Fixtures::embedded().call("double-charge").unwrap().wav;
        assert_eq!(response.content_length(), Some(expected.len() as u64));
        assert_eq!(response.bytes().await.unwrap(), **expected);
        assert_eq!(standins.requests("recordings"), 4);
    }

    #[tokio::test]
    async fn uploads_come_back_and_the_oldest_go() {
        let standins = Standins::start(Fixtures::embedded()).await.unwrap();
        let key = standins.key.expose_secret();
        let url = |name: &str| standins.recordings_url.join("upload/").unwrap().join(name).unwrap();
        let put = |name: &str| http_client().put(url(name)).bearer_auth(key).body(format!("audio of {name}"));
        let get = |name: &str| http_client().get(url(name)).bearer_auth(key);

        for name in (0..=MOST_UPLOADS).map(|number| format!("{number}.mp3")) {
            let response = put(&name).send().await.unwrap();
            assert_eq!(response.status(), 201);
            let answer: serde_json::Value = response.json().await.unwrap();
            assert_eq!(answer["url"], url(&name).as_str());
        }
        assert_eq!(get("0.mp3").send().await.unwrap().status(), 404);
        let response = get("1.mp3").send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "audio/mpeg");
        assert_eq!(response.content_length(), Some(14));
        assert_eq!(response.text().await.unwrap(), "audio of 1.mp3");
        assert_eq!(put("..%2fescape").send().await.unwrap().status(), 422);
        let without_key = http_client().put(url("x.wav")).body("x").send().await.unwrap();
        assert_eq!(without_key.status(), 401);
    }
}
