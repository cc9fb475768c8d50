//! The recording host.

use goto_automation::dev::standins::Upstream;
use rstest::rstest;

use super::{IMPATIENT, assert_sentence, effects, files, rule, told, tries};
use crate::support::Product;

const LIMITS: [(&str, &str); 2] = [IMPATIENT, ("RECORDING_MAX_BYTES", "1MB")];

#[rstest]
#[case("not_found", "not_ready")]
#[case("accepted", "not_ready")]
#[case("unauthorized", "key_refused")]
#[case("rate_limited", "rate_limited")]
#[tokio::test]
async fn what_passes_is_waited_for_without_using_attempts(#[case] fault: &str, #[case] class: &str) {
    let plan = rule("recordings", fault, &["first = 2", "wait_seconds = 1"]);
    let product = Product::start_under(&plan, &[]).await;
    let id = product.ring("appointment").await;
    let waiting = product.until(id, "waiting").await;
    assert_sentence(waiting.state_reason.as_deref());
    product.until(id, "completed").await;
    let expected = told(&[("waiting", class), ("waiting", class), ("completed", "")]);
    assert_eq!(tries(&product, id, "download").await, expected);
}

#[rstest]
#[case("server_error", "server_error")]
#[case("unavailable", "server_error")]
#[case("cut_off", "connection_lost")]
#[case("reset", "connection_lost")]
#[case("silence", "timeout")]
#[case("slow_drip", "timeout")]
#[tokio::test]
async fn what_broke_is_tried_again_and_nothing_half_is_kept(#[case] fault: &str, #[case] class: &str) {
    let product = Product::start_under(&rule("recordings", fault, &["first = 1"]), &LIMITS).await;
    let id = product.ring("appointment").await;
    product.until(id, "completed").await;
    assert_eq!(tries(&product, id, "download").await, told(&[("retry", class), ("completed", "")]));
    assert_eq!(files(&product), 1, "the whole recording, and no part of it");
}

#[rstest]
#[case("forbidden", "link_refused")]
#[case("gone", "link_refused")]
#[case("html", "not_audio")]
#[case("empty", "not_audio")]
#[case("wrong_type", "not_audio")]
#[case("endless", "recording_too_large")]
#[case("redirect_elsewhere", "refused_host")]
#[case("redirect_private", "refused_host")]
#[case("redirect_file", "refused_redirect")]
#[case("redirect_loop", "refused_redirect")]
#[tokio::test]
async fn what_is_no_recording_fails_with_a_sentence_and_leaves_nothing(#[case] fault: &str, #[case] class: &str) {
    let product = Product::start_under(&rule("recordings", fault, &[]), &LIMITS).await;
    let id = product.ring("appointment").await;
    let call = product.until(id, "failed").await;
    assert_sentence(call.state_reason.as_deref());
    assert_eq!(tries(&product, id, "download").await, told(&[("failed", class)]));
    assert_eq!((files(&product), product.count("SELECT count(*) FROM recordings").await), (0, 0));
    assert!(effects(&product, Upstream::Recordings).is_empty());
}

#[tokio::test]
async fn a_wrong_label_is_overlooked() {
    let product = Product::start_under(&rule("recordings", "mislabelled", &[]), &[]).await;
    let id = product.ring("appointment").await;
    product.until(id, "completed").await;
}

#[tokio::test]
async fn a_redirect_is_followed_to_an_allowed_host_without_our_key() {
    let product = Product::start_under(&rule("recordings", "redirect_allowed", &[]), &[]).await;
    let id = product.ring("appointment").await;
    product.until(id, "completed").await;
    let handed_out = effects(&product, Upstream::Recordings);
    assert_eq!(handed_out.len(), 1, "the signed link refuses whoever shows a key");
    assert!(handed_out[0].subject.contains("/signed/"));
}
