//! The front door: the real HTTP server on a loopback port, and a client in front of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use goto_automation::config::{OnUnknown, RecordingsConfig, ServerConfig};
use goto_automation::http::calls::{Links, Means};
use goto_automation::http::health::{Component, Parts, Status};
use goto_automation::http::{self, Doors, Limits};
use goto_automation::model::{ApiKey, CallBounds, Days};
use goto_automation::pipeline::intake::Intake;
use goto_automation::pipeline::rerun::Telling;
use goto_automation::providers::http_client;
use goto_automation::providers::recordings::Recordings;
use goto_automation::queue::Waker;
use goto_automation::store::{self, keys::NewKey, vocabulary::Vocabulary};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use sha2::Sha256;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::{Database, product::SECRET};

/// Where signed webhooks go.
const CALL_ENDED: &str = "/webhooks/goto/call-ended";

/// For requests under way when it stops.
const GRACE: Duration = Duration::from_secs(20);

/// A server that closes with this value.
pub struct FrontDoor {
    url: String,
    client: reqwest::Client,
    db: PgPool,
    /// Goes with the server.
    database: Option<Database>,
    stop: CancellationToken,
    /// Where recordings are.
    store: TempDir,
    server: AbortOnDropHandle<std::io::Result<()>>,
}

impl FrontDoor {
    /// On a database of its own.
    pub async fn open() -> Self {
        Self::open_with(roomy()).await
    }

    /// The same, with these limits.
    pub async fn open_with(limits: Limits) -> Self {
        let database = Database::fresh().await;
        let mut door = Self::build(database.pool().clone(), &[SECRET], limits, Tz::UTC).await;
        door.database = Some(database);
        door
    }

    /// With the days of this time zone.
    pub async fn open_in(zone: Tz) -> Self {
        let database = Database::fresh().await;
        let mut door = Self::build(database.pool().clone(), &[SECRET], roomy(), zone).await;
        door.database = Some(database);
        door
    }

    /// On any database, with any secrets.
    pub async fn on(db: PgPool, secrets: &[&str]) -> Self {
        Self::build(db, secrets, roomy(), Tz::UTC).await
    }

    /// Nothing behind it: for what must not reach the database.
    pub async fn without_database(limits: Limits) -> Self {
        let nowhere = PgPoolOptions::new().connect_lazy("postgres://127.0.0.1:1/none").unwrap();
        Self::build(nowhere, &[SECRET], limits, Tz::UTC).await
    }

    async fn build(db: PgPool, secrets: &[&str], limits: Limits, zone: Tz) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let parts = Parts {
            storage: Arc::new(|| Box::pin(async { Component::ok() })),
            transcription: Component::ok(),
            analysis: Component::ok(),
            slack: Component::because(Status::Off, "SLACK_WEBHOOK_URL is not set."),
            email: Component::ok(),
        };
        let secrets = secrets.iter().map(|secret| (*secret).into()).collect();
        let store = tempfile::tempdir().unwrap();
        let recordings = RecordingsConfig {
            store: Url::from_directory_path(store.path()).unwrap(),
            allowed_hosts: Vec::new(),
            allow_private: false,
            max_bytes: 1 << 20,
            api_key: None,
        };
        let calls = Means {
            waker: Waker::default(),
            telling: Telling {
                destinations: vec![("slack".to_owned(), "#calls".to_owned())],
                no_recording: false,
                on_unknown: OnUnknown::Resend,
            },
            recordings: Recordings::new(&recordings, GRACE).unwrap(),
            links: Links::new(SECRET.into()),
            vocabulary: Vocabulary::default(),
        };
        let intake = Intake::new(db.clone(), Waker::default());
        let doors = Doors { db: db.clone(), intake, secrets, parts, limits: limits.clone(), calls, days: Days(zone) };
        let stop = CancellationToken::new();
        let server = http::serve(listener, http::routes(doors), limits, stop.clone(), GRACE);
        let server = AbortOnDropHandle::new(tokio::spawn(server));
        let client = http_client::client().unwrap();
        Self { url, client, db, database: None, stop, server, store }
    }

    /// Asks the server to stop, as SIGTERM does.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until it has stopped.
    pub async fn stopped(self) {
        self.server.await.unwrap().unwrap();
    }

    pub fn socket(&self) -> SocketAddr {
        self.address().parse().unwrap()
    }

    pub fn pool(&self) -> &PgPool {
        self.database.as_ref().map_or(&self.db, Database::pool)
    }

    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// A webhook without a signature.
    pub fn post(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.client.post(format!("{}{CALL_ENDED}", self.url)).body(body)
    }

    /// A webhook as it should be.
    pub async fn send(&self, body: &[u8]) -> (u16, Value) {
        answer(self.post(body.to_vec()).header("X-GoTo-Signature", sign(body, SECRET))).await
    }

    /// Makes an API key with the given scopes.
    pub async fn key(&self, scopes: &[&str]) -> ApiKey {
        self.bound_key(scopes, &CallBounds::default()).await
    }

    /// Makes an API key that opens only calls within these bounds.
    pub async fn bound_key(&self, scopes: &[&str], bounds: &CallBounds) -> ApiKey {
        let key = ApiKey::generate();
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let (name, prefix, hash) = ("test", key.prefix(), &key.hash());
        let row = NewKey { name, prefix, hash, scopes: &scopes, bounds, expires_at: None };
        let mut connection = self.db.acquire().await.unwrap();
        store::keys::insert(&mut connection, &row).await.unwrap();
        key
    }

    /// Asks the API as the holder of a key.
    pub async fn ask(&self, key: &ApiKey, path: &str) -> (u16, Value) {
        answer(self.get(path).bearer_auth(key.expose())).await
    }

    /// Where recordings are.
    pub fn store(&self) -> &std::path::Path {
        self.store.path()
    }

    /// All items of a list, page by page.
    pub async fn all(&self, key: &ApiKey, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let (status, page) = self.ask(key, &format!("{path}{joint}limit=50{cursor}")).await;
            assert_eq!(status, 200, "{path}: {page}");
            items.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next_cursor"].as_str() else { return items };
            cursor = format!("&cursor={next}");
        }
    }

    pub async fn count(&self, question: &'static str) -> i64 {
        sqlx::query_scalar(question).fetch_one(&self.db).await.unwrap()
    }
}

/// All clients of the tests have one address, and are in a hurry.
fn roomy() -> Limits {
    ServerConfig { max_connections_per_address: 1024, api_rate: 1_000_000, ..ServerConfig::default() }.into()
}

/// Status and JSON of an answer.
pub async fn answer(request: RequestBuilder) -> (u16, Value) {
    read(request.send().await.unwrap()).await
}

pub async fn read(response: Response) -> (u16, Value) {
    assert!(response.headers().contains_key("x-request-id"), "every answer has its request's id");
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let body: Value = response.json().await.unwrap();
    assert_eq!(kind == "application/problem+json", body.get("code").is_some(), "{body}");
    (status, body)
}

/// The signature of a body.
pub fn sign(body: &[u8], secret: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(body);
    mac.finalize().into_bytes().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// The body of a fixture.
pub fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/fixtures/webhooks/{name}.json", env!("CARGO_MANIFEST_DIR"))).unwrap()
}
