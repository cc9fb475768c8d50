//! Starts processes, and starts again a second later whatever has ended unasked, as systemd would.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use goto_automation::model::clock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Between the end of a process and the next one in its place.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a process may take to stop when it is asked to.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// What to start.
#[derive(Debug, Clone)]
pub struct Program {
    pub path: PathBuf,
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub settings: Vec<(String, String)>,
    /// A listening socket that stays open while one process follows on another, handed over as `sd_listen_fds(3)` says.
    pub socket: Option<Arc<TcpListener>>,
}

/// All processes of a scenario. They are killed when this is dropped.
#[derive(Debug)]
pub struct Supervisor {
    folder: PathBuf,
    places: Vec<Place>,
}

/// A place that one process after the other fills.
#[derive(Debug)]
pub struct Place {
    pub name: String,
    shared: Arc<Shared>,
    keeper: JoinHandle<()>,
}

/// How a process ended, and when that was seen.
#[derive(Debug, Clone, Copy)]
struct End {
    pid: i32,
    status: ExitStatus,
    at: DateTime<Utc>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Of the process that runs now.
    pid: Mutex<Option<Pid>>,
    ends: Mutex<Vec<End>>,
    /// Who ends was asked to, and is followed at once.
    restart: AtomicBool,
    leave: AtomicBool,
}

impl Supervisor {
    /// Logs go to this folder, a file for each place.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), places: Vec::new() }
    }

    /// Fills a place from now on.
    pub fn start(&mut self, name: &str, program: Program) -> anyhow::Result<()> {
        let log = self.folder.join(format!("{name}.log"));
        let log = OpenOptions::new().create(true).append(true).open(&log).context("no log for a process")?;
        let shared = Arc::<Shared>::default();
        let first = spawn(&program, &log)?;
        shared.enter(&first);
        let keeper = tokio::spawn(keep(first, program, log, shared.clone()));
        self.places.push(Place { name: name.to_owned(), shared, keeper });
        Ok(())
    }

    /// The places whose name begins like this.
    pub fn of(&self, prefix: &str) -> Vec<&Place> {
        self.places.iter().filter(|place| place.name.starts_with(prefix)).collect()
    }

    /// The place where this process runs now.
    pub fn with_pid(&self, pid: i32) -> Option<&Place> {
        self.places.iter().find(|place| place.pid() == Some(pid))
    }

    /// All that have ended so far, in all places.
    pub fn ends(&self) -> Vec<String> {
        let of = |place: &Place| {
            let ends = place.shared.ends.lock().unwrap_or_else(PoisonError::into_inner).clone();
            ends.into_iter().map(|end| format!("{} {}: {}", place.name, end.pid, end.status)).collect::<Vec<_>>()
        };
        self.places.iter().flat_map(of).collect()
    }

    /// Those that have aborted by themselves, and when that was seen.
    pub fn aborted(&self) -> Vec<(i32, DateTime<Utc>)> {
        let ends = self
            .places
            .iter()
            .flat_map(|place| place.shared.ends.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let aborted = |end: &End| end.status.signal() == Some(Signal::SIGABRT as i32);
        ends.filter(aborted).map(|end| (end.pid, end.at)).collect()
    }

    /// Asks all to stop, and waits until they have. Gives back how many had to be killed.
    pub async fn stop(mut self) -> usize {
        for place in &self.places {
            place.shared.leave.store(true, Ordering::SeqCst);
            place.signal(Signal::SIGCONT);
            place.signal(Signal::SIGTERM);
        }
        let mut killed = 0;
        for place in self.places.drain(..) {
            let Place { shared, mut keeper, .. } = place;
            if timeout(STOP_LIMIT, &mut keeper).await.is_err() {
                killed += 1;
                shared.signal(Signal::SIGKILL);
                let _ = keeper.await;
            }
        }
        killed
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        for place in &self.places {
            place.shared.leave.store(true, Ordering::SeqCst);
            place.signal(Signal::SIGKILL);
        }
    }
}

impl Place {
    /// Of the process that runs now; `None` between two.
    pub fn pid(&self) -> Option<i32> {
        self.shared.pid().map(Pid::as_raw)
    }

    /// Sends a signal to the process that runs now; gives back which one that was.
    pub fn signal(&self, signal: Signal) -> Option<i32> {
        self.shared.signal(signal)
    }

    /// Asks the process that runs now to end, and starts the next one as soon as it has, as `systemctl restart` does. False
    /// = there is none just now.
    pub fn restart(&self) -> bool {
        let asked = self.signal(Signal::SIGTERM).is_some();
        self.shared.restart.fetch_or(asked, Ordering::SeqCst);
        asked
    }
}

impl Shared {
    fn pid(&self) -> MutexGuard<'_, Option<Pid>> {
        self.pid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, child: &Child) {
        *self.pid() = child.id().map(|id| Pid::from_raw(id as i32));
    }

    fn signal(&self, signal: Signal) -> Option<i32> {
        // Under the lock, so that the process cannot be replaced by another in between.
        let pid = self.pid();
        pid.filter(|pid| kill(*pid, signal).is_ok()).map(Pid::as_raw)
    }
}

async fn keep(mut child: Child, program: Program, log: File, shared: Arc<Shared>) {
    loop {
        let status = child.wait().await;
        let ended = shared.pid().take();
        if let (Some(pid), Ok(status)) = (ended, status) {
            shared.ends.lock().unwrap_or_else(PoisonError::into_inner).push(End {
                pid: pid.as_raw(),
                status,
                at: clock::now(),
            });
        }
        child = loop {
            if shared.leave.load(Ordering::SeqCst) {
                return;
            }
            if !shared.restart.swap(false, Ordering::SeqCst) {
                sleep(PAUSE).await;
            }
            match spawn(&program, &log) {
                Ok(child) => break child,
                Err(error) => eprintln!("{error:#}"),
            }
        };
        shared.enter(&child);
        // Asked to leave while there was nobody to hear it.
        if shared.leave.load(Ordering::SeqCst) {
            shared.signal(Signal::SIGTERM);
        }
    }
}

fn spawn(program: &Program, log: &File) -> anyhow::Result<Child> {
    let (mut command, input) = match &program.socket {
        None => (Command::new(&program.path), Stdio::null()),
        Some(socket) => (handed_over(&program.path), OwnedFd::from(socket.try_clone()?).into()),
    };
    command.args(&program.arguments).env_clear().envs(program.settings.iter().cloned());
    // Away from the checkout, whose .env is none of our business.
    command.current_dir(std::env::temp_dir()).stdin(input).stdout(log.try_clone()?).stderr(log.try_clone()?);
    command.kill_on_drop(true).spawn().with_context(|| format!("{} cannot be started", program.path.display()))
}

/// The program with its standard input as the socket that it is handed. The shell becomes the program, so that its number
/// is the program's.
fn handed_over(path: &Path) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(r#"exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@""#).arg(path);
    shell
}
