//! Parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use goto_automation::cli::{self, Cli};
use mimalloc::MiMalloc;
use nix::sys::stat::{Mode, umask};

/// An answer of the API is thousands of small pieces; the allocator of the C library took a tenth of all time for them.
/// Without huge pages (`no_thp`), which kept 40 MiB more.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // Recordings and what else is written here concern nobody outside of the group of the service.
    umask(Mode::from_bits_truncate(0o027));
    let arguments = match Cli::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help, the version, or what is wrong with the arguments; nobody is left to tell if it cannot be printed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(cli::run(arguments));
            // Not awaited: blocking threads that nobody needs any more, such as a look-up of a name that never ends.
            runtime.shutdown_background();
            ExitCode::from(code)
        }
        Err(error) => {
            eprintln!("The process cannot start its threads: {error}.");
            ExitCode::FAILURE
        }
    }
}
