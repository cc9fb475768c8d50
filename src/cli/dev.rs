//! `dev`: everything in one process.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::config::ConfigErrors;
use crate::dev::process::{self, Options};
use crate::dev::standins::faults::plan::Plan;
use crate::shutdown::Shutdown;

const EXAMPLES: &str = "\
Examples:
  goto-automation dev
  goto-automation dev --port 0            on any free port
  goto-automation dev --reset             forget everything of earlier runs
  goto-automation dev --faults FILE       stand-ins that misbehave (docs/faults.md)

It prints its address, an API key and the commands to try. What Slack and
mail would have received is shown under /dev/outbox. Each stand-in is
replaced by the real thing as soon as its settings are there.";

/// Run everything in one process, with stand-ins for what is not set.
///
/// An embedded PostgreSQL, the server, the workers, and stand-ins for every
/// upstream without settings: no accounts are needed.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct DevArgs {
    /// Port to listen on; 0 takes any free one. `API_PORT` or 8000 unless told.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Folder of the database and the recordings, kept between runs.
    #[arg(long, value_name = "DIR", default_value = ".dev")]
    pub data_dir: PathBuf,
    /// Empty the data folder first.
    #[arg(long)]
    pub reset: bool,
    /// Write addresses and keys to this file (JSON) once everything serves.
    #[arg(long, value_name = "PATH")]
    pub ready_file: Option<PathBuf>,
    /// Let the stand-ins misbehave as this file (TOML) says.
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
}

pub(super) async fn run(args: DevArgs) -> Result<(), Failure> {
    let shutdown = Shutdown::on_signals()?;
    let faults = args.faults.map(|file| Plan::read(&file)).transpose();
    let options = Options {
        port: args.port,
        data_dir: args.data_dir,
        reset: args.reset,
        ready_file: args.ready_file,
        faults: faults.map_err(|error| Failure::usage(format!("{error:#}")))?.unwrap_or_default(),
    };
    Box::pin(process::run(&options, &shutdown)).await.map_err(|error| match error.downcast::<ConfigErrors>() {
        Ok(wrong) => wrong.into(),
        Err(other) => other.into(),
    })
}
