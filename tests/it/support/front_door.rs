//! The front door: the real HTTP server on a loopback port, and a client in front of it.

use std::sync::Arc;
use std::time::Duration;

use goto_automation::http::health::{Component, Parts, Status};
use goto_automation::http::{self, Doors};
use goto_automation::model::ApiKey;
use goto_automation::pipeline::intake::Intake;
use goto_automation::providers::http_client;
use goto_automation::queue::Waker;
use goto_automation::store;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use sha2::Sha256;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Database, product::SECRET};

/// Where signed webhooks go.
const CALL_ENDED: &str = "/webhooks/goto/call-ended";

/// A server that closes with this value.
pub struct FrontDoor {
    url: String,
    client: reqwest::Client,
    db: PgPool,
    /// Goes with the server.
    database: Option<Database>,
    _stop: DropGuard,
}

impl FrontDoor {
    /// On a database of its own.
    pub async fn open() -> Self {
        let database = Database::fresh().await;
        let mut door = Self::on(database.pool().clone(), &[SECRET]).await;
        door.database = Some(database);
        door
    }

    /// On any database, with any secrets.
    pub async fn on(db: PgPool, secrets: &[&str]) -> Self {
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
        let routes =
            http::routes(Doors { db: db.clone(), intake: Intake::new(db.clone(), Waker::default()), secrets, parts });
        let stop = CancellationToken::new();
        tokio::spawn(http::serve(listener, routes, stop.clone(), Duration::from_secs(1)));
        let client = http_client::client().unwrap();
        Self { url, client, db, database: None, _stop: stop.drop_guard() }
    }

    pub fn pool(&self) -> &PgPool {
        self.database.as_ref().map_or(&self.db, Database::pool)
    }

    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
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
        let key = ApiKey::generate();
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        store::keys::insert(&self.db, "test", key.prefix(), &key.hash(), &scopes, None).await.unwrap();
        key
    }

    /// Asks the API as the holder of a key.
    pub async fn ask(&self, key: &ApiKey, path: &str) -> (u16, Value) {
        answer(self.get(path).bearer_auth(key.expose())).await
    }

    pub async fn count(&self, question: &'static str) -> i64 {
        sqlx::query_scalar(question).fetch_one(&self.db).await.unwrap()
    }
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
