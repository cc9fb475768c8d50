//! The transcription server.

use goto_automation::dev::standins::Upstream;
use goto_automation::store;
use rstest::rstest;

use super::{IMPATIENT, assert_paid_once, assert_sentence, rule, told, tries};
use crate::support::Product;

/// With the rule that strikes the first piece.
async fn struck_once(fault: &str) -> Product {
    let plan = rule("speech", fault, &["first = 1", "wait_seconds = 1"]);
    Product::start_under(&plan, &[IMPATIENT]).await
}

#[rstest]
#[case("rate_limited", "rate_limited")]
#[case("rate_limited_date", "rate_limited")]
#[case("rate_limited_text", "rate_limited")]
#[case("insufficient_quota", "quota")]
#[case("unauthorized", "key_refused")]
#[case("forbidden", "not_permitted")]
#[case("model_not_found", "not_found")]
#[tokio::test]
async fn who_must_wait_waits_without_using_attempts(#[case] fault: &str, #[case] class: &str) {
    let product = struck_once(fault).await;
    let id = product.ring("appointment").await;
    let waiting = product.until(id, "waiting").await;
    assert_sentence(waiting.state_reason.as_deref());
    product.until(id, "completed").await;
    assert_eq!(tries(&product, id, "transcribe").await, told(&[("waiting", class), ("completed", "")]));
    assert_paid_once(&product, Upstream::Speech, "transcribe").await;
}

#[rstest]
#[case("server_error", "server_error")]
#[case("bad_gateway", "server_error")]
#[case("unavailable", "server_error")]
#[case("cut_off", "connection_lost")]
#[case("reset", "connection_lost")]
#[case("silence", "timeout")]
#[case("not_json", "bad_answer")]
#[case("html", "bad_answer")]
#[tokio::test]
async fn what_broke_is_asked_again_and_nothing_else(#[case] fault: &str, #[case] class: &str) {
    let product = struck_once(fault).await;
    let id = product.ring("appointment").await;
    product.until(id, "completed").await;
    assert_eq!(tries(&product, id, "transcribe").await, told(&[("retry", class), ("completed", "")]));
    assert_paid_once(&product, Upstream::Speech, "transcribe").await;
}

#[rstest]
#[case("too_long", "bad_request")]
#[case("bad_file", "bad_request")]
#[case("detail", "bad_request")]
#[case("too_large", "too_large")]
#[case("request_too_large", "request_too_large")]
#[tokio::test]
async fn what_will_never_do_fails_with_a_sentence(#[case] fault: &str, #[case] class: &str) {
    let product = struck_once(fault).await;
    let id = product.ring("appointment").await;
    let call = product.until(id, "failed").await;
    assert_sentence(call.state_reason.as_deref());
    assert_eq!(tries(&product, id, "transcribe").await, told(&[("failed", class)]));
}

#[tokio::test]
async fn a_call_in_which_nothing_is_heard_says_so() {
    let product = Product::start_under(&rule("speech", "empty_text", &[]), &[]).await;
    let id = product.ring("appointment").await;
    product.until(id, "completed").await;
    let analysis = store::summaries::analysis(product.pool(), id).await.unwrap().unwrap();
    assert!(analysis.statements[0].text.contains("Nobody spoke"), "{analysis:#?}");
    assert_eq!(product.standins.requests("language_model"), 0, "there is nothing to ask about");
}
