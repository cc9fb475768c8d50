//! What an operator types, and what it prints.

use goto_automation::store;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::process::Command;

use crate::support::Product;

/// What a command printed.
pub struct Printed {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Printed {
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.err);
        serde_json::from_str(&self.out).unwrap()
    }

    /// Everything fits 80 columns, and nothing but the product's own words moves the cursor.
    pub fn page(&self) -> &str {
        assert_eq!(self.code, Some(0), "{}", self.err);
        for line in self.out.lines() {
            assert!(line.chars().count() <= 80 && !line.contains(char::is_control), "{line:?}");
        }
        &self.out
    }
}

/// Runs the real program against the product's database, on a screen of 80 columns.
pub async fn typed(product: &Product, arguments: &[&str]) -> Printed {
    let database = product.config.require_database().unwrap().url.expose_secret();
    let output = Command::new(env!("CARGO_BIN_EXE_goto-automation"))
        .args(arguments)
        .env_clear()
        .env("DATABASE_URL", database)
        .env("COLUMNS", "80")
        .current_dir(std::env::temp_dir())
        .output()
        .await
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Printed { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[tokio::test]
async fn a_finished_call_is_shown_in_full() {
    let product = Product::start().await;
    let id = product.ring("double-charge").await;
    let call = product.until(id, "completed").await;

    let listed = typed(&product, &["calls", "list"]).await;
    assert!(listed.page().contains("Example Ca") && listed.out.contains("Completed"), "{}", listed.out);
    let shown = typed(&product, &["calls", "show", &call.external_id, "--transcript"]).await;
    for part in [
        "Summary",
        "Action items",
        "Slack to",
        "Sent",
        "by a stand-in",
        "Customer",
        "Recording downloaded",
        "Nothing is to do",
    ] {
        assert!(shown.page().contains(part), "{part}: {}", shown.out);
    }
    assert!(shown.out.contains("Cost        Unknown: no price for stand-in (transcribe unknown"), "{}", shown.out);
    let json = typed(&product, &["calls", "show", &id.to_string(), "--json"]).await.json();
    assert_eq!(json["cost"]["unpriced_models"], serde_json::json!(["stand-in"]));
    assert_eq!((&json["state"], &json["attempts"][0]["outcome"]), (&"completed".into(), &"completed".into()));
    assert_eq!(typed(&product, &["calls", "list", "--json"]).await.json()["items"][0]["summary"], json["summary"]);
    let job = json["jobs"][0]["id"].to_string();
    assert!(typed(&product, &["jobs", "show", &job]).await.page().contains("Example Caller"));
    assert!(typed(&product, &["jobs", "list"]).await.page().contains("transcribe"));

    // From the analysis on, everything again but the messages.
    let again = typed(&product, &["calls", "rerun", &id.to_string(), "--from", "analyze", "--json"]).await.json();
    assert_eq!(again["run"], 2);
    product.drain().await;
    assert_eq!(product.standins.outbox.slack().len(), 1);
    assert!(typed(&product, &["calls", "show", &call.external_id]).await.page().contains("Run 2, from analyze on"));
}

#[tokio::test]
async fn a_failed_job_says_what_to_type_and_runs_again() {
    let product = Product::start().await;
    let gone = product.standins.recordings_url.join("../gone").unwrap();
    let id = product.ring_with(Some(&gone.as_str().replace("http:", "ftp:"))).await;
    product.until(id, "failed").await;

    let jobs = typed(&product, &["jobs", "list", "--state", "failed", "--json"]).await.json();
    let job = jobs["items"][0]["id"].to_string();
    let shown = typed(&product, &["calls", "show", &id.to_string()]).await;
    assert!(shown.page().contains(&format!("goto-automation jobs retry {job}")), "{}", shown.out);
    let retried = typed(&product, &["jobs", "retry", &job]).await;
    assert_eq!(retried.out, format!("Job {job} is due now, with all its attempts.\n"));
    product.drain().await;
    assert_eq!(product.attempts(id).await.len(), 2);
}

#[tokio::test]
async fn a_worker_without_steps_is_wrong_usage() {
    let product = Product::at_rest(&[]).await;
    for flag in ["--steps=", "--concurrency= "] {
        let printed = typed(&product, &["worker", flag]).await;
        assert_eq!(printed.code, Some(2), "{}", printed.err);
        assert!(printed.err.contains("is empty. Name steps"), "{}", printed.err);
    }
}

#[tokio::test]
async fn what_is_not_there_exits_with_1() {
    let product = Product::at_rest(&[]).await;
    for arguments in
        [&["calls", "show", "nobody"][..], &["jobs", "show", "7"], &["jobs", "retry", "7"], &["keys", "revoke", "x"]]
    {
        assert_eq!(typed(&product, arguments).await.code, Some(1), "{arguments:?}");
    }
    for arguments in [&["calls", "list"], &["jobs", "list"], &["keys", "list"]] {
        assert!(typed(&product, arguments).await.page().contains("yet"), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_key_is_printed_alone_and_ends_at_once() {
    let product = Product::at_rest(&[]).await;
    let made = typed(&product, &["keys", "create", "--name", "test", "--expires", "90d"]).await;
    let key = made.out.strip_suffix('\n').unwrap();
    let prefix = key.split('_').nth(1).unwrap();
    assert!(key.starts_with("gta_") && !made.err.contains(key), "{}", made.err);
    let mut db = product.pool().acquire().await.unwrap();
    assert!(store::keys::active(&mut db, prefix).await.unwrap().is_some());
    assert!(typed(&product, &["keys", "list"]).await.page().contains(prefix));
    assert_eq!(typed(&product, &["keys", "revoke", prefix]).await.code, Some(0));
    assert!(store::keys::active(&mut db, prefix).await.unwrap().is_none());
}
