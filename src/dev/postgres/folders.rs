//! Where a cluster lives, and the user that it runs as.
//!
//! | | cluster and log | socket |
//! |---|---|---|
//! | an ordinary user | in the data folder | `/tmp/gta-...` |
//! | root | in `/var/lib/goto-automation/dev/<hash of the data folder>`, because the server's unprivileged user may not enter root's folders | the same |
//! | a test | in the socket's folder, which goes when the server does | the same |
//!
//! A socket's path has at most about 100 bytes, which a data folder deep in somebody's home may exceed.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::fcntl::OFlag;
use nix::unistd::{Uid, User, chown};
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

/// For root: owned by root, and open to be passed through.
const SYSTEM_FOLDERS: &[&str] = &["/var/lib/goto-automation", "/var/lib/goto-automation/dev"];

/// Whom root's server runs as: the first of them that exists.
const SERVER_USERS: &[&str] = &["postgres", "nobody"];

/// Short, and open to every user.
const SOCKETS: &str = "/tmp";

/// How long a lock is waited for. Its owner has given it up, but a process that the owner was just starting has a copy of it
/// for a moment, until it has become another program.
const LOCK_TRIES: u32 = 25;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

const LOG_LINES: usize = 15;
const LOG_TAIL_BYTES: u64 = 16 * 1024;

/// The places of one cluster.
#[derive(Debug)]
pub(super) struct Folders {
    /// The cluster itself.
    pub(super) data: PathBuf,
    /// What the server says; begun anew with every start.
    pub(super) log: PathBuf,
    /// Holds the socket, and with a temporary cluster everything. New with every process, and removed when dropped.
    pub(super) socket: PathBuf,
    /// The cluster is removed with its server.
    pub(super) temporary: bool,
    /// Held by the process that uses the cluster. In the data folder itself, so that it stays when the cluster goes.
    lock: PathBuf,
    /// The server's user where it is not our own, which is when we are root.
    user: Option<User>,
}

impl Folders {
    /// The places of the cluster that belongs to a data folder, which is made where it is missing.
    pub(super) fn of(data_dir: &Path) -> anyhow::Result<Self> {
        let about = || format!("the data folder {} could not be made", data_dir.display());
        fs::create_dir_all(data_dir).with_context(about)?;
        let data_dir = data_dir.canonicalize().with_context(about)?;
        let user = server_user()?;
        let home = if user.is_some() { system_folder(&data_dir)? } else { data_dir.clone() };
        let socket = socket_folder("gta-", user.as_ref())?;
        Ok(Self::in_folders(&home, socket, &data_dir, user))
    }

    /// Places that nobody else knows and that go with the server.
    pub(super) fn temporary() -> anyhow::Result<Self> {
        let user = server_user()?;
        let socket = socket_folder("gta-test-", user.as_ref())?;
        Ok(Self::in_folders(&socket.clone(), socket.clone(), &socket, user))
    }

    fn in_folders(home: &Path, socket: PathBuf, lock: &Path, user: Option<User>) -> Self {
        let (data, log, lock) = (home.join("postgres"), home.join("postgres.log"), lock.join("postgres.lock"));
        Self { data, log, temporary: home == socket, socket, lock, user }
    }

