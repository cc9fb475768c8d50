//! T15: everything at once. 1,000 webhooks in 80 seconds while the seed decides what goes wrong next: workers and the
//! server are killed or frozen, PostgreSQL crashes, the network is slow, swallows everything or breaks off, and every
//! upstream has its bad moments.

use std::time::Duration;

use goto_automation::dev::gate::Gate;
use goto_automation::model::clock;
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

use crate::book::Fault;
use crate::checker::Findings;
use crate::ground::Ground;
use crate::report::Report;
use crate::stage::{self, SERVER, Stage, WORKER, WORKERS};
use crate::traffic::Traffic;

const NAME: &str = "T15";
const WEBHOOKS: usize = 1_000;
const SECONDS: u64 = 80;
const DUPLICATES: usize = 10;
const OUT_OF_ORDER: usize = 5;
const END_LIMIT: Duration = Duration::from_mins(1);
const PATIENCE: Duration = Duration::from_mins(3);

/// What upstreams do on such a day, each in one of a hundred requests.
const BAD_MOMENTS: [(&str, &str); 14] = [
    ("recordings", "not_found"),
    ("recordings", "server_error"),
    ("recordings", "cut_off"),
    ("speech", "rate_limited"),
    ("speech", "server_error"),
    ("speech", "reset"),
    ("language_model", "unavailable"),
    ("language_model", "cut_off"),
    ("slack", "reset"),
    ("slack", "bad_gateway"),
    ("slack", "rate_limited"),
    ("smtp", "dot_cut"),
    ("smtp", "recipient_450"),
    ("smtp", "data_cut"),
];

/// What happens next: to the processes, or to the database and the way to it.
#[derive(Debug, Clone, Copy)]
enum Event {
    KillWorker(usize),
    KillServer,
    FreezeWorker(usize, Duration),
    CrashDatabase,
    Network(Gate, Duration),
    CutConnections,
}

pub async fn run(ground: &Ground) -> anyhow::Result<Report> {
    let seed = ground.seed_of(NAME);
    let mut stage = Stage::prepare(ground, NAME, &plan(seed)).await?;
    stage.start().await?;
    let rate = WEBHOOKS as f64 / SECONDS as f64;
    let traffic = Traffic { webhooks: WEBHOOKS, rate, duplicates: DUPLICATES, out_of_order: OUT_OF_ORDER };
    let webhooks = traffic.plan("t15", &stage.recordings, seed);
    let faults = async {
        let random = |stream| StdRng::seed_from_u64(seed ^ stream);
        let to_processes = strike(ground, &stage, random(1), to_process);
        let to_database = strike(ground, &stage, random(2), to_database);
        let (one, other) = tokio::try_join!(to_processes, to_database)?;
        anyhow::Ok((one + other, Instant::now()))
    };
    let ((), (events, last_fault)) = tokio::try_join!(stage.sender.send(webhooks), faults)?;
    let drained = stage.drained(PATIENCE).await.map(|_| last_fault.elapsed());

    let (sent, findings) = (stage.sender.sent(), Findings::of(&stage).await?);
    let mut report = Report::default();
    report.figure(sent.told());
    report.figure(format!("{events} faults"));
    report.exactly("calls", findings.calls, traffic.calls());
    findings.tell(&mut report);
    report.figure(format!("paid again {}", findings.paid_again));
    report.within("all ended after the last fault", drained, END_LIMIT);
    stage.strike(ground, NAME).await?;
    Ok(report)
}

fn plan(seed: u64) -> String {
    let rule = |(upstream, fault): (&str, &str)| {
        format!("[[rule]]\nupstream = '{upstream}'\nfault = '{fault}'\nprobability = 0.01\nwait_seconds = 2\n")
    };
    format!("seed = {}\n{}", seed >> 1, BAD_MOMENTS.map(rule).concat())
}

/// One thing after the other until the time is over; gives back how many.
async fn strike(
    ground: &Ground,
    stage: &Stage,
    mut random: StdRng,
    next: fn(&mut StdRng) -> Event,
) -> anyhow::Result<usize> {
    let (began, mut events) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(SECONDS) {
        sleep(Duration::from_millis(random.random_range(500..2_500))).await;
        happen(ground, stage, next(&mut random)).await?;
        events += 1;
    }
    Ok(events)
}

fn to_process(random: &mut StdRng) -> Event {
    let worker = random.random_range(0..WORKERS);
    match random.random_range(0..10) {
        0..6 => Event::KillWorker(worker),
        6..8 => Event::KillServer,
        _ => Event::FreezeWorker(worker, seconds(random, 14.0)),
    }
}

fn to_database(random: &mut StdRng) -> Event {
    match random.random_range(0..10) {
        0..1 => Event::CrashDatabase,
        1..4 => Event::Network(Gate::Slow(Duration::from_millis(random.random_range(20..300))), seconds(random, 5.0)),
        4..7 => Event::Network(Gate::BlackHole, seconds(random, 6.0)),
        _ => Event::CutConnections,
    }
}

fn seconds(random: &mut StdRng, longest: f64) -> Duration {
    Duration::from_secs_f64(random.random_range(1.0..longest))
}

async fn happen(ground: &Ground, stage: &Stage, event: Event) -> anyhow::Result<()> {
    let from = clock::now();
    match event {
        Event::KillWorker(number) => {
            stage.kill(&format!("{WORKER}-{number}"));
        }
        Event::KillServer => {
            stage.kill(SERVER);
        }
        Event::FreezeWorker(number, time) => {
            let name = format!("{WORKER}-{number}");
            let Some(place) = stage.processes.of(&name).first().copied() else { return Ok(()) };
            let Some(pid) = place.signal(Signal::SIGSTOP) else { return Ok(()) };
            sleep(time).await;
            place.signal(Signal::SIGCONT);
            stage.book.note_since(Fault::Process(pid), from);
        }
        Event::CrashDatabase => {
            stage::outage(&stage.book, ground.postgres.restart_immediate()).await?;
        }
        Event::Network(gate, time) => {
            stage.network.set(gate);
            sleep(time).await;
            stage.network.set(Gate::Open);
            stage.book.note_since(Fault::Database, from);
        }
        Event::CutConnections => {
            stage.network.cut_connections();
            stage.book.note(Fault::Database);
        }
    }
    Ok(())
}
