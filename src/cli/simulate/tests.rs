//! Against a small server that answers as told.

use std::sync::Mutex;

use poem::listener::TcpAcceptor;
use poem::web::Data;
use poem::{Body, EndpointExt, IntoResponse, Request, Response, Route, Server, handler, post};
use rstest::rstest;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio::net::TcpListener;

use super::send::Verdict;
use super::*;
use crate::dev::standins::{Fixtures, Standins};
use crate::http::signature;

const SECRET: &str = "a secret of at least thirty-two bytes";

/// What the server answers, one after the other; then 202 for ever.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Vec<(u16, serde_json::Value)>>>);

#[handler]
async fn webhook(request: &Request, body: Body, Data(script): Data<&Script>) -> Response {
    let body = body.into_vec().await.unwrap();
    assert_eq!(request.header(signature::HEADER), Some(signature::sign(&SecretString::from(SECRET), &body).as_str()));
    let next = script.0.lock().unwrap().pop();
    let (status, told) = next.unwrap_or((202, json!({"status": "accepted"})));
    let status = poem::http::StatusCode::from_u16(status).unwrap();
    told.to_string().with_status(status).with_header("retry-after", "0").into_response()
}

async fn server(answers: &[(u16, serde_json::Value)]) -> Target {
    let script = Script(Arc::new(Mutex::new(answers.iter().rev().cloned().collect())));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url::Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let routes = Route::new().at("/webhooks/goto/call-ended", post(webhook)).data(script);
    tokio::spawn(Server::new_with_acceptor(TcpAcceptor::from_tokio(listener).unwrap()).run(routes));
    let nowhere = tempfile::tempdir().unwrap();
    Target::find(Some(&url), Some(SECRET), nowhere.path()).unwrap_or_else(|_| panic!("a target"))
}

async fn delivered(answers: &[(u16, serde_json::Value)]) -> Verdict {
    let target = server(answers).await;
    send::deliver(&http_client::client().unwrap(), &target, b"{}").await.verdict
}

#[tokio::test]
async fn all_are_sent_and_counted() {
    let arguments = ["simulate", "--count", "4", "--rate", "10000", "--duplicates", "50"];
    let args = SimulateArgs::augment_args(clap::Command::new("simulate")).get_matches_from(arguments);
    let args = <SimulateArgs as clap::FromArgMatches>::from_arg_matches(&args).unwrap();
    let target = server(&[(202, json!({"status": "duplicate"})), (401, json!({"code": "invalid_signature"}))]).await;
    let mut bodies = Bodies::of_recordings(Vec::new());
    let report = send_all(&args, &Arc::new(target), &http_client::client().unwrap(), &mut bodies).await;
    assert!(!report.all_taken());
    let told = report.told(bodies.last_id(), None, "");
    assert!(told.starts_with("6 webhooks sent in "), "{told}");
    assert!(told.contains(": 4 accepted, 1 duplicate, 1 refused.\n  1 x 401 invalid_signature\n"), "{told}");
}

#[tokio::test]
async fn verdicts_are_read() {
    let taken = |status: &str| [(202, json!({"status": status}))];
    assert_eq!(delivered(&taken("accepted")).await, Verdict::Accepted);
    assert_eq!(delivered(&taken("duplicate")).await, Verdict::Duplicate);
    assert_eq!(delivered(&taken("ignored")).await, Verdict::Ignored);
    assert!(matches!(delivered(&taken("something")).await, Verdict::Refused(_)));
    let problem = json!({"code": "invalid_signature", "title": "Unauthorized", "detail": "The signature is wrong."});
    let expected = "401 invalid_signature: The signature is wrong.".to_owned();
    assert_eq!(delivered(&[(401, problem)]).await, Verdict::Refused(expected));
    assert_eq!(delivered(&[(404, json!("gone"))]).await, Verdict::Refused("404 Not Found".to_owned()));
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let busy = (503, json!({"code": "busy"}));
    assert_eq!(delivered(&vec![busy.clone(); 5]).await, Verdict::Accepted);
    assert_eq!(delivered(&vec![busy; 6]).await, Verdict::Refused("503 busy".to_owned()));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told() {
    let target = server(&[]).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let target = Target { webhook_url: url::Url::parse(&format!("http://{closed}/x")).unwrap(), ..target };
    let answer = send::deliver(&http_client::client().unwrap(), &target, b"{}").await;
    assert_eq!(answer.verdict, Verdict::Refused("no connection: is the server running?".to_owned()));
}

#[tokio::test]
async fn a_recording_is_handed_to_the_stand_in() {
    let standins = Standins::start(Fixtures::embedded()).await.unwrap();
    let (client, base) = (http_client::client().unwrap(), &standins.recordings_url);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/calls/mono.wav");
    let key = standins.key.expose_secret();
    let uploaded = send::upload(&client, base, Some(key), Path::new(file)).await;
    let uploaded = uploaded.unwrap_or_else(|failure| panic!("{failure:?}"));
    assert_eq!(uploaded.seconds, Some(26));
    let back = client.get(&uploaded.url).bearer_auth(key).send().await.unwrap();
    assert_eq!(back.content_length(), Some(std::fs::metadata(file).unwrap().len()));
    let refused = send::upload(&client, base, None, Path::new(file)).await.unwrap_err();
    assert_eq!(refused.exit_code(), 1);
    let absent = send::upload(&client, base, None, Path::new("/nonexistent.wav")).await.unwrap_err();
    assert_eq!(absent.exit_code(), 2);
}

#[rstest]
#[case(1, 0, "-")]
#[case(1, 100, "-+")]
#[case(4, 50, "--+--+")]
#[case(3, 99, "--+-+")]
fn repeats_are_spread_evenly(#[case] count: u32, #[case] duplicates: u32, #[case] expected: &str) {
    let drawn: String = plan(count, duplicates).iter().map(|repeat| if *repeat { '+' } else { '-' }).collect();
    assert_eq!(drawn, expected);
}

#[rstest]
#[case("0.5", true)]
#[case("10000", true)]
#[case("0", false)]
#[case("-1", false)]
#[case("NaN", false)]
#[case("inf", false)]
fn rates_are_positive(#[case] text: &str, #[case] fine: bool) {
    assert_eq!(parse_rate(text).is_ok(), fine);
}
