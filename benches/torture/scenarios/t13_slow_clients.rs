//! T13: 500 clients from several addresses send a byte per second, half of them of their headers and half of their bodies;
//! others send 1,000 badly signed webhooks per second and 200 bodies of 10 MB. Honest webhooks are answered quickly, slow
//! clients are shown the door, and memory stays flat.

use std::future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use goto_automation::http::signature;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::checker::Findings;
use crate::ground::Ground;
use crate::report::{self, Report};
use crate::stage::{SERVER, Stage};
use crate::strangers;
use crate::traffic::Traffic;

const NAME: &str = "T13";
const WEBHOOKS: usize = 400;
const RATE: f64 = 10.0;
const SLOW: usize = 500;
const BAD: usize = 20_000;
const BAD_CONNECTIONS: usize = 100;
/// Between two requests of one connection: together 1,000 in a second.
const EVERY: Duration = Duration::from_millis(100);
/// A flood that takes longer than its 20 s was none of 1,000 per second.
const FLOOD_LIMIT: Duration = Duration::from_secs(22);
const LARGE: usize = 200;
const LARGE_BYTES: usize = 10_000_000;
static PIECE: [u8; 50_000] = [b' '; 50_000];
const MOST_LARGE_UNDER_WAY: usize = 20;
const ANSWER_P99: Duration = Duration::from_millis(500);
const CLOSED_LIMIT: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(35);
/// What "flat" means: far less than the 2 GB that are sent.
const GROWTH_LIMIT: u64 = 64;
const DRAIN_LIMIT: Duration = Duration::from_mins(1);

pub async fn run(ground: &Ground) -> anyhow::Result<Report> {
    let mut stage = Stage::prepare(ground, NAME, "").await?;
    stage.start().await?;
    let warm = Traffic::plain(50, RATE).plan("t13-warm", &stage.recordings, ground.seed_of(NAME));
    stage.sender.send(warm).await?;
    let before = memory_mib(&stage)?;
    let warmed = stage.sender.sent().tries.len();
    let plan = Traffic::plain(WEBHOOKS, RATE).plan("t13", &stage.recordings, ground.seed_of(NAME));
    let address: SocketAddr = stage.url.socket_addrs(|| None)?[0];
    let ((), closed, (refused, flood), large) =
        tokio::try_join!(stage.sender.send(plan), slow_clients(address), badly_signed(address), large_bodies(address))?;
    let after = memory_mib(&stage)?;
    let drained = stage.drained(DRAIN_LIMIT).await;

    let findings = Findings::of(&stage).await?;
    let mut report = Report::default();
    report.exactly("calls", findings.calls, WEBHOOKS + 50);
    findings.tell(&mut report);
    let honest: Vec<Duration> = stage.sender.sent().times().split_off(warmed);
    report.within("honest answer p99", report::percentile(&honest, 99), ANSWER_P99);
    report.exactly("slow clients closed", closed.len(), SLOW);
    report.within("the last of them after", closed.into_iter().max(), CLOSED_LIMIT);
    report.exactly("bad signatures refused", refused, BAD);
    report.within("all of them in", Some(flood), FLOOD_LIMIT);
    report.exactly("large bodies refused", large, LARGE);
    let growth = after.saturating_sub(before);
    report.require(
        format!("memory {before} to {after} MiB"),
        growth <= GROWTH_LIMIT,
        &format!("{GROWTH_LIMIT} more at most"),
    );
    report.none("processes ended", &stage.processes.ends());
    report.within("all ended after", drained, DRAIN_LIMIT);
    stage.strike(ground, NAME).await?;
    Ok(report)
}

/// How long each of those was borne that were closed in the end.
async fn slow_clients(server: SocketAddr) -> anyhow::Result<Vec<Duration>> {
    let mut clients = JoinSet::new();
    for number in 0..SLOW {
        clients.spawn(timeout(PATIENCE, slow_client(server, number)));
        sleep(Duration::from_millis(2)).await;
    }
    Ok(clients.join_all().await.into_iter().filter_map(|ended| ended.ok()?.ok()).collect())
}

