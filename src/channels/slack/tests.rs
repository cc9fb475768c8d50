//! Slack over a real socket, against a server that answers once as told.

use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::channels::examples;

const OK: &str = "HTTP/1.1 200 OK\r\nx-slack-req-id: req-7\r\ncontent-length: 2\r\n\r\nok";
const POSTED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 38\r\n\r\n{\"ok\":true,\"ts\":\"1731827108.000100\"}  ";
const BUSY: &str = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 30\r\ncontent-length: 0\r\n\r\n";
const CUT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"ok\":true";

#[tokio::test]
async fn a_webhook_gets_the_message_without_a_channel() {
    let (address, request) = answer_once(OK).await;
    let receipt = webhook(&address).send(&examples::friendly(), &examples::envelope("incoming-webhook")).await.unwrap();
    assert_eq!(receipt.request_id.as_deref(), Some("req-7"));
    let (head, body) = request.await.unwrap();
    assert!(head.starts_with("POST /services/T0/B0/secret HTTP/1.1"), "{head}");
    assert!(body.get("channel").is_none() && body["text"].is_string() && body["unfurl_links"] == false);
}

#[tokio::test]
async fn a_bot_names_the_channel_and_keeps_the_ts() {
    let (address, request) = answer_once(POSTED).await;
    let receipt = bot(&address).send(&examples::friendly(), &examples::envelope("#calls")).await.unwrap();
    assert_eq!(receipt.reference.as_deref(), Some("1731827108.000100"));
    let (head, body) = request.await.unwrap();
    assert!(head.starts_with("POST /api/chat.postMessage HTTP/1.1"), "{head}");
    assert!(head.to_lowercase().contains("authorization: bearer xoxb-1\r\n"), "{head}");
    assert_eq!(body["channel"], "#calls");
}

#[rstest]
#[case::rate_limited(BUSY, Some(Fault::RetryAfter(Duration::from_secs(30))))]
#[case::reset_after_the_body("", None)]
#[case::answer_cut(CUT, None)]
#[tokio::test]
async fn what_the_connection_does_decides(#[case] answer: &'static str, #[case] not_sent: Option<Fault>) {
    let (address, _request) = answer_once(answer).await;
    let error = bot(&address).send(&examples::friendly(), &examples::envelope("#calls")).await.unwrap_err();
    match (error, not_sent) {
        (SendError::NotSent(error), Some(fault)) => assert_eq!(error.fault, fault),
        (SendError::Unknown(_), None) => {}
        (other, _) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nobody_there_is_surely_not_sent_and_tells_no_secret() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let slack = webhook(&address);
    let error = slack.send(&examples::friendly(), &examples::envelope("incoming-webhook")).await.unwrap_err();
    assert!(matches!(&error, SendError::NotSent(error) if error.class.as_str() == "connect"), "{error:?}");
    assert!(!format!("{error:?} {slack:?}").contains("secret"), "{error:?} {slack:?}");
}

#[tokio::test]
async fn a_silent_server_leaves_it_open() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let slack = Slack { timeout: Duration::from_millis(20), ..webhook(&address) };
    let error = slack.send(&examples::friendly(), &examples::envelope("incoming-webhook")).await.unwrap_err();
    assert!(matches!(&error, SendError::Unknown(error) if error.class == FailureClass::UnknownOutcome), "{error:?}");
}

#[tokio::test]
async fn a_destination_that_the_settings_no_longer_name_gets_nothing() {
    let error = webhook("127.0.0.1:9").send(&examples::friendly(), &examples::envelope("#old")).await.unwrap_err();
    assert!(matches!(error, SendError::NotSent(UpstreamError { fault: Fault::Permanent, .. })));
}

fn webhook(address: &str) -> Slack {
    let url = SecretString::from(format!("http://{address}/services/T0/B0/secret"));
    Slack::new(&SlackConfig::Webhook { url }, http(), Duration::from_secs(5))
}

fn bot(address: &str) -> Slack {
    let config = SlackConfig::Bot {
        token: SecretString::from("xoxb-1"),
        channel: "#calls".to_owned(),
        base_url: format!("http://{address}/api").parse().unwrap(),
    };
    Slack::new(&config, http(), Duration::from_secs(5))
}

fn http() -> reqwest::Client {
    // Whoever comes second finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Answers one request and closes; yields the request's head and its JSON.
async fn answer_once(answer: &'static str) -> (String, JoinHandle<(String, serde_json::Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let request = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        request
    });
    (address, request)
}

async fn read_request(stream: &mut TcpStream) -> (String, serde_json::Value) {
    let mut received = Vec::new();
    loop {
        stream.read_buf(&mut received).await.unwrap();
        let text = String::from_utf8_lossy(&received);
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            return (format!("{head}\r\n"), body);
        }
    }
}
