//! A database of its own for every test.
//!
//! All tests of a process share one cluster, which is made on first use and goes with the process. With
//! `DATABASE_URL` set they use that server instead, and so do the processes of `cargo nextest`:
//! `scripts/with-postgres.sh cargo nextest run`. The migrations are applied once, to a template, and every test gets
//! a copy of it.

use std::str::FromStr as _;
use std::time::Duration;

use goto_automation::dev::postgres::Postgres;
use sha2::{Digest as _, Sha256};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::OnceCell;
use url::Url;
use uuid::Uuid;

/// One test's connections; the cluster has 200 for all tests that run at the same time.
const POOL_SIZE: u32 = 10;

/// Makes one process at a time build the template. The number means nothing.
const TEMPLATE_LOCK: i64 = 6_871_209_447;

/// A migrated, empty database. Dropped with this value, whoever is still connected.
pub struct Database {
    name: String,
    url: Url,
    pool: PgPool,
}

impl Database {
    /// A new copy of the template.
    pub async fn fresh() -> Self {
        let server = Server::shared().await;
        let name = format!("t_{}", Uuid::now_v7().simple());
        let mut connection = server.connect().await;
        execute(&mut connection, format!("CREATE DATABASE {name} TEMPLATE {}", server.template)).await;
        connection.close().await.expect("the connection closes");
        let url = server.url_of(&name);
        let options = PgPoolOptions::new().max_connections(POOL_SIZE).acquire_timeout(Duration::from_secs(30));
        let pool = options.connect_lazy(url.as_str()).expect("the address is one of PostgreSQL");
        Self { name, url, pool }
    }

    /// As `DATABASE_URL` takes it, for processes that a test starts.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Connections for the test itself.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A thread with a runtime of its own, because the test's is busy with this drop.
        let name = self.name.clone();
        std::thread::spawn(move || on_a_runtime_of_its_own(drop_database(name))).join().ok();
    }
}

/// The server that all tests of this process use.
struct Server {
    /// Any database of the server that is not a test's.
    url: Url,
    template: String,
    /// Never dropped, as all statics: its watcher ends the cluster when the process ends.
    _cluster: Option<Postgres>,
}

impl Server {
    async fn shared() -> &'static Self {
        static SERVER: OnceCell<Server> = OnceCell::const_new();
        SERVER.get_or_init(Self::start).await
    }

    async fn start() -> Self {
        let (url, cluster) = if let Some(url) = given_url() {
            (url, None)
        } else {
            let cluster = Postgres::for_tests().await.expect("a cluster for the tests");
            (cluster.url(), Some(cluster))
        };
        let url = Url::parse(&url).expect("the address of the server");
        let migrator = migrator().await;
        let server = Self { url, template: template_name(&migrator), _cluster: cluster };
        server.make_template(&migrator).await;
        server
    }

    /// Applies the migrations to the template, unless an earlier process did so on the same server.
    async fn make_template(&self, migrator: &Migrator) {
        let mut connection = self.connect().await;
        sqlx::query("SELECT pg_advisory_lock($1)").bind(TEMPLATE_LOCK).execute(&mut connection).await.expect("a lock");
        let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(&self.template)
            .fetch_one(&mut connection)
            .await
            .expect("the list of databases");
        if !known {
            // Named when it is whole: a killed process leaves no half made template behind.
            let draft = format!("{}_draft", self.template);
            execute(&mut connection, format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)")).await;
            execute(&mut connection, format!("CREATE DATABASE {draft}")).await;
            let mut database = connect(&self.url_of(&draft)).await;
            migrator.run(&mut database).await.expect("the migrations apply to an empty database");
            database.close().await.expect("the connection closes");
            execute(&mut connection, format!("ALTER DATABASE {draft} RENAME TO {}", self.template)).await;
        }
        connection.close().await.expect("the connection closes");
    }

    async fn connect(&self) -> PgConnection {
        connect(&self.url).await
    }

    fn url_of(&self, database: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(database);
        url
    }
}

#[expect(clippy::disallowed_methods, reason = "tests have no settings")]
fn given_url() -> Option<String> {
    std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty())
}

async fn migrator() -> Migrator {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    Migrator::new(folder).await.expect("the migrations can be read")
}

/// Other migrations have another template, so that a server that stays is never used with an old one.
fn template_name(migrator: &Migrator) -> String {
    let mut hash = Sha256::new();
    for migration in migrator.iter() {
        hash.update(&*migration.checksum);
    }
    let head = hash.finalize().first_chunk().map_or(0, |head| u64::from_be_bytes(*head));
    format!("gta_template_{head:016x}")
}

async fn connect(url: &Url) -> PgConnection {
    let options = PgConnectOptions::from_str(url.as_str()).expect("the address of the server");
    options.connect().await.expect("the server accepts connections")
}

async fn execute(connection: &mut PgConnection, statement: String) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.expect("the statement is carried out");
}

/// Best effort: a test that stopped the server fails for its own reasons.
async fn drop_database(name: String) {
    let server = Server::shared().await;
    if let Ok(mut connection) = PgConnection::connect(server.url.as_str()).await {
        let statement = AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        sqlx::raw_sql(statement).execute(&mut connection).await.ok();
        connection.close().await.ok();
    }
}

fn on_a_runtime_of_its_own(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work);
}
