//! T10: the recordings lie on a file system of 8 MiB that is full. Calls wait and say why, no row names a file that is not
//! whole, and all goes on by itself as soon as there is room.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use goto_automation::model::hex;
use nix::unistd::Uid;
use sha2::{Digest as _, Sha256};

use crate::checker::Findings;
use crate::ground::Ground;
use crate::report::Report;
use crate::stage::Stage;
use crate::traffic::Traffic;

const NAME: &str = "T10";
const CALLS: usize = 10;
const SMALL: &str = "size=8m";
const LARGE: &str = "remount,size=64m";
const LIMIT: Duration = Duration::from_secs(30);
/// The fifth attempt of a download comes about 38 seconds after the first, under the profile's factor.
const DRAIN_LIMIT: Duration = Duration::from_secs(90);
const WAITING: &str = "SELECT count(*) FROM calls WHERE state = 'waiting' AND state_reason LIKE '%no space%'";
const STORED: &str = "SELECT count(*) FROM recordings";

pub async fn run(ground: &Ground) -> anyhow::Result<Report> {
    if !Uid::effective().is_root() {
        return Ok(Report::skipped("needs root, to make a small file system"));
    }
    let mut stage = Stage::prepare(ground, NAME, "").await?;
    let disk = match SmallDisk::mount(stage.folder().join("disk")) {
        Ok(disk) => disk,
        Err(error) => return Ok(Report::skipped(&format!("no small file system can be made here: {error:#}"))),
    };
    disk.fill()?;
    stage.set("RECORDING_STORE", format!("file://{}", disk.0.display()));
    stage.start().await?;
    let plan = Traffic::plain(CALLS, 5.0).plan("t10", &stage.recordings, ground.seed_of(NAME));
    stage.sender.send(plan).await?;
    let visible = stage.until(WAITING, CALLS as i64, LIMIT).await.ok();
    let stored_while_full = stage.count(STORED).await?;
    disk.enlarge()?;
    let drained = stage.drained(DRAIN_LIMIT).await;

    let findings = Findings::of(&stage).await?;
    let mut report = Report::default();
    report.exactly("calls", findings.calls, CALLS);
    report.within("all say that there is no space after", visible, LIMIT);
    report.exactly("recordings named while it was full", stored_while_full as usize, 0);
    report.none("files that are not whole", &broken_files(&stage, &disk.0).await?);
    report.some("recordings named afterwards", stage.count(STORED).await? as usize);
    findings.tell(&mut report);
    report.within("all ended after there was room", drained, DRAIN_LIMIT);
    stage.strike(ground, NAME).await?;
    Ok(report)
}

/// Rows whose file is not there, not as long, or not as it was.
async fn broken_files(stage: &Stage, disk: &Path) -> anyhow::Result<Vec<String>> {
    let rows: Vec<(String, String, i64)> =
        sqlx::query_as("SELECT path, sha256, bytes FROM recordings").fetch_all(&stage.db).await?;
    let is_whole = |(path, sha256, bytes): &(String, String, i64)| {
        let content = fs::read(disk.join(path)).unwrap_or_default();
        content.len() as i64 == *bytes && hex(&Sha256::digest(&content)) == *sha256
    };
    Ok(rows.into_iter().filter(|row| !is_whole(row)).map(|(path, ..)| path).collect())
}

/// A file system in memory; goes when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder)?;
        run_tool(Command::new("mount").args(["-t", "tmpfs", "-o", SMALL, "tmpfs"]).arg(&folder))?;
        Ok(Self(folder))
    }

    fn fill(&self) -> anyhow::Result<()> {
        let mut filler = File::create(self.filler())?;
        while filler.write_all(&[0; 4096]).is_ok() {}
        Ok(())
    }

    fn enlarge(&self) -> anyhow::Result<()> {
        run_tool(Command::new("mount").args(["-o", LARGE]).arg(&self.0))?;
        Ok(fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // At once, even while a process that is about to end still has a file open.
        run_tool(Command::new("umount").arg("--lazy").arg(&self.0)).ok();
    }
}

fn run_tool(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{} cannot be run", command.get_program().display()))?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
