//! What one scenario plays on: a database of its own behind a gate, stand-ins with a log of their effects, and the real
//! program under a supervisor.

use std::io::Cursor;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use goto_automation::dev::gate::GatedUpstream;
use goto_automation::dev::standins::{self, Fixtures, Standins};
use goto_automation::model::clock;
use goto_automation::store::migrations;
use nix::sys::signal::Signal;
use secrecy::ExposeSecret as _;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use crate::book::{Book, Fault};
use crate::effects::Effects;
use crate::ground::Ground;
use crate::sender::Sender;
use crate::supervisor::{Program, Supervisor};

/// Workers, unless a scenario says otherwise.
pub const WORKERS: usize = 4;
/// The profile of all scenarios.
pub const LEASE: Duration = Duration::from_secs(10);
pub const SWEEP: Duration = Duration::from_secs(1);
const RETRY_SCALE: &str = "0.03";

const SECRET: &str = "a secret of the torture with more than thirty-two bytes";
/// Names of the processes, and the beginning of those of their logs.
pub const SERVER: &str = "serve";
pub const WORKER: &str = "worker";
/// Seconds of a fixture that are spoken in each call: the shortest sentences, because speech is not what is tried here.
const SECONDS: u32 = 3;
/// Longest time for processes to be ready.
const READY_LIMIT: Duration = Duration::from_mins(1);

/// A prepared stage. Everything on it ends when it is dropped.
pub struct Stage {
    pub db: PgPool,
    pub url: Url,
    pub standins: Standins,
    /// Between the processes and PostgreSQL.
    pub network: GatedUpstream,
    pub processes: Supervisor,
    pub book: Book,
    pub sender: Sender,
    /// What the calls name as their recordings.
    pub recordings: Vec<Url>,
    /// The address of the database, past the gate.
    pub database: String,
    /// Where the server listens, unless somebody hands it a socket.
    pub port: u16,
    folder: PathBuf,
    settings: Vec<(String, String)>,
}

impl Stage {
    /// With stand-ins that misbehave by this plan; no process runs yet.
    pub async fn prepare(ground: &Ground, scenario: &str, faults: &str) -> anyhow::Result<Self> {
        let folder = ground.folder(scenario)?;
        let database = ground.database(scenario).await?;
        let db = PgPoolOptions::new().min_connections(2).max_connections(5).connect(&database).await?;
        migrations::apply(&db).await?;
        let (network, gated) = GatedUpstream::to_database(&database).await?;
        let options = standins::Options {
            faults: faults.parse()?,
            effect_log: Some(folder.join("effects.jsonl")),
            ..standins::Options::default()
        };
        let standins = Standins::start_with(Fixtures::embedded(), options).await?;
        let port = free_port()?;
        let url = Url::parse(&format!("http://127.0.0.1:{port}/"))?;
        let sender = Sender::new(&url, SECRET, &folder.join("sent.jsonl"))?;
        let settings = settings(&gated, port, &standins, &folder);
        let recordings = recordings(&standins).await?;
        let processes = Supervisor::new(&folder);
        let book = Book::default();
        Ok(Self { db, url, standins, network, processes, book, sender, recordings, database, port, folder, settings })
    }

