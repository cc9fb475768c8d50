//! Signed webhooks over HTTP to the real `serve`: 32 connections that are kept, every body a new call.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use goto_automation::model::CallId;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::Figures;
use crate::report::percentile;
use crate::server::Server;

const CONNECTIONS: usize = 32;
const WARM_UP: Duration = Duration::from_secs(1);
const WATCHED: Duration = Duration::from_secs(5);
/// How long the webhooks of a run are sent.
pub(crate) const LASTS: Duration = Duration::from_secs(WARM_UP.as_secs() + WATCHED.as_secs());
pub(crate) const SECRET: &str = "a secret of the bench with more than thirty-two bytes";

pub(crate) async fn measure(server: &Server) -> anyhow::Result<Figures> {
    let database = server.database().await?;
    let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    let mut serve = program(&["serve"], &database.url)
        .env("API_PORT", port.to_string())
        .env("GOTO_WEBHOOK_SECRET", SECRET)
        .spawn()?;
    let mut times = send(port).await?;
    let memory = memory(serve.id().context("serve has ended")?, "VmHWM")?;
    serve.kill().await?;
    let calls: i64 = sqlx::query_scalar("SELECT count(*) FROM calls JOIN jobs ON jobs.call_id = calls.id")
        .fetch_one(&database.pool)
        .await?;
    ensure!(calls >= times.len() as i64, "{calls} calls are there, {} were acknowledged", times.len());
    server.drop(database).await?;
    Ok(vec![
        ("webhook_calls_per_s", times.len() as f64 / WATCHED.as_secs_f64()),
        ("webhook_p50_ms", percentile(&mut times, 50)),
        ("webhook_p99_ms", percentile(&mut times, 99)),
        ("webhook_rss_mib", memory),
    ])
}

/// Calls per second that the server at this port takes in, and the 99th percentile of its answers in milliseconds.
pub(crate) async fn pace(port: u16) -> anyhow::Result<(f64, f64)> {
    let mut times = send(port).await?;
    Ok((times.len() as f64 / WATCHED.as_secs_f64(), percentile(&mut times, 99)))
}

/// Milliseconds of each answer after the warming up.
async fn send(port: u16) -> anyhow::Result<Vec<f64>> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Sender::connect(port).await?);
    }
    let until = Instant::now() + WARM_UP + WATCHED;
    let senders = connections.into_iter().map(|sender| tokio::spawn(sender.send_until(until)));
    let mut times = Vec::new();
    for sender in futures::future::join_all(senders).await {
        times.extend(sender??);
    }
    Ok(times)
}

/// The real program, with what it needs from the environment and nothing else.
pub(crate) fn program(arguments: &[&str], database_url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_goto-automation"));
    command
        .args(arguments)
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .env_clear()
        .env("DATABASE_URL", database_url)
        .env("RECORDING_STORE", format!("file://{}/recordings", env!("CARGO_TARGET_TMPDIR")))
        .env("LOG_LEVEL", "warn")
        .stdout(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Memory of a process in MiB: `VmRSS`, which is resident now, or `VmHWM`, the most that ever was.
pub(crate) fn memory(process: u32, kind: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(':')?.trim().strip_suffix(" kB"));
    Ok(peak.context("it is in /proc/PID/status")?.trim().parse::<f64>()? / 1024.0)
}

/// One connection, with a client so thin that it takes little from the server, which shares its cores.
struct Sender {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Sender {
    /// Waits for a server that is starting.
    async fn connect(port: u16) -> anyhow::Result<Self> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Self { stream, buffer: Vec::new() });
                }
                Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => return Err(error).context("serve did not start"),
            }
        }
    }

    /// Milliseconds of each answer after the warming up.
    async fn send_until(mut self, until: Instant) -> anyhow::Result<Vec<f64>> {
        let from = until.checked_sub(WATCHED).context("the clock has just begun")?;
        let mut times = Vec::new();
        while Instant::now() < until {
            let request = request();
            let began = Instant::now();
            self.stream.write_all(&request).await?;
            self.read_answer().await?;
            if began >= from {
                times.push(began.elapsed().as_secs_f64() * 1_000.0);
            }
        }
        Ok(times)
    }

    async fn read_answer(&mut self) -> anyhow::Result<()> {
        self.buffer.clear();
        loop {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the server closed the connection");
            let text = std::str::from_utf8(&self.buffer)?;
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            ensure!(head.starts_with("HTTP/1.1 202"), "the server said: {text}");
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if length.is_some_and(|length| body.len() >= length) {
                return Ok(());
            }
        }
    }
}

fn request() -> Vec<u8> {
    let body = format!(
        r#"{{"event_type":"call.ended","data":{{"call_id":"{}","direction":"inbound",
        "caller":{{"name":"Example Caller","number":"+15550100002"}},"called":{{"name":"Support","number":"+15550100001"}},
        "start_time":"2026-01-05T10:00:00Z","end_time":"2026-01-05T10:04:08Z","duration":248,
        "recording_url":"https://recordings.example.com/call-0001.wav"}}}}"#,
        CallId::fresh()
    );
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length will do").chain_update(&body);
    let signature = mac.finalize().into_bytes().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    format!(
        "POST /webhooks/goto/call-ended HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         X-GoTo-Signature: {signature}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
