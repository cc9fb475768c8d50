//! `DIR/ready.json`: how other commands find the `dev` that runs in a checkout. `dev` writes it in one move, with mode
//! 0600, once everything serves, and removes it when it stops.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::signal;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::state::write_private;

/// Name of the file within the data folder.
const READY_FILE: &str = "ready.json";

/// What `dev` tells about itself. No `Debug`: it holds secrets in the clear. Fields may be added.
#[derive(Clone, Serialize, Deserialize)]
pub struct RunningDev {
    /// Where it serves.
    pub url: String,
    /// Its database.
    pub database_url: String,
    /// A key for its API.
    pub api_key: String,
    /// Signs webhooks to it.
    pub webhook_secret: String,
    /// The page with what Slack and mail received.
    pub outbox_url: String,
    /// Its process.
    pub pid: i32,
    /// Base of the stand-in recording host, ends in a slash; absent when a real one is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recordings_url: Option<String>,
    /// The bearer that the stand-in recording host asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recordings_key: Option<String>,
}

/// Why there is none. Reads on with ", or ..." where the command knows another way.
#[derive(Debug, thiserror::Error)]
pub enum NotRunning {
    /// No file.
    #[error("no running `goto-automation dev` found in {}: start one with `make dev`", .0.display())]
    Absent(PathBuf),
    /// A file of a process that is gone.
    #[error("the `goto-automation dev` of {} no longer runs: start it again with `make dev`", .0.display())]
    Gone(PathBuf),
    /// A file that cannot be used.
    #[error("{} cannot be read ({reason}): start `make dev` again", .file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl RunningDev {
    /// The file within a data folder.
    pub fn file(data_dir: &Path) -> PathBuf {
        data_dir.join(READY_FILE)
    }

    /// The `dev` that runs with this data folder.
    pub fn find(data_dir: &Path) -> Result<Self, NotRunning> {
        let file = Self::file(data_dir);
        let text = fs::read_to_string(&file).map_err(|error| match error.kind() {
            ErrorKind::NotFound => NotRunning::Absent(data_dir.to_owned()),
            _ => NotRunning::Unreadable { file: file.clone(), reason: error.to_string() },
        })?;
        // The error is told without the text, which holds secrets.
        let dev: Self = serde_json::from_str(&text).map_err(|error| {
            let reason = format!("line {} is not as expected", error.line());
            NotRunning::Unreadable { file, reason }
        })?;
        if dev.lives() { Ok(dev) } else { Err(NotRunning::Gone(data_dir.to_owned())) }
    }

    /// Writes the file of the data folder, and the one that a script asked for.
    pub(super) fn write(&self, data_dir: &Path, ready_file: Option<&Path>) -> anyhow::Result<()> {
        let bytes = serde_json::to_vec_pretty(self)?;
        write_private(&Self::file(data_dir), &bytes)?;
        ready_file.map_or(Ok(()), |path| write_private(path, &bytes))
    }

    /// Removes what [`Self::write`] wrote: nothing runs there any more.
    pub(super) fn forget(data_dir: &Path, ready_file: Option<&Path>) {
        for file in [Some(Self::file(data_dir).as_path()), ready_file].into_iter().flatten() {
            // One that stays names a process that is gone, which readers notice.
            let _ = remove(file);
        }
    }

    /// Whether its process is there; one of another user counts too, one that is dead and not yet reaped does not.
    fn lives(&self) -> bool {
        self.pid > 0
            && matches!(signal::kill(Pid::from_raw(self.pid), None), Ok(()) | Err(Errno::EPERM))
            && !is_zombie(self.pid)
    }
}

/// Removes a file, if it is there.
pub(super) fn remove(file: &Path) -> anyhow::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// Nobody may be there to reap a process that was killed, as in a container. The state stands behind the name, which may
/// hold anything (`proc_pid_stat(5)`).
fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pid: i32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let text = serde_json::json!({
            "url": "http://127.0.0.1:8000", "database_url": "postgres:///dev", "api_key": "k", "webhook_secret": "s",
            "outbox_url": "http://127.0.0.1:8000/dev/outbox", "pid": pid, "something_new": 1,
        });
        fs::write(RunningDev::file(folder.path()), text.to_string()).unwrap();
        folder
    }

    #[test]
    fn a_living_process_is_found() {
        let folder = written(std::process::id() as i32);
        let dev = RunningDev::find(folder.path()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((dev.url.as_str(), dev.recordings_url), ("http://127.0.0.1:8000", None));
    }

    #[test]
    fn a_killed_process_is_gone_though_nobody_reaps_it() {
        let mut killed = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let folder = written(killed.id() as i32);
        assert!(RunningDev::find(folder.path()).is_ok());
        killed.kill().unwrap();
        // Waits for its end and leaves it unreaped.
        let id = nix::sys::wait::Id::Pid(Pid::from_raw(killed.id() as i32));
        let ended = nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT;
        nix::sys::wait::waitid(id, ended).unwrap();
        assert!(matches!(RunningDev::find(folder.path()), Err(NotRunning::Gone(_))));
        killed.wait().unwrap();
    }

    #[test]
    fn what_was_written_is_removed() {
        let folder = written(1);
        let file = folder.path().join("told.json");
        remove(&file).unwrap();
        fs::write(&file, "{}").unwrap();
        RunningDev::forget(folder.path(), Some(&file));
        assert!(!file.exists() && !RunningDev::file(folder.path()).exists());
        assert!(remove(folder.path()).unwrap_err().to_string().starts_with("cannot remove "));
    }

    #[test]
    fn what_is_not_there_is_told_with_what_to_do() {
        let told = |folder: &Path| RunningDev::find(folder).err().expect("an error").to_string();
        let folder = tempfile::tempdir().unwrap();
        assert!(told(folder.path()).starts_with("no running `goto-automation dev` found in "));
        fs::write(RunningDev::file(folder.path()), "{\"api_key\": \"secret\"}").unwrap();
        let unreadable = told(folder.path());
        assert!(unreadable.contains("cannot be read") && !unreadable.contains("secret"), "{unreadable}");
        // A process id beyond the kernel's greatest (PID_MAX_LIMIT, 2^22).
        assert!(told(written(1 << 30).path()).contains("no longer runs"));
    }
}
