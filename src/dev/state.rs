//! What `dev` keeps in its data folder between runs: secrets and ports, so that what worked yesterday works today.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use super::standins::Standins;
use crate::model::{ApiKey, CallBounds, Scope, clock};
use crate::store::{self, keys::NewKey};

const FILE: &str = "dev.json";
/// On somebody else's database the key of `dev` ends by itself.
const FOREIGN_KEY_LIFE: TimeDelta = TimeDelta::days(1);

/// See the module. No `Debug`: it holds secrets.
#[derive(Serialize, Deserialize)]
pub(super) struct State {
    #[serde(skip)]
    path: PathBuf,
    /// `GOTO_WEBHOOK_SECRET`, unless that is set.
    pub(super) webhook_secret: String,
    /// What the stand-ins ask for.
    pub(super) standin_key: String,
    /// May do everything at the API.
    pub(super) api_key: String,
    /// Ports of the stand-ins in the last run; 0 = none yet.
    pub(super) http_port: u16,
    pub(super) smtp_port: u16,
}

impl State {
    /// The state of the last run, or a fresh one. Makes the folder, for its owner only.
    pub(super) fn load(data_dir: &Path) -> anyhow::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data_dir)
            .with_context(|| format!("cannot make the data folder {}", data_dir.display()))?;
        let path = data_dir.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => {
                let state: Self = serde_json::from_slice(&bytes)
                    .with_context(|| format!("{} is damaged; start with --reset to begin anew", path.display()))?;
                Ok(Self { path, ..state })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let state = Self {
                    path,
                    webhook_secret: random(),
                    standin_key: format!("dev-{}", random()),
                    api_key: ApiKey::generate().expose().to_owned(),
                    http_port: 0,
                    smtp_port: 0,
                };
                state.write()?;
                Ok(state)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Forgets everything of earlier runs but the database, which is not ours to remove.
    pub(super) fn reset(data_dir: &Path) -> anyhow::Result<()> {
        for name in [FILE, "ready.json", "recordings"] {
            let path = data_dir.join(name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn keep_ports(&mut self, standins: &Standins) -> anyhow::Result<()> {
        self.http_port = standins.recordings_url.port().unwrap_or(0);
        self.smtp_port = standins.smtp.port();
        self.write()
    }

    /// The key of `dev` can be used: it is put into a database that does not know it, and a fresh one takes the place of
    /// one that was revoked.
    pub(super) async fn ensure_api_key(&mut self, db: &PgPool, own_database: bool) -> anyhow::Result<()> {
        let scopes: Vec<String> = Scope::ALL.iter().map(ToString::to_string).collect();
        let ends = (!own_database).then(|| clock::now() + FOREIGN_KEY_LIFE);
        loop {
            let key = ApiKey::parse(&self.api_key).context("the API key of dev is damaged; start with --reset")?;
            let (prefix, hash, bounds) = (key.prefix(), &key.hash(), &CallBounds::default());
            let row = NewKey { name: "dev", prefix, hash, scopes: &scopes, bounds, expires_at: ends };
            if store::keys::renew(db, &row).await? {
                return Ok(());
            }
            ApiKey::generate().expose().clone_into(&mut self.api_key);
            self.write()?;
        }
    }

    fn write(&self) -> anyhow::Result<()> {
        write_private(&self.path, &serde_json::to_vec_pretty(self)?)
    }
}

/// Writes a file that only its owner may read, in one move: nobody ever sees half of it.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let draft = path.with_extension("tmp");
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn random() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}