async fn slow_client(server: SocketAddr, number: usize) -> anyhow::Result<Duration> {
    let mut stream = strangers::connect(server, number).await?;
    let began = Instant::now();
    let head = format!("{}Content-Length: 400\r\n", strangers::HEAD);
    // The first half never come to the end of their headers, the others never to the end of their bodies.
    let headers = number.is_multiple_of(2);
    let drops = if headers { format!("{head}X-Slow: ") } else { " ".repeat(400) };
    if !headers {
        stream.write_all(format!("{head}\r\n").as_bytes()).await?;
    }
    for byte in drops.bytes() {
        if is_closed(&mut stream, Duration::from_secs(1)).await || stream.write_all(&[byte]).await.is_err() {
            return Ok(began.elapsed());
        }
    }
    anyhow::bail!("it was never closed")
}

/// Whether the other side closes within that time; answers are read away.
async fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    let mut buffer = [0; 1024];
    let ended = async { while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {} };
    timeout(within, ended).await.is_ok()
}

/// How many were told that their signature is wrong, and how long all took.
async fn badly_signed(server: SocketAddr) -> anyhow::Result<(usize, Duration)> {
    let signature = signature::sign(&"somebody else's secret, also more than 32 bytes".into(), b"{}");
    let rest = format!("{}: {signature}\r\nContent-Length: 2\r\n\r\n{{}}", signature::HEADER);
    let request: Arc<str> = format!("{}{rest}", strangers::HEAD).into();
    let (began, mut strangers) = (Instant::now(), JoinSet::new());
    for number in 0..BAD_CONNECTIONS {
        strangers.spawn(sign_badly(server, number, request.clone(), began));
    }
    let mut refused = 0;
    while let Some(of_one) = strangers.join_next().await {
        refused += of_one??;
    }
    Ok((refused, began.elapsed()))
}

/// Each request when it is due, or late and then as soon as the answer to the one before is there.
async fn sign_badly(server: SocketAddr, number: usize, request: Arc<str>, began: Instant) -> anyhow::Result<usize> {
    let mut stream = strangers::connect(server, number).await?;
    let first = began + EVERY.mul_f64(number as f64 / BAD_CONNECTIONS as f64);
    let mut refused = 0;
    for turn in 0..BAD / BAD_CONNECTIONS {
        sleep_until(first + EVERY * turn as u32).await;
        stream.write_all(request.as_bytes()).await?;
        refused += usize::from(strangers::answer(&mut stream).await? == 401);
    }
    Ok(refused)
}

/// How many large bodies were refused, be it by an answer or by a closed door.
async fn large_bodies(server: SocketAddr) -> anyhow::Result<usize> {
    let places = Arc::new(Semaphore::new(MOST_LARGE_UNDER_WAY));
    let mut under_way = JoinSet::new();
    for number in 0..LARGE {
        let place = places.clone().acquire_owned().await?;
        under_way.spawn(async move {
            let refused = timeout(PATIENCE, send_much(server, number)).await;
            drop(place);
            refused.is_ok_and(|refused| refused.unwrap_or(false))
        });
    }
    Ok(under_way.join_all().await.into_iter().filter(|refused| *refused).count())
}

async fn send_much(server: SocketAddr, number: usize) -> anyhow::Result<bool> {
    let (mut reader, mut writer) = strangers::connect(server, number).await?.into_split();
    writer.write_all(format!("{}Content-Length: {LARGE_BYTES}\r\n\r\n", strangers::HEAD).as_bytes()).await?;
    let body = async {
        for _ in 0..LARGE_BYTES / PIECE.len() {
            writer.write_all(&PIECE).await?;
        }
        // What it had to say is said; now it waits for the answer.
        future::pending::<io::Result<()>>().await
    };
    Ok(tokio::select! {
        biased;
        answer = strangers::answer(&mut reader) => answer.map_or_else(|error| is_cut_off(&error), |status| status == 413),
        written = body => written.is_err_and(|error| is_cut_off(&error)),
    })
}

/// A connection that is closed in the middle of an upload may lose the answer.
fn is_cut_off(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// Resident memory of the server.
fn memory_mib(stage: &Stage) -> anyhow::Result<u64> {
    let pid = stage.processes.of(SERVER).first().and_then(|place| place.pid()).context("no server")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no memory is told")?;
    Ok(line.split_whitespace().next().context("no number")?.parse::<u64>()? / 1024)
}
