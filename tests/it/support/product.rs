//! The product in this process, with a database of its own and stand-ins for every upstream.

use std::time::Duration;

use goto_automation::app;
use goto_automation::config::{Config, Values};
use goto_automation::dev::standins::{self, Fixtures, Standins};
use goto_automation::http;
use goto_automation::model::CallId;
use goto_automation::providers::http_client;
use goto_automation::queue::{self, Waker};
use goto_automation::shutdown::Shutdown;
use goto_automation::store;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::front_door::{answer, sign};
use super::{Database, Process, failures};

/// The secret with which tests sign webhooks.
pub const SECRET: &str = "a secret of the tests with more than thirty-two bytes";

/// Longest time that a story waits for something to happen.
const PATIENCE: Duration = Duration::from_secs(40);

/// Everything that a call meets, from its first job to the outbox.
pub struct Product {
    db: PgPool,
    /// Dropped with this value.
    own_database: Option<Database>,
    pub standins: Standins,
    pub config: Config,
    settings: Vec<(String, String)>,
    pub waker: Waker,
    shutdown: Shutdown,
    webhook: String,
    http: reqwest::Client,
    work: Option<AbortOnDropHandle<()>>,
    _door: AbortOnDropHandle<()>,
    _store: TempDir,
}

impl Product {
    /// With workers for all steps.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With these settings laid over those of the tests.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        let mut product = Self::at_rest(settings).await;
        product.work();
        product
    }

    /// With workers, and stand-ins that misbehave by this plan.
    pub async fn start_under(plan: &str, settings: &[(&str, &str)]) -> Self {
        let mut product = Self::at_rest_under(plan, settings).await;
        product.work();
        product
    }

    /// Without workers.
    pub async fn at_rest(settings: &[(&str, &str)]) -> Self {
        Self::at_rest_under("", settings).await
    }

    /// Without workers, and with stand-ins that misbehave by this plan.
    pub async fn at_rest_under(plan: &str, settings: &[(&str, &str)]) -> Self {
        let db = Database::fresh().await;
        let mut product = Self::build(db.url(), plan, settings).await;
        product.own_database = Some(db);
        product
    }

    /// On a server of the story's own, migrated; without workers.
    pub async fn on(url: &str, settings: &[(&str, &str)]) -> Self {
        Self::build(url, "", settings).await
    }

    async fn build(url: &str, plan: &str, settings: &[(&str, &str)]) -> Self {
        let options = standins::Options { faults: plan.parse().unwrap(), ..standins::Options::default() };
        let standins = Standins::start_with(Fixtures::embedded(), options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let settings = [defaults(url, &standins, folder.path()), owned(settings)].concat();
        let config = read(&settings);
        let shutdown = Shutdown::new();
        let database = app::Database::new(config.require_database().unwrap()).unwrap();
        database.ready(true, &shutdown).await.unwrap();
        let waker = Waker::default();
        database.spawn_notifier(&waker, &shutdown);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let webhook = format!("http://{}/webhooks/goto/call-ended", listener.local_addr().unwrap());
        let routes = http::routes(app::doors(&config, &database, waker.clone()).unwrap());
        let door = {
            let (config, shutdown) = (config.clone(), shutdown.clone());
            tokio::spawn(async move { app::serve(&config, listener, routes, &shutdown).await.unwrap() })
        };
        Self {
            db: PgPoolOptions::new().max_connections(10).connect_lazy(url).unwrap(),
            own_database: None,
            standins,
            config,
            settings,
            waker,
            shutdown,
            webhook,
            http: http_client::client().unwrap(),
            work: None,
            _door: AbortOnDropHandle::new(door),
            _store: folder,
        }
    }

    /// Lays further settings over those that are there, for workers that are started after this.
    pub fn set(&mut self, settings: &[(&str, &str)]) {
        self.settings.extend(owned(settings));
        self.config = read(&self.settings);
    }

    /// A worker process of the real program.
    pub fn worker(&self) -> Process {
        Process::start(&["worker"], &self.settings)
    }

    /// Starts workers in this process.
    pub fn work(&mut self) {
        let (config, waker, shutdown) = (self.config.clone(), self.waker.clone(), self.shutdown.clone());
        let database = self.database();
        let work = async move { app::work(&config, &database, waker, &shutdown).await.unwrap() };
        self.work = Some(AbortOnDropHandle::new(tokio::spawn(work)));
    }

    pub fn pool(&self) -> &PgPool {
        &self.db
    }

    pub fn database(&self) -> app::Database {
        app::Database::new(self.config.require_database().unwrap()).unwrap()
    }

    /// A call whose recording is the fixture of this name, as the webhook would record it.
    pub async fn ring(&self, fixture: &str) -> CallId {
        let url = self.standins.recordings_url.join(&format!("{fixture}.wav")).unwrap();
        self.ring_with(Some(url.as_str())).await
    }

    /// A call with these bytes as its recording, under this name at the recording host.
    pub async fn ring_with_file(&self, name: &str, bytes: Vec<u8>) -> CallId {
        let url = self.standins.recordings_url.join("upload/").unwrap().join(name).unwrap();
        let upload = self.http.put(url.clone()).bearer_auth(self.standins.key.expose_secret()).body(bytes);
        assert_eq!(upload.send().await.unwrap().status().as_u16(), 201);
        self.ring_with(Some(url.as_str())).await
    }

    /// A call with any recording address, or none: a signed webhook, as its sender posts it.
    pub async fn ring_with(&self, recording_url: Option<&str>) -> CallId {
        let (status, receipt) = self.post(&body(&format!("call-{}", uuid::Uuid::now_v7()), recording_url)).await;
        assert_eq!((status, &receipt["status"]), (202, &json!("accepted")), "{receipt}");
        receipt["call_id"].as_str().unwrap().parse().unwrap()
    }

    /// Posts a body, signed.
    pub async fn post(&self, body: &Value) -> (u16, Value) {
        let bytes = serde_json::to_vec(body).unwrap();
        let signature = sign(&bytes, SECRET);
        answer(self.http.post(&self.webhook).header("X-GoTo-Signature", signature).body(bytes)).await
    }

    /// What `/health` says.
    pub async fn health(&self) -> Value {
        let url = self.webhook.replace("/webhooks/goto/call-ended", "/health");
        answer(self.http.get(url)).await.1
    }

    pub async fn call(&self, id: CallId) -> store::calls::CallRow {
        store::calls::get(self.pool(), id).await.unwrap().expect("the call is there")
    }

    /// Waits until the call is in this state.
    pub async fn until(&self, id: CallId, state: &str) -> store::calls::CallRow {
        let reached = async {
            loop {
                let call = self.call(id).await;
                if call.state == state {
                    return call;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        match timeout(PATIENCE, reached).await.ok() {
            Some(call) => call,
            None => panic!("not {state}: {:#?}\n{:#?}", self.call(id).await, self.attempts(id).await),
        }
    }

    /// Waits until no job is open any more.
    pub async fn drain(&self) {
        let drained = async {
            while self.count("SELECT count(*) FROM jobs WHERE state IN ('available', 'running')").await > 0 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(PATIENCE, drained).await.is_err() {
            let open = queue::list(self.pool(), &queue::JobFilter { limit: 10, ..Default::default() }).await;
            panic!("jobs stay open: {open:#?}");
        }
    }

    /// All attempts of a call; each is as `docs/failures.md` tells it.
    pub async fn attempts(&self, id: CallId) -> Vec<queue::AttemptRow> {
        let attempts = queue::attempts_of_call(self.pool(), id.0).await.unwrap();
        attempts.iter().for_each(failures::assert_told);
        attempts
    }

    pub async fn deliveries(&self, id: CallId) -> Vec<store::deliveries::DeliveryRow> {
        store::deliveries::of_call(self.pool(), id).await.unwrap()
    }

    pub async fn count(&self, question: &'static str) -> i64 {
        sqlx::query_scalar(question).fetch_one(self.pool()).await.unwrap()
    }
}

/// What a sender tells about a call that has ended.
pub fn body(call_id: &str, recording_url: Option<&str>) -> Value {
    json!({"event_type": "call.ended", "timestamp": "2026-01-05T10:04:09Z", "data": {
        "call_id": call_id, "direction": "inbound",
        "caller": {"name": "Example Caller", "number": "+15550100002"},
        "called": {"name": "Support", "number": "+15550100001"},
        "start_time": "2026-01-05T10:00:00Z", "end_time": "2026-01-05T10:04:08Z", "duration": 248,
        "recording_url": recording_url, "status": "completed"}})
}

/// The settings that lead every client of the product to the stand-ins.
fn defaults(database_url: &str, standins: &Standins, store: &std::path::Path) -> Vec<(String, String)> {
    [
        ("DATABASE_URL", database_url.to_owned()),
        ("GOTO_WEBHOOK_SECRET", SECRET.to_owned()),
        ("PUBLIC_URL", "https://calls.example.com".to_owned()),
        ("API_MAX_CONNECTIONS_PER_ADDRESS", "1024".to_owned()),
        ("RECORDING_STORE", format!("file://{}", store.display())),
        ("LEASE_DURATION", "2s".to_owned()),
        ("SWEEP_INTERVAL", "200ms".to_owned()),
        ("SHUTDOWN_TIMEOUT", "1s".to_owned()),
        ("RETRY_SCALE", "0.01".to_owned()),
    ]
    .into_iter()
    .chain(standins.settings())
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn owned(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read(settings: &[(String, String)]) -> Config {
    let mut values = Values::default();
    for (name, value) in settings {
        values.set(name, value.as_str());
    }
    values.read().unwrap()
}
