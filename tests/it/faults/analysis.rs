//! The language model.

use goto_automation::dev::standins::Upstream;
use goto_automation::store;
use rstest::rstest;

use super::{IMPATIENT, assert_paid_once, assert_sentence, effects, rule, told, tries};
use crate::support::Product;

/// With the rule that strikes the first question.
async fn struck_once(fault: &str) -> Product {
    let plan = rule("language_model", fault, &["first = 1", "wait_seconds = 1"]);
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
    assert_eq!(tries(&product, id, "analyze").await, told(&[("waiting", class), ("completed", "")]));
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
async fn what_broke_is_asked_again(#[case] fault: &str, #[case] class: &str) {
    let product = struck_once(fault).await;
    let id = product.ring("appointment").await;
    product.until(id, "completed").await;
    assert_eq!(tries(&product, id, "analyze").await, told(&[("retry", class), ("completed", "")]));
    assert_paid_once(&product, Upstream::LanguageModel, "analyze").await;
}

#[rstest]
#[case("too_long", "context_too_long")]
#[case("detail", "bad_request")]
#[case("too_large", "too_large")]
#[case("request_too_large", "request_too_large")]
#[case("refusal", "refused")]
#[case("content_filter", "refused")]
#[case("length", "cut_off")]
#[case("wrong_schema", "bad_answer")]
#[tokio::test]
async fn what_will_never_do_fails_with_a_sentence(#[case] fault: &str, #[case] class: &str) {
    let product = Product::start_under(&rule("language_model", fault, &[]), &[]).await;
    let id = product.ring("appointment").await;
    let call = product.until(id, "failed").await;
    assert_sentence(call.state_reason.as_deref());
    assert_eq!(tries(&product, id, "analyze").await, told(&[("failed", class)]));
    // What is too long for one answer is asked about in parts before it is given up.
    let most = if fault == "length" { 16 } else { 2 };
    let asked = effects(&product, Upstream::LanguageModel).len();
    assert!(asked <= most, "{asked} questions, {most} at most");
}

/// What an answer lacks is asked for again, in the same attempt or in the next one.
#[rstest]
#[case("length")]
#[case("wrong_schema")]
#[case("prose")]
#[case("empty_text")]
#[case("token_limit_field")]
#[tokio::test]
async fn a_slip_is_mended(#[case] fault: &str) {
    let product = struck_once(fault).await;
    let id = product.ring("appointment").await;
    product.until(id, "completed").await;
    let analysis = store::summaries::analysis(product.pool(), id).await.unwrap().unwrap();
    assert!(analysis.statements.iter().all(|statement| statement.supported), "{analysis:#?}");
    assert!(effects(&product, Upstream::LanguageModel).len() <= 2);
}

#[rstest]
#[case("fenced")]
#[case("thinking_aloud")]
#[case("reasoning_fields")]
#[tokio::test]
async fn an_answer_in_another_dress_is_understood(#[case] fault: &str) {
    let product = struck_once(fault).await;
    let id = product.ring("appointment").await;
    product.until(id, "completed").await;
    assert_eq!(tries(&product, id, "analyze").await, told(&[("completed", "")]));
    assert_eq!(effects(&product, Upstream::LanguageModel).len(), 1);
    let attempts = product.attempts(id).await;
    let attempt = attempts.iter().find(|attempt| attempt.step == "analyze").unwrap();
    assert!(
        fault != "reasoning_fields" || attempt.output_tokens > 640,
        "hidden reasoning is paid for too: {attempt:#?}"
    );
}

#[tokio::test]
async fn invented_evidence_is_marked_and_the_rest_is_not() {
    let product = struck_once("invented_evidence").await;
    let id = product.ring("appointment").await;
    product.until(id, "completed").await;
    let analysis = store::summaries::analysis(product.pool(), id).await.unwrap().unwrap();
    let (invented, said) = analysis.statements.split_first().unwrap();
    assert!(!invented.supported && invented.text.contains("sue"), "{invented:#?}");
    assert!(!said.is_empty() && said.iter().all(|statement| statement.supported), "{said:#?}");
}

/// A wrong name, amount, date and quote, a threat, and true words with the wrong line stand before what is true.
#[rstest]
#[case("appointment", 2)]
#[case("double-charge", 3)]
#[tokio::test]
async fn claims_with_wrong_evidence_are_marked_and_alarm_nobody(#[case] fixture: &str, #[case] urgency: i16) {
    let product = struck_once("wrong_evidence").await;
    let id = product.ring(fixture).await;
    product.until(id, "completed").await;
    let analysis = store::summaries::analysis(product.pool(), id).await.unwrap().unwrap();
    let (planted, said) = analysis.statements.split_at(6);
    assert!(planted.iter().all(|statement| !statement.supported), "{planted:#?}");
    assert!(said.len() >= 3 && said.iter().all(|statement| statement.supported), "{said:#?}");
    let items = store::summaries::action_items(product.pool(), id).await.unwrap();
    let told: Vec<_> = items.iter().map(|item| (item.supported, item.owner.as_deref() == Some("Zoe Quimby"))).collect();
    assert_eq!(told, [(false, true), (true, false), (true, false)], "{items:#?}");
    assert_eq!((items[0].due_at, analysis.urgency), (None, urgency));
}
