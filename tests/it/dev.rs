//! `goto-automation dev` as a newcomer meets it: one command, a call, the outbox, Ctrl-C.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::support::Process;

const PATIENCE: Duration = Duration::from_mins(1);

/// A `dev` that serves, with its data in a folder of its own.
struct Dev {
    process: Process,
    ready: Value,
    http: reqwest::Client,
}

impl Dev {
    async fn start(folder: &TempDir) -> Self {
        let (data, ready_file) = (folder.path().join("data dir"), folder.path().join("ready.json"));
        // What an earlier run left there is none of this one's.
        fs::write(&ready_file, "{}").unwrap();
        let (data, file) = (data.to_str().unwrap(), ready_file.to_str().unwrap());
        let arguments = ["dev", "--port", "0", "--data-dir", data, "--ready-file", file];
        let process = Process::start(&arguments, &[("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
        let written = async {
            while fs::read(&ready_file).is_ok_and(|text| text == b"{}") || !ready_file.exists() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, written).await.expect("it serves within a minute");
        assert_eq!(fs::metadata(&ready_file).unwrap().permissions().mode() & 0o777, 0o600);
        let ready = serde_json::from_slice(&fs::read(&ready_file).unwrap()).unwrap();
        goto_automation::providers::http_client::install_tls();
        Self { process, ready, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    fn text(&self, field: &str) -> &str {
        self.ready[field].as_str().unwrap_or_else(|| panic!("the ready file has {field}"))
    }

    async fn get(&self, url: &str) -> Value {
        let answer = self.http.get(url).bearer_auth(self.text("api_key")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{url}");
        answer.json().await.unwrap()
    }

    async fn until_completed(&self, calls: usize) {
        let url = format!("{}/api/calls/?state=completed", self.text("url"));
        let completed = async {
            while self.get(&url).await["items"].as_array().unwrap().len() < calls {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, completed).await.expect("the calls are completed");
    }

    /// Ends it as Ctrl-C does, and waits until nothing of it is left.
    async fn interrupt(mut self) {
        let server = server_of(self.text("database_url"));
        self.process.signal(Signal::SIGINT);
        assert!(timeout(PATIENCE, self.process.ended()).await.expect("it ends").success());
        assert!(!server.is_some_and(lives), "its PostgreSQL has ended too");
    }
}

/// The process of the server behind a socket folder, from the lock file beside its socket.
fn server_of(database_url: &str) -> Option<Pid> {
    let folder = database_url.split('@').nth(1)?.split(':').next()?.replace("%2F", "/");
    let lock = fs::read_to_string(Path::new(&folder).join(".s.PGSQL.5432.lock")).ok()?;
    lock.lines().next()?.trim().parse().ok().map(Pid::from_raw)
}

/// Zombies are dead: nobody may be there to reap them.
fn lives(process: Pid) -> bool {
    let zombie = fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    kill(process, None).is_ok() && !zombie
}

fn run(arguments: &[&str], folder: &TempDir) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_goto-automation"));
    command.args(arguments).arg("--data-dir").arg(folder.path().join("data dir")).env_clear();
    command.current_dir(folder.path()).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_sees_a_call_go_through() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(&folder).await;
    let sent = run(&["simulate", "--count", "4", "--duplicates", "50"], &folder);
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    dev.until_completed(4).await;

    let outbox = dev.get(&format!("{}.json", dev.text("outbox_url"))).await;
    assert_eq!(outbox["slack"].as_array().unwrap().len(), 4);
    assert_eq!(outbox["mail"].as_array().unwrap().len(), 4);
    let page = dev.http.get(dev.text("outbox_url")).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("tand-in"), "what is a stand-in says so");

    let listed = run(&["calls", "list", "--json"], &folder);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 4);
    dev.interrupt().await;
    assert!(!run(&["calls", "list"], &folder).status.success(), "nobody is there any more");
    assert!(!folder.path().join("ready.json").exists(), "nor does a file say so");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_is_there_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(&folder).await;
    assert!(run(&["simulate"], &folder).status.success());
    dev.until_completed(1).await;
    let key = dev.text("api_key").to_owned();
    dev.process.signal(Signal::SIGKILL);
    dev.process.ended().await;
    let told = run(&["calls", "list"], &folder);
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.starts_with("The `goto-automation dev` of ") && told.contains("no longer runs"), "{told}");

    let again = Dev::start(&folder).await;
    assert_eq!(again.text("api_key"), key, "what was pasted somewhere goes on working");
    again.until_completed(1).await;
    again.interrupt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_stays_revoked_and_a_fresh_one_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(&folder).await;
    let key = dev.text("api_key").to_owned();
    assert!(run(&["keys", "revoke", key.split('_').nth(1).unwrap()], &folder).status.success());
    dev.interrupt().await;

    let again = Dev::start(&folder).await;
    assert_ne!(again.text("api_key"), key);
    let calls = format!("{}/api/calls/", again.text("url"));
    assert_eq!(again.http.get(&calls).bearer_auth(&key).send().await.unwrap().status(), 401);
    again.get(&calls).await;
    again.interrupt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_dev_on_a_data_folder_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(&folder).await;
    let second = tokio::task::spawn_blocking({
        let data = folder.path().join("data dir");
        move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_goto-automation"));
            command.args(["dev", "--port", "0", "--data-dir"]).arg(data).env_clear().env("PATH", "/usr/bin:/bin");
            command.current_dir(std::env::temp_dir()).output().unwrap()
        }
    });
    let second = timeout(PATIENCE, second).await.expect("it is refused").unwrap();
    assert_eq!(second.status.code(), Some(1));
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(told.contains("--data-dir"), "{told}");
    // The first one is none the worse for it.
    assert!(run(&["simulate"], &folder).status.success());
    dev.until_completed(1).await;
    dev.interrupt().await;
}
