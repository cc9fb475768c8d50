//! The server process, and the watcher that sees to it that it never outlives us.
//!
//! Between us and the server stands a small shell script. It reads signals to pass on from a pipe that we hold. When
//! the pipe closes, because the server was dropped or because our process ended in whatever way (`kill -9` included),
//! it stops the server at once and removes the socket folder. (`PR_SET_PDEATHSIG` would not do: it fires when the
//! thread that started the child ends, and threads of the runtime come and go.)

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::folders::Folders;
use super::programs::Programs;

/// `$1` is the folder to remove, the rest is the server's command line.
///
/// The reader ends with a server that ended by itself: nobody may signal a process id that is free again. Once the
/// pipe is closed, it sees its work through (`trap`), and the script waits for it.
const WATCHER: &str = r#"
folder=$1
shift
exec 3<&0
"$@" 3<&- </dev/null &
server=$!
{
    while read -r signal; do kill -s "$signal" "$server"; done
    trap '' TERM
    kill -s QUIT "$server"
    tries=0
    while kill -0 "$server" && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
    rm -rf -- "$folder"
} <&3 2>/dev/null &
reader=$!
wait "$server"
code=$?
kill "$reader" 2>/dev/null
wait "$reader"
exit "$code"
"#;

const FAST_WITHIN: Duration = Duration::from_secs(15);
const IMMEDIATE_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// The ways to stop a server (PostgreSQL documentation, "Shutting Down the Server").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Ends all sessions and writes a checkpoint.
    Fast,
    /// Ends at once; the next start recovers from the log.
    Immediate,
}

/// A server that was started, running or not. Dropping it stops it at once and removes the socket folder.
#[derive(Debug)]
pub(super) struct Server {
    watcher: Child,
    signals: Option<ChildStdin>,
}

impl Server {
    /// Starts the server without waiting until it accepts connections.
    pub(super) fn spawn(programs: &Programs, folders: &Folders, settings: &[&str]) -> anyhow::Result<Self> {
        let log = folders.fresh_log()?;
        let mut command = folders.command(Path::new("/bin/sh"));
        command.args(["-c", WATCHER, "postgres-watcher"]).arg(&folders.socket);
        command.arg(programs.path("postgres")).arg("-D").arg(&folders.data).arg("-k").arg(&folders.socket);
        command.args(["-p", "5432"]);
        command.args(settings.iter().flat_map(|setting| ["-c", *setting]));
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        // A group of its own: Ctrl-C in the terminal is for us, and the server goes when we have finished.
        let mut watcher = command.process_group(0).spawn().context("the PostgreSQL server could not be started")?;
        let signals = watcher.stdin.take();
        Ok(Self { watcher, signals })
    }

    /// Whether the server is no longer there.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.watcher.try_wait(), Ok(None))
    }

    /// Stops the server and leaves the socket folder for the next one.
    pub(super) async fn stop(mut self, how: Stop) {
        let ended = how == Stop::Fast && self.signal_and_wait("INT", FAST_WITHIN).await;
        if !ended {
            self.signal_and_wait("QUIT", IMMEDIATE_WITHIN).await;
        }
    }

    async fn signal_and_wait(&mut self, signal: &str, within: Duration) -> bool {
        if let Some(signals) = &mut self.signals {
            // Fails when the watcher has gone, and then there is nothing to stop.
            writeln!(signals, "{signal}").ok();
        }
        let deadline = Instant::now() + within;
        while !self.has_ended() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        self.has_ended()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signals = None;
        let deadline = Instant::now() + IMMEDIATE_WITHIN;
        while !self.has_ended() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
    }
}
