//! What a killed run may leave behind: a server that is still there, or a `postmaster.pid` of one that is not.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

const STEPS: [(Signal, Duration); 2] =
    [(Signal::SIGINT, Duration::from_secs(10)), (Signal::SIGQUIT, Duration::from_secs(10))];
const POLL: Duration = Duration::from_millis(20);

/// Stops a server that still runs on a cluster. Only for the holder of the cluster's lock: nobody else uses it then.
///
/// # Errors
/// When that server does not stop.
pub(super) async fn stop(data: &Path) -> anyhow::Result<()> {
    let file = data.join("postmaster.pid");
    let text = fs::read_to_string(&file).unwrap_or_default();
    let Some(server) = process_id(&text) else { return Ok(()) };
    if !is_alive(server) {
        // PostgreSQL deals with that by itself.
        return Ok(());
    }
    if !is_server_of(server, data) {
        // The id belongs to another program by now, and PostgreSQL would not start because of it.
        return fs::remove_file(&file).with_context(|| format!("{} could not be removed", file.display()));
    }
    tracing::warn!(pid = server.as_raw(), "a PostgreSQL server of an earlier run still uses the cluster; stopping it");
    for (signal, within) in STEPS {
        kill(server, signal).ok();
        let deadline = Instant::now() + within;
        while is_alive(server) && Instant::now() < deadline {
            sleep(POLL).await;
        }
        if !is_alive(server) {
            remove_socket_folder(&text);
            return Ok(());
        }
    }
    bail!("A PostgreSQL server (process {server}) still runs on {} and does not stop. Stop it by hand.", data.display())
}

/// The first line of `postmaster.pid`.
fn process_id(text: &str) -> Option<Pid> {
    text.lines().next()?.trim().parse().ok().filter(|id| *id > 1).map(Pid::from_raw)
}

/// The fifth line of `postmaster.pid`. Only an empty folder goes, and only one of ours: another user wrote that line.
fn remove_socket_folder(text: &str) {
    if let Some(folder) = text.lines().nth(4).filter(|folder| folder.starts_with("/tmp/gta-")) {
        fs::remove_dir(folder).ok();
    }
}

/// A process that has ended and waits for its parent to notice is not alive: it holds nothing any more.
fn is_alive(process: Pid) -> bool {
    let ended = fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')));
    !ended && kill(process, None) != Err(nix::errno::Errno::ESRCH)
}

/// Its command line names the cluster, as ours always does.
fn is_server_of(process: Pid, data: &Path) -> bool {
    let data = data.as_os_str().as_encoded_bytes();
    match fs::read(format!("/proc/{process}/cmdline")) {
        Ok(command) => command.split(|byte| *byte == 0).any(|word| word == data),
        Err(_) => Command::new("ps")
            .args(["-o", "command=", "-p", &process.to_string()])
            .output()
            .is_ok_and(|output| output.stdout.windows(data.len()).any(|part| part == data)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    use super::*;

    fn cluster_of(process: u32) -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("postmaster.pid"), format!("{process}\n/somewhere\n")).unwrap();
        data
    }

    #[test]
    fn process_ids_are_read_with_care() {
        assert_eq!(process_id("4711\n/data\n"), Some(Pid::from_raw(4711)));
        for odd in ["", "-1\n", "0", "1", "x"] {
            assert_eq!(process_id(odd), None, "{odd}");
        }
    }

    #[tokio::test]
    async fn a_process_id_that_belongs_to_another_program_is_left_alone() {
        let data = cluster_of(std::process::id());
        stop(data.path()).await.unwrap();
        assert!(!data.path().join("postmaster.pid").exists());
    }

    #[tokio::test]
    async fn a_server_of_an_earlier_run_is_stopped() {
        let data = cluster_of(0);
        // A shell in the background ignores SIGINT, and so would what it starts: a real server does not.
        let mut server = Command::new("env")
            .args(["--default-signal=INT", "sh", "-c", "echo up; read line", "-D"])
            .arg(data.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut up = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut up).unwrap();
        fs::write(data.path().join("postmaster.pid"), server.id().to_string()).unwrap();
        stop(data.path()).await.unwrap();
        assert!(!server.wait().unwrap().success());
    }
}
