//! The transcription server.

use goto_automation::dev::standins::{Fixtures, Upstream};
use goto_automation::store;
use rstest::rstest;

use super::{IMPATIENT, assert_paid_once, assert_sentence, effects, rule, told, tries};
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
#[case("bad_file")]
#[case("detail")]
#[tokio::test]
async fn what_will_never_do_fails_with_a_sentence(#[case] fault: &str) {
    let product = struck_once(fault).await;
    let id = product.ring("appointment").await;
    let call = product.until(id, "failed").await;
    assert_sentence(call.state_reason.as_deref());
    assert_eq!(tries(&product, id, "transcribe").await, told(&[("failed", "bad_request")]));
}

/// Twenty seconds of one voice without a pause: one piece.
fn one_piece() -> Vec<u8> {
    let mut reader = hound::WavReader::new(Fixtures::embedded().call("monologue").unwrap().wav.as_ref()).unwrap();
    let spec = hound::WavSpec { channels: 1, ..reader.spec() };
    let customer: Vec<i16> = reader.samples::<i16>().map(Result::unwrap).skip(1).step_by(2).collect();
    let mut file = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
    let seconds = |seconds: usize| seconds * spec.sample_rate as usize;
    customer[..seconds(20)].iter().for_each(|sample| writer.write_sample(*sample).unwrap());
    writer.finalize().unwrap();
    file.into_inner()
}

/// The words of that piece as a product hears them, and how many pieces they were heard in.
async fn words_of_one_piece(product: &Product) -> (String, usize) {
    let id = product.ring_with_file("piece.wav", one_piece()).await;
    product.until(id, "completed").await;
    assert_paid_once(product, Upstream::Speech, "transcribe").await;
    let transcript = store::summaries::transcript(product.pool(), id).await.unwrap().unwrap();
    let texts: Vec<_> = transcript.segments.into_iter().map(|segment| segment.text).collect();
    (texts.join(" "), effects(product, Upstream::Speech).len())
}

/// The refused request is followed by one for each half, and nobody fails.
#[rstest]
#[case("too_long")]
#[case("too_large")]
#[case("request_too_large")]
#[tokio::test]
async fn what_is_too_much_at_once_is_asked_in_halves(#[case] fault: &str) {
    let (whole, pieces) = words_of_one_piece(&Product::start().await).await;
    assert_eq!(pieces, 1);
    let product = struck_once(fault).await;
    assert_eq!(words_of_one_piece(&product).await, (whole, 2));
    assert_eq!(product.standins.requests("speech"), 3);
    assert_eq!(product.count("SELECT count(*) FROM job_attempts WHERE step = 'transcribe'").await, 1);
}

/// The half that was heard before the trouble is not asked for again, nor is the whole, which the server would take now.
#[tokio::test]
async fn of_two_halves_only_the_one_that_broke_is_asked_again() {
    let (whole, _) = words_of_one_piece(&Product::start().await).await;
    // The second rule sees what the first one leaves: the two halves.
    let plan = [rule("speech", "too_large", &["first = 1"]), rule("speech", "server_error", &["every = 2"])].concat();
    let product = Product::start_under(&plan, &[]).await;
    assert_eq!(words_of_one_piece(&product).await, (whole, 2));
    let seconds: f64 = effects(&product, Upstream::Speech).iter().map(|effect| effect.usage.audio_seconds).sum();
    assert!((seconds - 20.0).abs() < 1.0, "{seconds} s were paid for");
    assert_eq!(product.standins.requests("speech"), 4, "the whole, the first half, and twice the second one");
}

#[tokio::test]
async fn the_limit_of_a_server_is_learned_once_for_a_call() {
    let product = Product::start_under(&rule("speech", "ten_seconds", &[]), &[]).await;
    let (_, pieces) = words_of_one_piece(&product).await;
    assert_eq!(product.standins.requests("speech"), pieces as u64 + 1, "the whole was refused, its parts were not");
    let id = product.ring("monologue").await;
    product.until(id, "completed").await;
    let heard = effects(&product, Upstream::Speech);
    assert!(heard.iter().all(|effect| effect.usage.audio_seconds <= 10.0), "{heard:#?}");
    let refused = product.standins.requests("speech") - heard.len() as u64;
    assert_eq!(refused, 2, "one for each call");
}

#[rstest]
#[case("too_long")]
#[case("too_large")]
#[case("request_too_large")]
#[tokio::test]
async fn a_server_that_finds_everything_too_long_fails_the_call_soon(#[case] fault: &str) {
    let product = Product::start_under(&rule("speech", fault, &[]), &[]).await;
    let id = product.ring_with_file("piece.wav", one_piece()).await;
    let call = product.until(id, "failed").await;
    assert_sentence(call.state_reason.as_deref());
    assert!(call.state_reason.is_some_and(|reason| reason.contains("TRANSCRIPTION_MODEL")));
    assert_eq!(tries(&product, id, "transcribe").await, told(&[("failed", "audio_too_long")]));
    assert!(product.standins.requests("speech") <= 4, "twenty seconds, ten, five, and less");
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
