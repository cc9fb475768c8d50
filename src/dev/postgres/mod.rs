//! A private PostgreSQL cluster, made from the installed server programs.
//!
//! It listens on a Unix socket in a folder that nobody else may enter, and on nothing else. It ends with the process
//! that started it, however that process ends (`server.rs` says how). As root it runs as an unprivileged user,
//! because PostgreSQL refuses to run as root.

mod folders;
mod leftover;
mod programs;
mod server;

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use folders::Folders;
use programs::Programs;
use server::{Server, Stop};

/// The database that [`Postgres::url`] names.
const DATABASE: &str = "goto_automation";

/// The superuser of the cluster, trusted because only its owner and root can reach the socket.
const SUPERUSER: &str = "postgres";

/// Long enough for a slow disk that replays the log of a killed server.
const START_TIMEOUT: Duration = Duration::from_mins(2);

/// Backends of a killed server hold its shared memory for a moment, and PostgreSQL refuses to start meanwhile.
const START_ATTEMPTS: u32 = 5;

/// How often a server that is starting, or that should be running, is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Settings of every cluster. The log names no statements and no row values: they hold what people said.
const SETTINGS: &[&str] = &[
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "timezone=UTC",
    "log_timezone=UTC",
    "log_min_error_statement=panic",
    "log_error_verbosity=terse",
    "logging_collector=off",
];

/// A cluster for tests may lose its data with the machine, and many tests share it. Commits still wait for the log
/// to be written, so that what was acknowledged survives a crash of the server.
const TEST_SETTINGS: &[&str] = &["fsync=off", "full_page_writes=off", "shared_buffers=64MB", "max_connections=200"];

/// A running cluster. Dropping it stops the server at once, as a crash would; [`Postgres::stop`] does it in order.
///
/// The fields are dropped in this order: the server goes first, and the lock when nothing is left to protect.
pub struct Postgres {
    server: Mutex<Option<Server>>,
    programs: Programs,
    folders: Folders,
    /// Held for as long as this process uses the cluster; the kernel lets go of it when the process dies.
    _lock: File,
}

impl Postgres {
    /// Starts the cluster of a data folder, and makes it on first use.
    ///
    /// # Errors
    /// A sentence for the operator: no server programs, a cluster of another major version, a data folder in use by
    /// another process, a server that does not start (with the last lines of its log).
    pub async fn start(data_dir: &Path) -> anyhow::Result<Self> {
        Self::open(Folders::of(data_dir)?).await
    }

    /// Starts a cluster of its own that is removed when it stops: quick, and not safe against losing power.
    pub async fn for_tests() -> anyhow::Result<Self> {
        Self::open(Folders::temporary()?).await
    }

    /// Removes the cluster of a data folder, for `--reset`. Does nothing when there is none.
    ///
    /// # Errors
    /// When another process uses the cluster.
    pub async fn remove(data_dir: &Path) -> anyhow::Result<()> {
        let folders = Folders::of(data_dir)?;
        let _lock = folders.lock().await?;
        leftover::stop(&folders.data).await?;
        folders.remove_cluster()
    }

    /// The address of the database `goto_automation`, as `DATABASE_URL` takes it. The same for as long as this value
    /// lives, and another after the next [`Postgres::start`].
    pub fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    /// The address of another database of this cluster.
    pub fn url_of(&self, database: &str) -> String {
        let socket = self.folders.socket.to_string_lossy().replace('/', "%2F");
        format!("postgres://{SUPERUSER}@{socket}:5432/{database}")
    }

    /// The folder of the cluster, with `PG_VERSION` and `postmaster.pid`.
    pub fn data(&self) -> &Path {
        &self.folders.data
    }

    /// Ends all connections, writes a checkpoint and stops the server.
    pub async fn stop(self) {
        self.stop_server().await;
    }

    /// Stops the server and keeps everything for [`Postgres::start_server`]; clients find nobody there meanwhile.
    pub async fn stop_server(&self) {
        if let Some(server) = self.server.lock().await.take() {
            server.stop(Stop::Fast).await;
        }
    }

    /// Starts the server again on the same data and the same address. Does nothing while it runs.
    pub async fn start_server(&self) -> anyhow::Result<()> {
        let mut server = self.server.lock().await;
        if server.as_mut().is_none_or(Server::has_ended) {
            *server = None;
            *server = Some(self.launch().await?);
        }
        Ok(())
    }

