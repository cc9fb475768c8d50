//! A PostgreSQL of the bench's own, with the durability that PostgreSQL has by default, and what pgbench reaches on it.

use std::process::Stdio;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, ensure};
use goto_automation::dev::postgres::Postgres;
use goto_automation::store;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tokio::process::Command;

/// The database that all others are copies of.
const TEMPLATE: &str = "goto_automation";
const CAL_CLIENTS: &str = "10";
const CAL_SECONDS: &str = "3";

pub(crate) struct Server {
    postgres: Postgres,
    folder: tempfile::TempDir,
    made: AtomicU32,
}

impl Server {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let postgres = Postgres::start(folder.path()).await?;
        let pool = PgPool::connect(&postgres.url()).await?;
        store::migrations::apply(&pool).await?;
        pool.close().await;
        let server = Self { postgres, folder, made: AtomicU32::new(0) };
        server.execute("CREATE DATABASE cal").await?;
        let mut cal = PgConnectOptions::from_str(&server.postgres.url_of("cal"))?.connect().await?;
        sqlx::raw_sql("CREATE TABLE inserts (id bigserial PRIMARY KEY, value int)").execute(&mut cal).await?;
        for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
            let value: String =
                sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(&mut cal).await?;
            ensure!(value == "on", "{setting} is {value}: such figures would mean nothing");
        }
        cal.close().await?;
        Ok(server)
    }

    /// The same with memory for a large database, as PostgreSQL's manual advises for every server (its default of 128 MB is
    /// for the smallest machines).
    pub(crate) async fn with_memory(self) -> anyhow::Result<Self> {
        self.execute("ALTER SYSTEM SET shared_buffers = '1GB'").await?;
        self.postgres.stop_server().await;
        self.postgres.start_server().await?;
        Ok(self)
    }

    /// A migrated, empty database.
    pub(crate) async fn database(&self) -> anyhow::Result<Database> {
        self.copy_of(TEMPLATE).await
    }

    /// A copy of a database to which nobody is connected.
    pub(crate) async fn copy_of(&self, template: &str) -> anyhow::Result<Database> {
        let name = format!("bench_{}", self.made.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await?;
        let url = self.postgres.url_of(&name);
        let pool = PgPoolOptions::new().max_connections(10).connect(&url).await?;
        // What making the copy left for the disk to do is no part of the measure.
        sqlx::query("CHECKPOINT").execute(&pool).await?;
        Ok(Database { name, url, pool })
    }

    pub(crate) async fn drop(&self, database: Database) -> anyhow::Result<()> {
        database.pool.close().await;
        self.execute(&format!("DROP DATABASE {} WITH (FORCE)", database.name)).await
    }

    /// Single-row inserts per second by ten clients of pgbench.
    pub(crate) async fn inserts_per_second(&self) -> anyhow::Result<f64> {
        let script = self.folder.path().join("insert.sql");
        std::fs::write(&script, "INSERT INTO inserts (value) VALUES (1);\n")?;
        let output = Command::new("pgbench")
            .args(["-n", "-M", "prepared", "-c", CAL_CLIENTS, "-j", "2", "-T", CAL_SECONDS, "-f"])
            .arg(&script)
            .arg(self.postgres.url_of("cal"))
            .stderr(Stdio::piped())
            .output()
            .await
            .context("pgbench could not be started; it comes with PostgreSQL's server programs")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        rate.with_context(|| format!("pgbench said: {text}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The address of a database.
    pub(crate) fn url_of(&self, database: &str) -> String {
        self.postgres.url_of(database)
    }

    pub(crate) async fn version(&self) -> anyhow::Result<String> {
        let mut connection = PgConnectOptions::from_str(&self.postgres.url())?.connect().await?;
        Ok(sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await?)
    }

    pub(crate) async fn stop(self) {
        self.postgres.stop().await;
        Postgres::remove(self.folder.path()).await.ok();
    }

    async fn execute(&self, statement: &str) -> anyhow::Result<()> {
        let mut connection = PgConnectOptions::from_str(&self.postgres.url_of("postgres"))?.connect().await?;
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }
}

/// One run's database.
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) pool: PgPool,
}

impl Database {
    /// How many jobs are not finished yet.
    pub(crate) async fn open_jobs(&self) -> anyhow::Result<i64> {
        let open = "SELECT count(*) FROM jobs WHERE state IN ('available', 'running')";
        Ok(sqlx::query_scalar(open).fetch_one(&self.pool).await?)
    }
}
