//! The embedded PostgreSQL: as root and as an ordinary user, and after a crash of either side.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use goto_automation::dev::postgres::Postgres;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use crate::support::Database;

/// Tells the re-executed test binary which data folder to hold.
const HOLD: &str = "GTA_TEST_HOLD";

#[tokio::test]
async fn a_fresh_database_answers() {
    let database = Database::fresh().await;
    let one: i32 = sqlx::query_scalar("SELECT 1").fetch_one(database.pool()).await.unwrap();
    assert_eq!(one, 1);
    assert!(database.url().starts_with("postgres://"));
}

#[tokio::test]
async fn two_tests_do_not_see_one_another() {
    let (left, right) = tokio::join!(Database::fresh(), Database::fresh());
    sqlx::query("CREATE TABLE mine ()").execute(left.pool()).await.unwrap();
    let seen: Option<String> =
        sqlx::query_scalar("SELECT to_regclass('mine')::text").fetch_one(right.pool()).await.unwrap();
    assert_eq!(seen, None);
}

#[tokio::test]
async fn a_database_goes_with_its_test() {
    let (watcher, database) = tokio::join!(Database::fresh(), Database::fresh());
    let name = database.url().rsplit('/').next().unwrap().to_owned();
    drop(database);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname = $1")
        .bind(name)
        .fetch_one(watcher.pool())
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn nobody_else_can_reach_the_server() {
    let folder = DataFolder::new();
    let postgres = folder.start().await;
    // postgres://postgres@%2Ftmp%2Fgta-...:5432/...
    let socket = postgres.url().split('@').nth(1).unwrap().split(':').next().unwrap().replace("%2F", "/");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(Path::new(&socket)), 0o700, "only the server's user may enter the folder of its socket");
    assert_eq!(mode(&Path::new(&socket).join(".s.PGSQL.5432")), 0o700);
    postgres.stop().await;
}

#[tokio::test]
async fn what_was_written_is_there_after_every_kind_of_stop() {
    let folder = DataFolder::new();
    let postgres = folder.start().await;
    let url = postgres.url();
    write(&url, 1).await;

    postgres.restart_immediate().await.unwrap();
    assert_eq!(read(&url).await, [1]);

    postgres.stop_server().await;
    assert!(PgConnection::connect(&url).await.is_err());
    postgres.start_server().await.unwrap();
    write(&url, 2).await;

    kill(server_of(postgres.data()), Signal::SIGKILL).unwrap();
    postgres.stop().await;

    let again = folder.start().await;
    assert_eq!(read(&again.url()).await, [1, 2]);
    again.stop().await;
}