    /// Keeps other processes away from the cluster until the file is dropped.
    pub(super) async fn lock(&self) -> anyhow::Result<File> {
        let file = open_own(&self.lock, false)?;
        let mut locked = file.try_lock();
        for _ in 0..LOCK_TRIES {
            if !matches!(locked, Err(TryLockError::WouldBlock)) {
                break;
            }
            sleep(LOCK_PAUSE).await;
            locked = file.try_lock();
        }
        match locked {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "Another process already uses the cluster {}. Stop that one first, or give this one a data folder \
                     of its own with `--data-dir`.",
                    self.data.display()
                )
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{} could not be locked", self.lock.display()))
            }
        }
    }

    /// The major version of the cluster; `None` where there is no cluster yet.
    pub(super) fn major_version(&self) -> anyhow::Result<Option<u32>> {
        if !self.data.exists() {
            return Ok(None);
        }
        let version = fs::read_to_string(self.data.join("PG_VERSION")).unwrap_or_default();
        match version.trim().parse() {
            Ok(major) => Ok(Some(major)),
            Err(_) => bail!(
                "{} holds no PostgreSQL cluster that could be read (its PG_VERSION is missing or odd). Start with \
                 `--reset` to begin anew, or choose another `--data-dir`.",
                self.data.display()
            ),
        }
    }

    /// An empty folder beside the cluster's place, for the server's user.
    pub(super) fn fresh_partial(&self) -> anyhow::Result<PathBuf> {
        let partial = self.data.with_extension("partial");
        remove_folder(&partial)?;
        make_folder(&partial, 0o700)?;
        give_to(&partial, self.user.as_ref())?;
        Ok(partial)
    }

    /// The log, emptied.
    pub(super) fn fresh_log(&self) -> anyhow::Result<File> {
        open_own(&self.log, true)
    }

    /// The end of the log, for a person who wonders why the server does not start.
    pub(super) fn last_log_lines(&self) -> String {
        let text = self.log_tail().unwrap_or_else(|error| error.to_string());
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// A command that runs as the server's user, with nothing of our own environment: it may hold secrets, and the
    /// server's user may read it.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C").current_dir("/");
        if let Some(user) = &self.user {
            // As root this also empties the list of supplementary groups.
            command.gid(user.gid.as_raw()).uid(user.uid.as_raw());
        }
        command
    }

    /// Removes the cluster and its log. For the holder of the lock.
    pub(super) fn remove_cluster(&self) -> anyhow::Result<()> {
        remove_folder(&self.data)?;
        fs::remove_file(&self.log).ok();
        if let (Some(_), Some(home)) = (&self.user, self.data.parent()) {
            remove_folder(home)?;
        }
        Ok(())
    }

    fn log_tail(&self) -> anyhow::Result<String> {
        let mut log = open_own(&self.log, false)?;
        let from = log.metadata()?.len().saturating_sub(LOG_TAIL_BYTES);
        log.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        log.read_to_end(&mut tail)?;
        Ok(String::from_utf8_lossy(&tail).into_owned())
    }
}

impl Drop for Folders {
    /// Best effort: an empty folder that stays in `/tmp` is no reason to fail.
    fn drop(&mut self) {
        fs::remove_dir_all(&self.socket).ok();
    }
}

/// `None` unless we are root, whom PostgreSQL refuses.
fn server_user() -> anyhow::Result<Option<User>> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    for name in SERVER_USERS {
        if let Some(user) = User::from_name(name).context("the list of users could not be read")? {
            return Ok(Some(user));
        }
    }
    bail!("PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as. Add one of them.")
}

fn system_folder(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let hash = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
    let name = hash.first_chunk().map_or(0, |head| u64::from_be_bytes(*head));
    let root = Path::new(SYSTEM_FOLDERS[SYSTEM_FOLDERS.len() - 1]).join(format!("{name:016x}"));
    for folder in SYSTEM_FOLDERS.iter().map(Path::new).chain([root.as_path()]) {
        make_folder(folder, 0o755)?;
    }
    Ok(root)
}

/// Makes a folder with exactly this mode, whatever the umask; leaves one that is there as it is.
fn make_folder(path: &Path, mode: u32) -> anyhow::Result<()> {
    let about = || format!("the folder {} could not be made", path.display());
    if !path.exists() {
        DirBuilder::new().mode(mode).create(path).with_context(about)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(about)?;
    }
    Ok(())
}

/// Opens a file of ours. Never through a link: root must not be led elsewhere by the server's user.
fn open_own(path: &Path, truncate: bool) -> anyhow::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(truncate)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)
        .with_context(|| format!("{} could not be opened", path.display()))
}

/// A folder with an unforeseeable name that only the server's user (and root) may enter.
fn socket_folder(prefix: &str, user: Option<&User>) -> anyhow::Result<PathBuf> {
    // Whoever enters is the cluster's superuser, and a superuser runs programs as the server's user.
    let private = fs::Permissions::from_mode(0o700);
    let builder = &mut tempfile::Builder::new();
    let folder = builder.prefix(prefix).permissions(private).tempdir_in(SOCKETS).context("no folder for the socket")?;
    give_to(folder.path(), user)?;
    Ok(folder.keep())
}

fn give_to(path: &Path, user: Option<&User>) -> anyhow::Result<()> {
    let Some(user) = user else { return Ok(()) };
    chown(path, Some(user.uid), Some(user.gid))
        .with_context(|| format!("{} could not be given to the user {}", path.display(), user.name))
}

fn remove_folder(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} could not be removed", path.display()))
        }
        _ => Ok(()),
    }
}
