//! What all scenarios share: a PostgreSQL server with its default durability, a seed, and a folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use goto_automation::dev::postgres::Postgres;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// A server, and what was asked for.
pub struct Ground {
    pub seed: u64,
    pub short: bool,
    pub postgres: Postgres,
    folder: PathBuf,
}

impl Ground {
    pub async fn prepare(seed: u64, short: bool) -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("torture");
        fs::create_dir_all(&folder).with_context(|| format!("no folder {}", folder.display()))?;
        let data = folder.join("data");
        Postgres::remove(&data).await?;
        let postgres = Postgres::start(&data).await?;
        Ok(Self { seed, short, postgres, folder })
    }

    pub fn form(&self) -> &'static str {
        if self.short { "short" } else { "long" }
    }

    /// One number instead of another in the short form.
    pub fn either<T>(&self, long: T, short: T) -> T {
        if self.short { short } else { long }
    }

    /// A seed of a scenario's own.
    pub fn seed_of(&self, scenario: &str) -> u64 {
        scenario.bytes().fold(self.seed, |seed, byte| seed.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte))
    }

    /// An empty folder for a scenario.
    pub fn folder(&self, scenario: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(scenario.to_ascii_lowercase());
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// An empty database for a scenario; gives back its address.
    pub async fn database(&self, scenario: &str) -> anyhow::Result<String> {
        let name = scenario.to_ascii_lowercase();
        self.execute(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        self.execute(format!("CREATE DATABASE {name}")).await?;
        Ok(self.postgres.url_of(&name))
    }

    pub async fn drop_database(&self, scenario: &str) -> anyhow::Result<()> {
        self.execute(format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", scenario.to_ascii_lowercase())).await
    }

    /// What the figures were made on.
    pub async fn machine(&self) -> anyhow::Result<String> {
        let mut connection = PgConnection::connect(&self.postgres.url()).await?;
        let version: String = sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await?;
        connection.close().await?;
        let cores = std::thread::available_parallelism()?;
        let version = version.split(' ').next().unwrap_or_default();
        let assertions = if cfg!(debug_assertions) { "with" } else { "without" };
        Ok(format!("{cores} cores, PostgreSQL {version}, {assertions} debug assertions"))
    }

    /// Removes the server.
    pub async fn clear(self) -> anyhow::Result<()> {
        self.postgres.stop().await;
        Postgres::remove(&self.folder.join("data")).await
    }

    async fn execute(&self, statement: String) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&self.postgres.url()).await?;
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }
}
