//! What the commands that look into the database share: settings, connections, screen.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use secrecy::ExposeSecret;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::{Failure, Terminal};
use crate::cli::render::Screen;
use crate::config::Config;
use crate::dev::running::RunningDev;
use crate::model::clock;

/// A person waits for the answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// Connects to `DATABASE_URL`; without one to the database of the `dev` that runs in `data_dir`, and says so.
    pub async fn open(terminal: &Terminal, data_dir: &Path) -> Result<Self, Failure> {
        let config = Config::from_environment()?;
        let url = match &config.database {
            Some(database) => database.url.expose_secret().to_owned(),
            None => database_of_dev(data_dir)?,
        };
        let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(CONNECT_TIMEOUT);
        let db = pool.connect(&url).await?;
        let (columns, no_color) = (terminal.columns.as_deref(), terminal.no_color.as_deref());
        Ok(Self { db, screen: Screen::of_terminal(columns, no_color, clock::now(), config.app.time_zone) })
    }
}

fn database_of_dev(data_dir: &Path) -> Result<String, Failure> {
    match RunningDev::find(data_dir) {
        Ok(dev) => {
            eprintln!("DATABASE_URL is not set: using the running `dev` of {}.", data_dir.display());
            Ok(dev.database_url)
        }
        Err(absent) => Err(Failure::usage(format!("DATABASE_URL is not set, and {absent}, or set DATABASE_URL."))),
    }
}
