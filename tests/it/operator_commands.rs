//! What operators type to pause, count, retry and cancel, and what people see of it.

use serde_json::json;

use crate::commands::typed;
use crate::support::{FrontDoor, Product, SECRET};

/// Calls that have failed at their download, for good.
async fn failed_calls(product: &Product, calls: usize) {
    let gone = product.standins.recordings_url.as_str().replace("http:", "ftp:");
    for _ in 0..calls {
        product.ring_with(Some(&gone)).await;
    }
    product.drain().await;
}

#[tokio::test]
async fn a_pause_is_seen_wherever_somebody_looks() {
    let product = Product::at_rest(&[]).await;
    let paused = typed(&product, &["jobs", "pause", "transcribe", "--reason", "The vendor is moving."]).await;
    assert!(paused.page().contains("goto-automation jobs resume transcribe"), "{}", paused.out);
    let worker = product.worker();
    let id = product.ring("double-charge").await;
    while product.count("SELECT count(*) FROM jobs WHERE step = 'transcribe'").await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }

    let id = id.to_string();
    for arguments in
        [&["calls", "show", &id][..], &["jobs", "list"], &["jobs", "stats"], &["jobs", "pause", "transcribe"]]
    {
        let page = typed(&product, arguments).await;
        let text = page.page().split_whitespace().collect::<Vec<_>>().join(" ");
        let who =
            text.split("transcribe is paused by ").nth(1).unwrap_or_else(|| panic!("{arguments:?}: {}", page.out));
        assert!(who.contains(" since Today ") && who.contains(": The vendor is moving. To let it go on:"), "{text}");
        assert!(text.contains("goto-automation jobs resume transcribe"), "{text}");
    }
    let door = FrontDoor::on(product.pool().clone(), &[SECRET]).await;
    let health: serde_json::Value = door.get("/health").send().await.unwrap().json().await.unwrap();
    let queue = &health["components"]["queue"];
    assert_eq!((&health["status"], &queue["status"]), (&json!("degraded"), &json!("degraded")));
    let detail = queue["detail"].as_str().unwrap();
    assert!(detail.contains("transcribe is paused since") && !detail.contains('@'), "names nobody: {detail}");

    let resumed = typed(&product, &["jobs", "resume", "transcribe"]).await;
    assert_eq!(resumed.page(), "transcribe goes on, within 2 s.\n");
    product.drain().await;
    assert_eq!(product.call(id.parse().unwrap()).await.state, "completed");
    drop(worker);
}

#[tokio::test]
async fn all_that_match_are_counted_and_nothing_is_done_without_a_yes() {
    let product = Product::start().await;
    failed_calls(&product, 3).await;
    let bulk = ["jobs", "retry", "--state", "failed", "--step", "download"];
    let with = |more: &[&'static str]| [&bulk[..], more].concat();

    let refused = typed(&product, &bulk).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.out.contains("   3  download  Failed"), "{}", refused.out);
    assert!(refused.err.contains("Retry 3 jobs?") && refused.err.contains("--yes"), "{}", refused.err);
    let looked = typed(&product, &with(&["--dry-run", "--json"])).await.json();
    assert_eq!((&looked["matched"], &looked["changed"], &looked["dry_run"]), (&json!(3), &json!(0), &json!(true)));
    assert_eq!(looked["breakdown"][0]["jobs"], 3);
    assert_eq!(product.count("SELECT count(*) FROM jobs WHERE starts > 1").await, 0);

    let done = typed(&product, &with(&["--yes"])).await;
    assert!(done.page().ends_with("3 jobs are due now.\n"), "{}", done.out);
    product.drain().await;
    assert_eq!(product.count("SELECT count(*) FROM jobs WHERE starts = 2 AND state = 'failed'").await, 3);
    let nobody = typed(&product, &["jobs", "retry", "--class", "poison", "--yes"]).await;
    assert_eq!(nobody.page(), "No job is like that, so none is retried.\n");

    let written: Vec<(String, String, i64, String)> =
        sqlx::query_as("SELECT actor, object, affected, result FROM audit_log")
            .fetch_all(product.pool())
            .await
            .unwrap();
    assert_eq!(written.len(), 1, "{written:?}");
    let (actor, object, affected, result) = &written[0];
    assert!(actor.contains('@'), "{actor}");
    assert_eq!((object.as_str(), *affected, result.as_str()), ("failed jobs, of step download", 3, "done"));
}

#[tokio::test]
async fn which_jobs_must_be_said() {
    let product = Product::at_rest(&[]).await;
    for arguments in [
        &["jobs", "retry"][..],
        &["jobs", "cancel"],
        &["jobs", "retry", "7", "--step", "notify"],
        &["jobs", "retry", "7", "--dry-run"],
        &["jobs", "limit", "notify", "0"],
        &["jobs", "pause", "nothing"],
        &["jobs", "cancel", "--older-than", "long"],
        &["jobs", "cancel", "--class", "nothing_like_it"],
    ] {
        assert_eq!(typed(&product, arguments).await.code, Some(2), "{arguments:?}");
    }
    assert_eq!(typed(&product, &["jobs", "cancel", "7"]).await.code, Some(1));
}

#[tokio::test]
async fn a_call_whose_job_was_cancelled_has_failed_until_it_is_retried() {
    let mut product = Product::at_rest(&[]).await;
    let id = product.ring("double-charge").await;
    let call = id.to_string();
    let cancelled =
        typed(&product, &["jobs", "cancel", "--call", &call, "--note", "Not ours.", "--yes", "--json"]).await.json();
    assert_eq!((&cancelled["action"], &cancelled["changed"]), (&json!("cancel"), &json!(1)));
    let failed = product.call(id).await;
    let reason = failed.state_reason.unwrap();
    assert_eq!(failed.state, "failed");
    assert!(reason.starts_with("Cancelled by ") && reason.ends_with(": Not ours."), "{reason}");

    let shown = typed(&product, &["calls", "show", &call]).await;
    assert!(shown.page().contains("Should it be done after all:"), "{}", shown.out);
    let retried = typed(&product, &["jobs", "retry", "--state", "cancelled", "--call", &call, "--yes"]).await;
    assert_eq!(retried.code, Some(0), "{}", retried.err);
    product.work();
    product.until(id, "completed").await;
    assert_eq!((product.standins.outbox.slack().len(), product.standins.outbox.mail().len()), (1, 1));
}
