//! `make torture`: proves what the product promises, with a real database, real processes and real faults. What each
//! scenario does, and when it passes, stands in `docs/reliability.md`.
//!
//! | file | what |
//! |---|---|
//! | `scenarios` | THE list of scenarios, one file for each |
//! | `ground` | the PostgreSQL server that all scenarios share |
//! | `stage` | what one scenario plays on: a database behind a gate, stand-ins, `serve` and workers |
//! | `supervisor` | starts processes, kills them, and starts them again |
//! | `traffic` | what is sent when: seeded, with duplicates and bodies out of order |
//! | `sender` | sends it, whatever became of what was sent before, until it is acknowledged |
//! | `strangers` | the others who come to the door |
//! | `book` | which faults were injected when |
//! | `effects` | what the stand-ins have really done, from the file that they sync before they answer |
//! | `checker` | set arithmetic over all of these and the database |
//! | `bad_steps` | a worker with steps that no worker should have |
//! | `report` | one line per scenario |

mod bad_steps;
mod book;
mod checker;
mod effects;
mod ground;
mod report;
mod scenarios;
mod sender;
mod stage;
mod strangers;
mod supervisor;
mod traffic;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use goto_automation::shutdown::Shutdown;
use tokio::runtime::Runtime;

use ground::Ground;
use report::{Report, Tally};
use scenarios::{SCENARIOS, Scenario};

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Proves the promises with real faults.
#[derive(Parser)]
#[command(name = "torture")]
struct Arguments {
    /// The form of at most five minutes.
    #[arg(long)]
    short: bool,
    /// These scenarios only.
    #[arg(long, value_name = "T1,...", value_delimiter = ',')]
    only: Vec<String>,
    /// Decides what is sent and who is hit when.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// List the scenarios.
    #[arg(long)]
    list: bool,
    /// Be a worker with bad steps.
    #[arg(long, hide = true)]
    work: bool,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("The program cannot start its threads: {error}.");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run(&arguments));
    // Not awaited: blocking threads that never end are what some steps are about.
    runtime.shutdown_background();
    code
}

async fn run(arguments: &Arguments) -> ExitCode {
    if arguments.list {
        for Scenario { name, about, .. } in SCENARIOS {
            println!("{name:<4} {about}");
        }
        return ExitCode::SUCCESS;
    }
    let done = if arguments.work { bad_steps::work().await.map(|()| true) } else { torture(arguments).await };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            if error.is::<Interrupted>() { ExitCode::from(INTERRUPTED) } else { ExitCode::FAILURE }
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

/// Whether all has passed.
async fn torture(arguments: &Arguments) -> anyhow::Result<bool> {
    let wanted = wanted(arguments)?;
    let shutdown = Shutdown::on_signals()?;
    let ground = Ground::prepare(arguments.seed, arguments.short).await?;
    println!("torture, {} form, seed {}; {}", ground.form(), ground.seed, ground.machine().await?);
    let mut tally = Tally::default();
    for scenario in wanted {
        let began = Instant::now();
        let played = tokio::select! {
            played = (scenario.run)(&ground) => played,
            () = shutdown.requested() => Err(Interrupted.into()),
        };
        let report = match played {
            Ok(report) => report,
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => Report::broken(&error),
        };
        tally.add(scenario.name, &report, began.elapsed());
    }
    ground.clear().await?;
    println!("{tally}");
    Ok(tally.failed == 0)
}

fn wanted(arguments: &Arguments) -> anyhow::Result<Vec<&'static Scenario>> {
    for name in &arguments.only {
        let known = SCENARIOS.iter().any(|scenario| scenario.name.eq_ignore_ascii_case(name));
        anyhow::ensure!(known, "There is no scenario {name}; --list shows those that there are.");
    }
    let named = |scenario: &&Scenario| arguments.only.iter().any(|name| scenario.name.eq_ignore_ascii_case(name));
    let in_form = |scenario: &&Scenario| scenario.short || !arguments.short;
    let all = SCENARIOS.iter();
    Ok(if arguments.only.is_empty() { all.filter(in_form).collect() } else { all.filter(named).collect() })
}
