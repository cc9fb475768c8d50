//! How a recording host misbehaves.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{Body, IntoResponse, Response};

use super::answer::{seconds, web_page};
use super::catalogue::{Act, Fault, Scene};
use crate::dev::standins::Upstream;

/// One chunk of a recording without end.
static CHUNK: [u8; 64 * 1024] = [0; 64 * 1024];
/// Between two bytes of a recording that drips.
const DRIP: Duration = Duration::from_millis(100);
/// A WAV file that says that it is 4 GB long.
const WAV_HEAD: &[u8] = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0\
                          data\xff\xff\xff\xff";
/// Begins as a picture does.
const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

pub(super) fn faults() -> Vec<Fault> {
    let fault = |name, does, act| Fault { upstream: Upstream::Recordings, name, does, act };
    vec![
        fault("not_found", "404, as if it were not there yet", Act::Refuse(|_| status(404))),
        fault("accepted", "202, still being made", Act::Refuse(|_| status(202))),
        fault("unauthorized", "401, the key is refused", Act::Refuse(|_| status(401))),
        fault("forbidden", "403", Act::Refuse(|_| status(403))),
        fault("gone", "410, the link has expired", Act::Refuse(|_| status(410))),
        fault("rate_limited", "429 with Retry-After in seconds", Act::Refuse(rate_limited)),
        fault("server_error", "500", Act::Refuse(|_| status(500))),
        fault("unavailable", "503", Act::Refuse(|_| status(503))),
        fault("html", "a web page with status 200", Act::Refuse(|_| web_page())),
        fault("empty", "nothing with status 200", Act::Refuse(|_| audio(Body::empty()))),
        fault("wrong_type", "a picture that is called audio/wav", Act::Refuse(picture)),
        fault("mislabelled", "the recording, called text/html", Act::Relabel(mislabel)),
        fault("cut_off", "breaks off before the announced length", Act::Half),
        fault("reset", "closes without an answer", Act::Reset),
        fault("silence", "never answers", Act::Silence),
        fault("endless", "a recording without end", Act::Refuse(endless)),
        fault("slow_drip", "ten bytes a second", Act::Refuse(drip)),
        fault("redirect_allowed", "302 to a signed link at `localhost`, which wants no key", Act::Refuse(to_signed)),
        fault("redirect_elsewhere", "302 to a host that is not allowed", Act::Refuse(elsewhere)),
        fault("redirect_private", "302 to the cloud's metadata address", Act::Refuse(private)),
        fault("redirect_file", "302 to a `file://` address", Act::Refuse(file)),
        fault("redirect_loop", "302 to itself", Act::Refuse(again)),
    ]
}

fn status(code: u16) -> Response {
    StatusCode::from_u16(code).expect("a constant").into_response()
}

fn rate_limited(scene: &Scene) -> Response {
    status(429).with_header("retry-after", seconds(scene.wait)).into_response()
}

fn audio(body: Body) -> Response {
    Response::builder().content_type("audio/wav").body(body)
}

fn picture(_: &Scene) -> Response {
    audio(Body::from_vec([PICTURE, &CHUNK[..10_000]].concat()))
}

fn mislabel(response: &mut Response) {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
}

fn endless(_: &Scene) -> Response {
    let head = stream::iter([Bytes::from_static(WAV_HEAD)]);
    let chunks = stream::repeat_with(|| Bytes::from_static(&CHUNK));
    audio(Body::from_bytes_stream(futures::StreamExt::map(
        futures::StreamExt::chain(head, chunks),
        Ok::<_, std::io::Error>,
    )))
}

fn drip(_: &Scene) -> Response {
    let bytes = stream::unfold(0, async |sent: usize| {
        tokio::time::sleep(DRIP).await;
        let byte = WAV_HEAD.get(sent).copied().unwrap_or_default();
        Some((Ok::<_, std::io::Error>(Bytes::from(vec![byte])), sent + 1))
    });
    audio(Body::from_bytes_stream(bytes))
}

/// Another origin for a client: the same server under its other name.
fn to_signed(scene: &Scene) -> Response {
    let port = scene.host.rsplit_once(':').map_or("80", |(_, port)| port);
    let name = scene.path.rsplit('/').next().unwrap_or_default();
    redirect(&format!("http://localhost:{port}/recordings/signed/{name}?signature=stand-in"))
}

fn elsewhere(_: &Scene) -> Response {
    redirect("https://example.com/recording.wav")
}

fn private(_: &Scene) -> Response {
    redirect("http://169.254.169.254/latest/meta-data/")
}

fn file(_: &Scene) -> Response {
    redirect("file:///etc/passwd")
}

fn again(scene: &Scene) -> Response {
    redirect(&scene.path)
}

fn redirect(location: &str) -> Response {
    status(302).with_header(header::LOCATION, location).into_response()
}
