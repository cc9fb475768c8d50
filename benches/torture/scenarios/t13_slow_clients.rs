//! T13: 500 clients from several addresses send a byte per second, half of them of their headers and half of their bodies;
//! others send 1,000 badly signed webhooks per second and 200 bodies of 10 MB. Honest webhooks are answered quickly, slow
//! clients are shown the door, and memory stays flat.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use goto_automation::http::signature;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::checker::Findings;
use crate::ground::Ground;
use crate::report::{self, Report};
use crate::stage::{SERVER, Stage};
use crate::traffic::Traffic;

const NAME: &str = "T13";
const WEBHOOKS: usize = 400;
const RATE: f64 = 10.0;
const SLOW: usize = 500;
/// Addresses that they come from.
const ADDRESSES: usize = 25;
const BAD_EACH_SECOND: u64 = 1_000;
const BAD_SECONDS: u64 = 20;
const MOST_BAD_UNDER_WAY: usize = 100;
const LARGE: usize = 200;
const LARGE_BYTES: usize = 10_000_000;
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
    let ((), closed, refused, large) =
        tokio::try_join!(stage.sender.send(plan), slow_clients(address), badly_signed(&stage), large_bodies(&stage))?;
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
    report.figure(format!("{refused} bad signatures refused of {}", BAD_EACH_SECOND * BAD_SECONDS));
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
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((address(number), 0)))?;
    let mut stream = socket.connect(server).await?;
    let began = Instant::now();
    let head = "POST /webhooks/goto/call-ended HTTP/1.1\r\nHost: calls.example.com\r\nContent-Length: 400\r\n";
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

/// One of those that are not the honest senders'.
fn address(number: usize) -> Ipv4Addr {
    let host = (number % ADDRESSES) as u8;
    Ipv4Addr::new(127, 0, 1 + host / 5, 1 + host % 5)
}

/// A client of each address.
fn clients() -> anyhow::Result<Vec<reqwest::Client>> {
    let client = |number| {
        let address = IpAddr::V4(address(number));
        reqwest::Client::builder().no_proxy().timeout(PATIENCE).local_address(address).build()
    };
    Ok((0..ADDRESSES).map(client).collect::<Result<_, _>>()?)
}

/// Whether the other side closes within that time; answers are read away.
async fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    let mut buffer = [0; 1024];
    let ended = async { while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {} };
    timeout(within, ended).await.is_ok()
}

/// How many were told that their signature is wrong.
async fn badly_signed(stage: &Stage) -> anyhow::Result<usize> {
    let clients = clients()?;
    let url = stage.url.join("webhooks/goto/call-ended")?;
    let places = Arc::new(Semaphore::new(MOST_BAD_UNDER_WAY));
    let mut ticks = interval(Duration::from_secs(1) / BAD_EACH_SECOND as u32);
    let mut under_way = JoinSet::new();
    for number in 0..BAD_EACH_SECOND * BAD_SECONDS {
        ticks.tick().await;
        // A flood that waits for its answers would be none; one without any bound would measure this program.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let signature = signature::sign(&"somebody else's secret, also more than 32 bytes".into(), b"{}");
        let http = &clients[number as usize % ADDRESSES];
        let request = http.post(url.clone()).header(signature::HEADER, signature).body("{}");
        under_way.spawn(async move {
            let answer = request.send().await;
            drop(place);
            answer.is_ok_and(|answer| answer.status() == 401)
        });
    }
    Ok(under_way.join_all().await.into_iter().filter(|refused| *refused).count())
}

/// How many large bodies were refused, be it by an answer or by a closed door.
async fn large_bodies(stage: &Stage) -> anyhow::Result<usize> {
    let clients = clients()?;
    let url = stage.url.join("webhooks/goto/call-ended")?;
    let places = Arc::new(Semaphore::new(MOST_LARGE_UNDER_WAY));
    let body = bytes::Bytes::from(vec![b' '; LARGE_BYTES]);
    let mut under_way = JoinSet::new();
    for number in 0..LARGE {
        let place = places.clone().acquire_owned().await?;
        let request = clients[number % ADDRESSES].post(url.clone()).body(body.clone());
        under_way.spawn(async move {
            let answer = request.send().await;
            drop(place);
            // A connection that is closed in the middle of an upload may lose the answer.
            answer.map_or(true, |answer| answer.status() == 413)
        });
    }
    Ok(under_way.join_all().await.into_iter().filter(|refused| *refused).count())
}

/// Resident memory of the server.
fn memory_mib(stage: &Stage) -> anyhow::Result<u64> {
    let pid = stage.processes.of(SERVER).first().and_then(|place| place.pid()).context("no server")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no memory is told")?;
    Ok(line.split_whitespace().next().context("no number")?.parse::<u64>()? / 1024)
}