    /// Lays a setting over those of the profile, for processes that are started after this.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.into()));
    }

    /// The program with these arguments.
    pub fn program(&self, arguments: &[&str]) -> Program {
        Program {
            path: env!("CARGO_BIN_EXE_goto-automation").into(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            settings: self.settings.clone(),
            socket: None,
        }
    }

    /// `serve` and four workers.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.serve()?;
        for number in 0..WORKERS {
            self.work(number)?;
        }
        self.ready(WORKERS).await
    }

    pub fn serve(&mut self) -> anyhow::Result<()> {
        let program = self.program(&["serve"]);
        self.processes.start(SERVER, program)
    }

    pub fn work(&mut self, number: usize) -> anyhow::Result<()> {
        let program = self.program(&["worker"]);
        self.processes.start(&format!("{WORKER}-{number}"), program)
    }

    /// Waits until the server is ready and so many workers claim.
    pub async fn ready(&self, workers: usize) -> anyhow::Result<()> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let ready = async {
            while !self.is_ready(&http, workers).await? {
                sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        let late = || format!("the processes were not ready after {READY_LIMIT:?}; see {}", self.folder.display());
        timeout(READY_LIMIT, ready).await.with_context(late)?
    }

    async fn is_ready(&self, http: &reqwest::Client, workers: usize) -> anyhow::Result<bool> {
        let claimers = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND application_name = 'goto-automation claimer'";
        let answer = http.get(self.url.join("health/ready")?).send().await;
        Ok(answer.is_ok_and(|answer| answer.status() == 200) && self.count(claimers).await? >= workers as i64)
    }

    /// `kill -9` of the process in this place, if there is one just now.
    pub fn kill(&self, place: &str) -> bool {
        let Some(place) = self.processes.of(place).first().copied() else { return false };
        let killed = place.signal(Signal::SIGKILL);
        if let Some(pid) = killed {
            self.book.note(Fault::Process(pid));
        }
        killed.is_some()
    }

    /// Waits until no job is open any more; how long that took, or `None` when it took longer.
    pub async fn drained(&self, limit: Duration) -> Option<Duration> {
        let began = Instant::now();
        let open = "SELECT count(*) FROM jobs WHERE state IN ('available', 'running')";
        while began.elapsed() <= limit {
            if self.count(open).await.is_ok_and(|open| open == 0) {
                return Some(began.elapsed());
            }
            sleep(Duration::from_millis(50)).await;
        }
        None
    }

    /// Waits until the answer is not below `least`.
    pub async fn until(&self, question: &'static str, least: i64, limit: Duration) -> anyhow::Result<Duration> {
        let began = Instant::now();
        while self.count(question).await? < least {
            anyhow::ensure!(began.elapsed() < limit, "waited {limit:?} in vain for {least} at: {question}");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(began.elapsed())
    }

    /// Asks the database directly, past the gate.
    pub async fn count(&self, question: &'static str) -> anyhow::Result<i64> {
        Ok(sqlx::query_scalar(question).fetch_one(&self.db).await?)
    }

    pub fn effects(&self) -> anyhow::Result<Effects> {
        Effects::read(&self.folder.join("effects.jsonl"))
    }

    /// The folder of logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stops everything. Logs stay.
    pub async fn strike(self, ground: &Ground, scenario: &str) -> anyhow::Result<()> {
        self.network.set(goto_automation::dev::gate::Gate::Open);
        self.processes.stop().await;
        self.standins.stop().await;
        self.db.close().await;
        ground.drop_database(scenario).await
    }
}

/// When a server accepts connections again, after whatever `outage` does to it.
pub async fn outage<T>(book: &Book, outage: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<DateTime<Utc>> {
    let from = clock::now();
    outage.await?;
    book.note_since(Fault::Database, from);
    Ok(clock::now())
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The profile, and the ways to the stand-ins.
fn settings(database: &str, port: u16, standins: &Standins, folder: &Path) -> Vec<(String, String)> {
    let seconds = |time: Duration| format!("{}s", time.as_secs());
    [
        ("DATABASE_URL", database.to_owned()),
        ("API_PORT", port.to_string()),
        ("GOTO_WEBHOOK_SECRET", SECRET.to_owned()),
        ("PUBLIC_URL", "https://calls.example.com".to_owned()),
        ("RECORDING_STORE", format!("file://{}", folder.join("recordings").display())),
        ("LEASE_DURATION", seconds(LEASE)),
        ("SWEEP_INTERVAL", seconds(SWEEP)),
        ("RETRY_SCALE", RETRY_SCALE.to_owned()),
    ]
    .into_iter()
    .chain(standins.settings())
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// The first words of three recorded calls, at the stand-in recording host.
async fn recordings(standins: &Standins) -> anyhow::Result<Vec<Url>> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let mut urls = Vec::new();
    for name in ["appointment", "delivery-late", "double-charge"] {
        let url = standins.recordings_url.join(&format!("upload/{name}-begins.wav"))?;
        let upload = http.put(url.clone()).bearer_auth(standins.key.expose_secret()).body(beginning(name)?);
        upload.send().await?.error_for_status()?;
        urls.push(url);
    }
    Ok(urls)
}

/// The team's side of a fixture, in one channel.
fn beginning(name: &str) -> anyhow::Result<Vec<u8>> {
    let path = format!("{}/fixtures/calls/{name}.wav", env!("CARGO_MANIFEST_DIR"));
    let mut whole = hound::WavReader::open(path)?;
    let spec = whole.spec();
    let (channels, length) = (usize::from(spec.channels), (spec.sample_rate * SECONDS) as usize);
    let mut file = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, hound::WavSpec { channels: 1, ..spec })?;
    for sample in whole.samples::<i16>().step_by(channels).take(length) {
        writer.write_sample(sample?)?;
    }
    writer.finalize()?;
    Ok(file.into_inner())
}