#[tokio::test]
async fn a_server_that_dies_is_started_again() {
    let postgres = Postgres::for_tests().await.unwrap();
    let url = postgres.url();
    write(&url, 1).await;
    kill(server_of(postgres.data()), Signal::SIGKILL).unwrap();
    let read_again = async {
        loop {
            if let Ok(mut connection) = PgConnection::connect(&url).await
                && let Ok(rows) = sqlx::query_scalar::<_, i32>("SELECT id FROM kept").fetch_all(&mut connection).await
            {
                return rows;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        rows = read_again => assert_eq!(rows, [1]),
        error = postgres.keep_running() => panic!("the server does not start again: {error:?}"),
    }
}

#[tokio::test]
async fn the_server_ends_with_a_killed_owner() {
    let folder = DataFolder::new();
    let mut owner = Owner::start(&folder, Command::new(std::env::current_exe().unwrap()));
    write(&owner.url, 1).await;
    let server = owner.server;
    assert!(is_alive(server));

    owner.process.kill().unwrap();
    owner.process.wait().unwrap();
    until_gone(server).await;

    let again = folder.start().await;
    assert_eq!(read(&again.url()).await, [1]);
    again.stop().await;
}

#[tokio::test]
async fn a_server_whose_watcher_was_killed_too_is_stopped_by_the_next_start() {
    let folder = DataFolder::new();
    let mut owner = Owner::start(&folder, Command::new(std::env::current_exe().unwrap()));
    write(&owner.url, 1).await;
    // The watcher and its reader share a process group with nobody but the server, which the signal spares.
    for watcher in group_of(owner.server).into_iter().filter(|process| *process != owner.server) {
        kill(watcher, Signal::SIGKILL).unwrap();
    }
    owner.process.kill().unwrap();
    owner.process.wait().unwrap();
    assert!(is_alive(owner.server));

    let again = folder.start().await;
    assert!(!is_alive(owner.server));
    assert_eq!(read(&again.url()).await, [1]);
    again.stop().await;
}

#[tokio::test]
async fn nothing_stays_behind() {
    let postgres = Postgres::for_tests().await.unwrap();
    let (server, folder) = (server_of(postgres.data()), postgres.data().parent().unwrap().to_owned());
    postgres.stop().await;
    assert!(!is_alive(server) && !folder.exists());

    let postgres = Postgres::for_tests().await.unwrap();
    let (server, folder) = (server_of(postgres.data()), postgres.data().parent().unwrap().to_owned());
    drop(postgres);
    assert!(!is_alive(server) && !folder.exists());
}

#[tokio::test]
async fn a_second_process_on_the_same_data_is_refused() {
    let folder = DataFolder::new();
    let first = folder.start().await;
    let refusal = folder.refusal().await;
    assert!(refusal.contains("Another process already uses") && refusal.contains("--data-dir"), "{refusal}");
    first.stop().await;
}

#[tokio::test]
async fn a_cluster_of_another_major_version_is_refused() {
    let folder = DataFolder::new();
    let postgres = folder.start().await;
    let data = postgres.data().to_owned();
    postgres.stop().await;
    fs::write(data.join("PG_VERSION"), "9\n").unwrap();
    let refusal = folder.refusal().await;
    assert!(refusal.contains("PostgreSQL 9") && refusal.contains("--reset"), "{refusal}");

    Postgres::remove(folder.path()).await.unwrap();
    folder.start().await.stop().await;
}

#[tokio::test]
async fn a_server_that_does_not_start_says_why() {
    let folder = DataFolder::new();
    let postgres = folder.start().await;
    let data = postgres.data().to_owned();
    postgres.stop().await;
    fs::write(data.join("postgresql.conf"), "no_such_setting = 1\n").unwrap();
    let refusal = folder.refusal().await;
    assert!(refusal.contains("did not start") && refusal.contains("no_such_setting"), "{refusal}");
}

/// Everything above runs as an ordinary user when the tests do; root tries here what differs.
#[tokio::test]
async fn an_ordinary_user_has_the_cluster_in_the_data_folder() {
    let folder = DataFolder::new();
    if !Uid::effective().is_root() {
        let postgres = folder.start().await;
        assert!(postgres.data().starts_with(folder.path().canonicalize().unwrap()));
        return postgres.stop().await;
    }
    let nobody = User::from_name("nobody").unwrap().expect("a user `nobody`");
    nix::unistd::chown(folder.path(), Some(nobody.uid), Some(nobody.gid)).unwrap();
    let binary = Executable::copy();
    let mut command = Command::new(&binary.path);
    command.uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw()).current_dir("/");
    let mut owner = Owner::start(&folder, command);
    assert!(owner.data.starts_with(folder.path().canonicalize().unwrap()));
    write(&owner.url, 1).await;
    assert_eq!(read(&owner.url).await, [1]);
    owner.process.kill().unwrap();
    owner.process.wait().unwrap();
    until_gone(owner.server).await;
}

/// No test: the process that holds a cluster until it is killed.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "tests have no settings")]
async fn hold_a_cluster() {
    let Ok(folder) = std::env::var(HOLD) else { return };
    let postgres = Postgres::start(Path::new(&folder)).await.unwrap();
    println!("\nholding {} {}", postgres.url(), postgres.data().display());
    postgres.keep_running().await.unwrap();
}

/// A data folder whose cluster goes with it, wherever it is.
struct DataFolder(TempDir);

impl DataFolder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    async fn start(&self) -> Postgres {
        Postgres::start(self.path()).await.unwrap()
    }

    async fn refusal(&self) -> String {
        match Postgres::start(self.path()).await {
            Ok(_) => panic!("the start is refused"),
            Err(error) => error.to_string(),
        }
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        let folder = self.path().to_owned();
        let work = async move { Postgres::remove(&folder).await.ok() };
        std::thread::spawn(|| {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
        })
        .join()
        .ok();
    }
}

/// A process that holds the cluster of a data folder, and that can be killed.
struct Owner {
    process: Child,
    url: String,
    data: PathBuf,
    server: Pid,
}

impl Owner {
    fn start(folder: &DataFolder, mut command: Command) -> Self {
        command.args(["--exact", "postgres::hold_a_cluster", "--nocapture"]);
        let mut process = command.env(HOLD, folder.path()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.map_while(Result::ok).find(|line| line.starts_with("holding ")).expect("it holds a cluster");
        let words: Vec<_> = line.split(' ').collect();
        let data = PathBuf::from(words[2]);
        Self { process, url: words[1].to_owned(), server: server_of(&data), data }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// This test binary where every user may run it.
struct Executable {
    path: PathBuf,
    _folder: TempDir,
}

impl Executable {
    fn copy() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().join("it");
        fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
        Self { path, _folder: folder }
    }
}

async fn write(url: &str, id: i32) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS kept (id int)").execute(&mut connection).await.unwrap();
    sqlx::query("INSERT INTO kept VALUES ($1)").bind(id).execute(&mut connection).await.unwrap();
}

async fn read(url: &str) -> Vec<i32> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar("SELECT id FROM kept ORDER BY id").fetch_all(&mut connection).await.unwrap()
}

fn server_of(data: &Path) -> Pid {
    let text = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    Pid::from_raw(text.lines().next().unwrap().parse().unwrap())
}

/// A process that has ended, and whose parent has not noticed yet, is not alive.
fn is_alive(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !stat.contains(") Z ") && kill(process, None) != Err(Errno::ESRCH)
}

async fn until_gone(process: Pid) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while is_alive(process) {
        assert!(Instant::now() < deadline, "process {process} is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The processes that share a process group with this one.
fn group_of(process: Pid) -> Vec<Pid> {
    let group = nix::unistd::getpgid(Some(process)).unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
        .filter(|other| nix::unistd::getpgid(Some(*other)) == Ok(group))
        .collect()
}
