//! Finds the installed programs of the PostgreSQL server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

/// The oldest major version that the migrations and queries are made for.
const OLDEST: u32 = 14;

/// Where packages put the server, as (folder, what its entries begin with, what follows): Debian, the PostgreSQL
/// project's packages for Fedora, Alpine, Homebrew on Apple silicon and on Intel.
const PACKAGED: &[(&str, &str, &str)] = &[
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
];

/// Where a server from source, or one that is not on the `PATH`, is looked for.
const PLAIN: &[&str] = &["/usr/bin", "/usr/local/pgsql/bin", "/usr/local/bin", "/opt/homebrew/bin"];

const HOW_TO_INSTALL: &str = "Install the package `postgresql` with apt-get on Debian or Ubuntu, `postgresql-server` \
     with dnf on Fedora, `postgresql@17` with brew on macOS; or set DATABASE_URL to use a server that runs already.";

/// The programs of one installed server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    folder: PathBuf,
    major: u32,
}

impl Programs {
    /// The newest server, or the one of `wanted`, the major version of a cluster that exists.
    pub(super) fn find(wanted: Option<u32>) -> anyhow::Result<Self> {
        choose(&installed(), wanted)
    }

    /// The path of one program, such as `initdb`.
    pub(super) fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }
}

/// One folder per major version.
fn installed() -> BTreeMap<u32, PathBuf> {
    let mut found = BTreeMap::new();
    for folder in on_the_path().into_iter().chain(packaged()).chain(PLAIN.iter().map(PathBuf::from)) {
        if let Some(major) = server_version(&folder) {
            found.entry(major).or_insert(folder);
        }
    }
    found
}

/// A shell knows the `PATH`; `pg_config` also knows a server that is not on it.
fn on_the_path() -> Vec<PathBuf> {
    let script = "pg_config --bindir 2>/dev/null; dirname -- \"$(command -v postgres)\"";
    let output = Command::new("sh").args(["-c", script]).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().map(PathBuf::from).filter(|folder| folder.is_absolute()).collect()
}

fn packaged() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for (parent, prefix, rest) in PACKAGED {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        folders.extend(
            entries
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
                .map(|entry| entry.path().join(rest)),
        );
    }
    folders
}

/// The major version of the server in a folder; `None` where the programs are not all there.
fn server_version(folder: &Path) -> Option<u32> {
    if !folder.join("initdb").is_file() {
        return None;
    }
    let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
    major(&String::from_utf8_lossy(&output.stdout))
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn major(version: &str) -> Option<u32> {
    let number = version.split("(PostgreSQL)").nth(1)?.trim_start();
    number.split(|sign: char| !sign.is_ascii_digit()).next()?.parse().ok()
}

fn choose(installed: &BTreeMap<u32, PathBuf>, wanted: Option<u32>) -> anyhow::Result<Programs> {
    let newest = installed.last_key_value().filter(|(major, _)| **major >= OLDEST);
    if let Some(wanted) = wanted {
        let Some(folder) = installed.get(&wanted) else {
            let here = newest.map_or("none that fits".to_owned(), |(major, _)| format!("version {major}"));
            bail!(
                "The data folder holds a cluster of PostgreSQL {wanted}, and the server installed here is {here}: a \
                 major version cannot read the files of another. Install PostgreSQL {wanted}, or start with `--reset` \
                 to empty the data folder and begin anew."
            );
        };
        return Ok(Programs { folder: folder.clone(), major: wanted });
    }
    match (newest, installed.last_key_value()) {
        (Some((major, folder)), _) => Ok(Programs { folder: folder.clone(), major: *major }),
        (None, Some((old, _))) => {
            bail!(
                "The PostgreSQL server found here is version {old}, and {OLDEST} or newer is needed. {HOW_TO_INSTALL}"
            )
        }
        (None, None) => {
            bail!("No PostgreSQL server (version {OLDEST} or newer) is installed on this machine. {HOW_TO_INSTALL}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(majors: &[u32]) -> BTreeMap<u32, PathBuf> {
        majors.iter().map(|major| (*major, PathBuf::from(format!("/pg/{major}/bin")))).collect()
    }

    fn refusal(majors: &[u32], wanted: Option<u32>) -> String {
        choose(&machine(majors), wanted).unwrap_err().to_string()
    }

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major("postgres (PostgreSQL) 9.6.24"), Some(9));
        assert_eq!(major("something else"), None);
    }

    #[test]
    fn the_newest_is_taken_unless_the_cluster_needs_another() {
        assert_eq!(choose(&machine(&[14, 17]), None).unwrap().path("initdb"), Path::new("/pg/17/bin/initdb"));
        assert_eq!(choose(&machine(&[14, 17]), Some(14)).unwrap().major, 14);
    }

    #[test]
    fn refusals_say_what_to_do() {
        assert!(refusal(&[], None).contains("apt-get"));
        assert!(refusal(&[13], None).contains("version 13, and 14 or newer"));
        let other = refusal(&[17], Some(15));
        assert!(other.contains("Install PostgreSQL 15") && other.contains("--reset") && other.contains("version 17"));
    }
}
