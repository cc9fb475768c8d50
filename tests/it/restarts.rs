//! `serve` is restarted while webhooks come in: the listening socket is handed on, and no sender notices.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use goto_automation::providers::http_client;
use nix::sys::signal::Signal;
use reqwest::Client;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::support::{Database, Process, SECRET, body, sign};

const PATIENCE: Duration = Duration::from_mins(1);
const RESTARTS: usize = 3;

/// Sends a call as a sender does that keeps its connections, and one that does not.
async fn send(client: Client, address: SocketAddr, number: usize) -> u16 {
    let body = serde_json::to_vec(&body(&format!("call-{number}"), None)).unwrap();
    let request = client.post(format!("http://{address}/webhooks/goto/call-ended"));
    let request = request.header("X-GoTo-Signature", sign(&body, SECRET)).body(body);
    let request = if number.is_multiple_of(2) { request } else { request.header("connection", "close") };
    request.send().await.unwrap_or_else(|error| panic!("call {number} met {error:?}")).status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_refuse_no_connection() {
    let database = Database::fresh().await;
    let store = tempfile::tempdir().unwrap();
    let settings = [
        ("DATABASE_URL", database.url().to_owned()),
        ("GOTO_WEBHOOK_SECRET", SECRET.to_owned()),
        ("RECORDING_STORE", format!("file://{}", store.path().display())),
        // Not where it serves: the socket comes from outside.
        ("API_PORT", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();

    let client = http_client::client().unwrap();
    let mut process = Process::serve_on(&listener, &settings);
    let done = Arc::new(Notify::new());
    let senders = tokio::spawn({
        let (client, done) = (client.clone(), done.clone());
        async move {
            let (mut ticks, mut sent) = (interval(Duration::from_millis(20)), JoinSet::new());
            loop {
                tokio::select! {
                    () = done.notified() => break,
                    _ = ticks.tick() => drop(sent.spawn(send(client.clone(), address, sent.len()))),
                }
            }
            sent.join_all().await
        }
    });
    for number in 0..RESTARTS {
        // It waits in the kernel's queue until the new process takes it.
        let status = timeout(PATIENCE, send(client.clone(), address, 1_000_000 + number)).await.expect("an answer");
        assert_eq!(status, 202);
        process.signal(Signal::SIGTERM);
        assert!(timeout(PATIENCE, process.ended()).await.expect("it ends").success());
        process = Process::serve_on(&listener, &settings);
    }
    done.notify_one();
    let statuses = timeout(PATIENCE, senders).await.expect("all are answered").unwrap();
    assert!(statuses.iter().all(|status| *status == 202), "{statuses:?}");
    let calls: i64 = sqlx::query_scalar("SELECT count(*) FROM calls").fetch_one(database.pool()).await.unwrap();
    assert_eq!(calls as usize, statuses.len() + RESTARTS);
}
