//! The real program in a process of its own.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::sleep;

/// Killed when dropped.
pub struct Process(Child);

impl Process {
    /// With these settings and nothing else of this process's environment.
    pub fn start(arguments: &[&str], settings: &[(String, String)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_goto-automation"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self::spawn(command, settings)
    }

    /// The same, with what it says in this file.
    pub fn start_logging(arguments: &[&str], settings: &[(String, String)], log: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_goto-automation"));
        let log = File::create(log).unwrap();
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self::spawn(command, settings)
    }

    /// `serve` on a socket that stays with the test, as systemd hands it over (`sd_listen_fds(3)`).
    pub fn serve_on(listener: &TcpListener, settings: &[(String, String)]) -> Self {
        let mut command = Command::new("/bin/sh");
        // The shell becomes the program, so that its number is the program's.
        let script = r#"exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" serve"#;
        command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_goto-automation"));
        command.stdin(OwnedFd::from(listener.try_clone().unwrap())).stdout(Stdio::null()).stderr(Stdio::null());
        Self::spawn(command, settings)
    }

    fn spawn(mut command: Command, settings: &[(String, String)]) -> Self {
        command.env_clear().envs(settings.iter().cloned());
        // Away from the checkout, whose .env is none of the tests' business.
        command.current_dir(std::env::temp_dir());
        Self(command.spawn().unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }

    /// The most memory that it has had so far, in bytes; `None` where there is no `/proc`.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    }

    pub async fn ended(&mut self) -> std::process::ExitStatus {
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
