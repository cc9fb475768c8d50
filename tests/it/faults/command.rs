//! `dev --faults` on the command line.

use std::process::{Command, Output};

fn dev(plan: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.toml");
    std::fs::write(&file, plan).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_goto-automation"));
    command.args(["dev", "--port", "0", "--data-dir"]).arg(folder.path().join("data")).arg("--faults").arg(&file);
    command.env_clear().current_dir(folder.path()).output().unwrap()
}

#[test]
fn a_plan_that_makes_no_sense_is_refused_before_anything_starts() {
    let ended = dev("[[rule]]\nupstream = 'recordings'\nfault = 'gonne'\n");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{said}");
    for word in ["plan.toml", "docs/faults.md", "rule 1", "`gonne`", "gone, ", "cut_off"] {
        assert!(said.contains(word), "{word} is missing: {said}");
    }
}