    /// Stops the server as a crash would, without a checkpoint, and starts it again: it recovers from its log.
    pub async fn restart_immediate(&self) -> anyhow::Result<()> {
        if let Some(server) = self.server.lock().await.take() {
            server.stop(Stop::Immediate).await;
        }
        self.start_server().await
    }

    /// Looks after the server for as long as this is polled: one that ended unasked is started again.
    ///
    /// # Errors
    /// When it does not start again.
    pub async fn keep_running(&self) -> anyhow::Result<()> {
        loop {
            sleep(POLL * 4).await;
            let ended = self.server.lock().await.as_mut().is_some_and(Server::has_ended);
            if ended {
                tracing::warn!("the embedded PostgreSQL ended by itself; starting it again");
                self.start_server().await?;
            }
        }
    }

    async fn open(folders: Folders) -> anyhow::Result<Self> {
        let lock = folders.lock().await?;
        let programs = Programs::find(folders.major_version()?)?;
        leftover::stop(&folders.data).await?;
        if !folders.data.exists() {
            initialise(&programs, &folders).await?;
        }
        let postgres = Self { server: Mutex::new(None), programs, folders, _lock: lock };
        postgres.start_server().await?;
        postgres.create_database().await?;
        Ok(postgres)
    }

    async fn launch(&self) -> anyhow::Result<Server> {
        for _ in 1..START_ATTEMPTS {
            if let Some(server) = self.try_launch().await? {
                return Ok(server);
            }
            sleep(POLL * 6).await;
        }
        match self.try_launch().await? {
            Some(server) => Ok(server),
            None => bail!(
                "PostgreSQL did not start on {}. The last lines of its log {}:\n{}",
                self.folders.data.display(),
                self.folders.log.display(),
                self.folders.last_log_lines()
            ),
        }
    }

    /// `None` when the server ended instead of accepting connections.
    async fn try_launch(&self) -> anyhow::Result<Option<Server>> {
        let own = if self.folders.temporary { TEST_SETTINGS } else { &[] };
        let mut server = Server::spawn(&self.programs, &self.folders, &[SETTINGS, own].concat())?;
        let deadline = Instant::now() + START_TIMEOUT;
        while !server.has_ended() {
            if let Ok(connection) = self.connect().await {
                connection.close().await.ok();
                return Ok(Some(server));
            }
            if Instant::now() > deadline {
                bail!(
                    "PostgreSQL accepted no connection within {START_TIMEOUT:?}. The last lines of its log {}:\n{}",
                    self.folders.log.display(),
                    self.folders.last_log_lines()
                );
            }
            sleep(POLL).await;
        }
        Ok(None)
    }

    async fn connect(&self) -> sqlx::Result<PgConnection> {
        let options: PgConnectOptions = self.url_of("postgres").parse()?;
        PgConnection::connect_with(&options).await
    }

    async fn create_database(&self) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(DATABASE)
            .fetch_one(&mut connection)
            .await?;
        if !known {
            sqlx::raw_sql("CREATE DATABASE goto_automation").execute(&mut connection).await?;
        }
        Ok(connection.close().await?)
    }
}

/// Makes the cluster beside its place and moves it there when it is whole, so that a killed run leaves none half made.
async fn initialise(programs: &Programs, folders: &Folders) -> anyhow::Result<()> {
    let partial = folders.fresh_partial()?;
    let mut said = String::new();
    // `C.UTF-8` sorts by code point and knows the letters of all languages; where the system has no such locale
    // (macOS), `C` sorts in the same way and knows the ASCII letters.
    for locale in ["C.UTF-8", "C"] {
        let mut command = tokio::process::Command::from(folders.command(&programs.path("initdb")));
        command.arg("--pgdata").arg(&partial).args(["--username", SUPERUSER, "--auth", "trust"]);
        command.args(["--encoding", "UTF8", "--locale", locale, "--no-instructions"]);
        if folders.temporary {
            command.arg("--no-sync");
        }
        let output = command.kill_on_drop(true).output().await.context("initdb could not be run")?;
        if output.status.success() {
            return fs::rename(&partial, &folders.data)
                .with_context(|| format!("the new cluster could not be moved to {}", folders.data.display()));
        }
        said = String::from_utf8_lossy(&output.stderr).into_owned();
    }
    bail!("initdb could not make a PostgreSQL cluster in {}:\n{said}", partial.display())
}
