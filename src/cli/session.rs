//! What the commands that look into the database share: settings, connections, screen.

use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::SecretString;
use sqlx::PgPool;

use super::{Failure, Terminal};
use crate::app::Database;
use crate::cli::render::Screen;
use crate::config::{Config, DatabaseConfig};
use crate::dev::running::RunningDev;
use crate::model::clock;

/// Where a running `dev` is looked for.
#[derive(Args)]
pub struct DataDir {
    /// Data folder of a running `dev`, used when nothing else is set.
    #[arg(long, global = true, value_name = "DIR", default_value = ".dev")]
    pub data_dir: PathBuf,
}

/// A connected command.
pub struct Session {
    /// The database.
    pub db: PgPool,
    /// The reader's screen.
    pub screen: Screen,
}

impl Session {
    /// The database of `DATABASE_URL`, connected on first use; without one to the database of the `dev` that runs in `data_dir`, and says so.
    pub fn open(terminal: &Terminal, data_dir: &Path) -> Result<Self, Failure> {
        let config = Config::from_environment()?;
        let database = match config.database {
            Some(database) => database,
            None => database_of_dev(data_dir)?,
        };
        let db = Database::new(&database)?.pool;
        let (columns, no_color) = (terminal.columns.as_deref(), terminal.no_color.as_deref());
        Ok(Self { db, screen: Screen::of_terminal(columns, no_color, clock::now(), config.app.time_zone) })
    }
}

fn database_of_dev(data_dir: &Path) -> Result<DatabaseConfig, Failure> {
    match RunningDev::find(data_dir) {
        Ok(dev) => {
            eprintln!("DATABASE_URL is not set: using the running `dev` of {}.", data_dir.display());
            let url = SecretString::from(dev.database_url);
            Ok(DatabaseConfig { listen_url: url.clone(), url })
        }
        Err(absent) => Err(Failure::usage(format!("DATABASE_URL is not set, and {absent}, or set DATABASE_URL."))),
    }
}
