//! What the commands that look into the database share: settings, connections, screen.

use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::SecretString;
use sqlx::PgPool;

use super::{Failure, Terminal};
use crate::app::Database;
use crate::cli::render::Screen;
use crate::cli::render::words::capitalised;
use crate::config::{Config, DatabaseConfig};
use crate::dev::running::{NotRunning, RunningDev};
use crate::model::{Actor, clock, shell};

/// The data folder of `make dev`.
const USUAL: &str = ".dev";

/// Where a running `dev` is looked for.
#[derive(Args)]
pub struct DataDir {
    /// Data folder of a running `dev`, used when nothing else is set.
    #[arg(long, global = true, value_name = "DIR", default_value = USUAL)]
    pub data_dir: PathBuf,
}

impl DataDir {
    /// What commands that are to be typed next need besides: the folder, if it is not the usual one.
    pub fn flags(&self) -> String {
        if self.data_dir == Path::new(USUAL) {
            String::new()
        } else {
            format!(" --data-dir {}", shell::quoted(&self.data_dir.display().to_string()))
        }
    }
}

/// A connected command.
pub struct Session {
    /// The database.
    pub db: PgPool,
    /// The reader's screen.
    pub screen: Screen,
    /// Who types, for the audit log: the user of the operating system and the machine.
    pub actor: Actor,
}

impl Session {
    /// The database of `DATABASE_URL`, connected on first use; without one that of the `dev` that runs in `data_dir`,
    /// which it says.
    pub async fn open(terminal: &Terminal, data: &DataDir) -> Result<Self, Failure> {
        let config = Config::from_environment()?;
        let (db, flags) = match config.database {
            Some(database) => (Database::new(&database)?.pool, String::new()),
            None => (database_of_dev(&data.data_dir).await?, data.flags()),
        };
        let (columns, no_color) = (terminal.columns.as_deref(), terminal.no_color.as_deref());
        let screen = Screen::of_terminal(columns, no_color, clock::now(), config.app.time_zone);
        Ok(Self { db, screen: Screen { flags, ..screen }, actor: actor() })
    }
}

fn actor() -> Actor {
    let id = nix::unistd::Uid::current();
    let known = nix::unistd::User::from_uid(id).ok().flatten().map(|user| user.name);
    let user = known.unwrap_or_else(|| format!("user {id}"));
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    Actor::at_terminal(host.map_or(user.clone(), |host| format!("{user}@{host}")))
}

async fn database_of_dev(data_dir: &Path) -> Result<PgPool, Failure> {
    let dev = RunningDev::find(data_dir).map_err(|absent| match absent {
        NotRunning::Gone(_) => Failure::failed(format!("{}, or set DATABASE_URL.", capitalised(&absent.to_string()))),
        _ => Failure::usage(format!("DATABASE_URL is not set, and {absent}, or set DATABASE_URL.")),
    })?;
    let folder = data_dir.display();
    eprintln!("DATABASE_URL is not set: using the running `dev` of {folder}.");
    let url = SecretString::from(dev.database_url);
    let db = Database::new(&DatabaseConfig { listen_url: url.clone(), url })?.pool;
    // Its process may be another one that has its number by now; its database tells.
    db.acquire().await.map_err(|_| {
        Failure::failed(format!(
            "The database of the `goto-automation dev` of {folder} does not answer: that `dev` was killed, or is just \
             starting or stopping. Start it again with `make dev`, or set DATABASE_URL."
        ))
    })?;
    Ok(db)
}
