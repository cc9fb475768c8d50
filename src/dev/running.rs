//! `DIR/ready.json`: how other commands find the `dev` that runs in a checkout. `dev` writes it in one move, with mode
//! 0600, once everything serves, and removes it when it stops.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

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

    /// Removes the file of the data folder: nothing runs there any more.
    pub(super) fn forget(data_dir: &Path) {
        // One that stays names a process that is gone, which readers notice.
        let _ = fs::remove_file(Self::file(data_dir));
    }

    /// Whether its process is there; one of another user counts too.
    fn lives(&self) -> bool {
        self.pid > 0 && matches!(signal::kill(Pid::from_raw(self.pid), None), Ok(()) | Err(Errno::EPERM))
    }
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
