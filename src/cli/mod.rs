//! One file per command. Answers go to standard output, everything else to standard error.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | failed, refused or not found |
//! | 2 | wrong settings or wrong usage |

mod calls;
pub mod dev;
mod failure;
mod jobs;
mod keys;
pub mod migrate;
mod parse;
mod render;
pub mod serve;
mod session;
mod simulate;
pub mod worker;

use clap::{Args, Parser, Subcommand};

pub use failure::Failure;

const EXAMPLES: &str = "\
Examples:
  goto-automation dev                     all in one process, no accounts needed
  goto-automation simulate --count 5      send it five calls
  goto-automation calls list              what became of them
  goto-automation jobs list --state failed
                                          what needs a person

Settings come from the environment and from .env; see .env.example.
Exit codes: 0 done, 1 failed or not found, 2 wrong settings or usage.";

/// Turns finished GoTo Connect calls into transcripts, summaries and messages.
#[derive(Parser)]
#[command(name = "goto-automation", version, after_help = EXAMPLES, max_term_width = 80)]
#[command(arg_required_else_help = true, disable_help_subcommand = true, infer_long_args = false)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    terminal: Terminal,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything in one process, with stand-ins for what is not set.
    Dev(dev::DevArgs),
    /// Serve webhooks and the API.
    Serve(serve::ServeArgs),
    /// Work on jobs.
    Worker(worker::WorkerArgs),
    /// Bring the database up to date and exit.
    Migrate(migrate::MigrateArgs),
    /// Look at calls and run them again.
    Calls(calls::CallsArgs),
    /// Look at jobs, run them again, cancel them, pause steps.
    Jobs(jobs::JobsArgs),
    /// Make and revoke API keys.
    Keys(keys::KeysArgs),
    /// Send signed call webhooks to a running server.
    Simulate(simulate::SimulateArgs),
}

/// What a terminal tells in variables of its own; these are no settings of the product.
#[derive(Args)]
pub struct Terminal {
    /// Width of the screen.
    #[arg(long, global = true, env = "COLUMNS", hide = true, value_name = "N")]
    pub columns: Option<String>,
    /// No colours, whatever the value.
    #[arg(long, global = true, env = "NO_COLOR", hide = true, value_name = "ANY")]
    pub no_color: Option<String>,
}

/// Does what was asked. What went wrong has been said on standard error when it returns; the answer is the exit code.
pub async fn run(cli: Cli) -> u8 {
    match Box::pin(dispatch(cli)).await {
        Ok(()) => 0,
        Err(failure) => {
            failure.tell();
            failure.exit_code()
        }
    }
}

async fn dispatch(cli: Cli) -> Result<(), Failure> {
    let terminal = &cli.terminal;
    match cli.command {
        Command::Calls(args) => calls::run(args, terminal).await,
        Command::Jobs(args) => jobs::run(args, terminal).await,
        Command::Keys(args) => keys::run(args, terminal).await,
        Command::Simulate(args) => simulate::run(args).await,
        Command::Dev(args) => Box::pin(dev::run(args)).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Worker(args) => worker::run(args).await,
        Command::Migrate(args) => migrate::run(args).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_fits_80_columns() {
        fn all(command: &mut clap::Command, texts: &mut Vec<String>) {
            texts.push(command.render_help().to_string());
            texts.push(command.render_long_help().to_string());
            command.get_subcommands_mut().for_each(|sub| all(sub, texts));
        }
        let mut command = Cli::command();
        command.build();
        let mut texts = Vec::new();
        all(&mut command, &mut texts);
        for line in texts.iter().flat_map(|text| text.lines()) {
            assert!(render::width_of(line) <= 80, "{line}");
        }
    }

    #[test]
    fn wrong_usage_exits_with_2() {
        for arguments in
            [&["x", "calls", "list", "--state", "lost"][..], &["x", "nothing"], &["x", "jobs", "show", "a"]]
        {
            let error = Cli::try_parse_from(arguments).err().expect("an error");
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
        }
    }
}
