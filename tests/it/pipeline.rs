//! A call's way from its first job to the outbox.

use futures::future::join_all;
use goto_automation::model::Speaker;
use goto_automation::pipeline::rerun::rerun;
use goto_automation::store;
use rstest::rstest;
use serde_json::Value;

use crate::support::{Product, body};

#[tokio::test]
async fn a_call_goes_all_the_way() {
    let product = Product::start().await;
    let id = product.ring("double-charge").await;
    let call = product.until(id, "completed").await;
    assert_eq!((call.recording.as_str(), call.state_reason), ("available", None));

    let analysis = store::summaries::analysis(product.pool(), id).await.unwrap().unwrap();
    assert!(analysis.statements.iter().all(|statement| statement.supported), "{analysis:#?}");
    let items = store::summaries::action_items(product.pool(), id).await.unwrap();
    assert!(!items.is_empty() && items.iter().all(|item| item.supported), "{items:#?}");

    let slack = product.standins.outbox.slack();
    let mail = product.standins.outbox.mail();
    assert_eq!((slack.len(), mail.len()), (1, 1));
    let deliveries = product.deliveries(id).await;
    assert_eq!(deliveries.len(), 2);
    assert!(deliveries.iter().all(|delivery| delivery.state == "sent" && !delivery.repeated), "{deliveries:#?}");

    let attempts = product.attempts(id).await;
    let steps: Vec<_> = attempts.iter().map(|attempt| attempt.step.as_str()).collect();
    assert_eq!(steps, ["download", "transcribe", "analyze", "notify", "notify", "notify"]);
    assert!(attempts.iter().all(|attempt| attempt.outcome == "completed" && attempt.attempt == 1), "{attempts:#?}");
    assert!(attempts[1].audio_seconds > 5.0 && attempts[1].request_id.is_some(), "{attempts:#?}");
    assert!(attempts[2].input_tokens > 100 && attempts[2].output_tokens > 10, "{attempts:#?}");
    assert_eq!(attempts[2].model.as_deref(), Some("stand-in"));
}

/// Lower case, without punctuation.
fn words(text: &str) -> Vec<String> {
    let letters: String = text.chars().map(|c| if c.is_alphanumeric() || c == '\'' { c } else { ' ' }).collect();
    letters.to_lowercase().split_whitespace().map(str::to_owned).collect()
}

#[rstest]
#[case("double-charge")]
#[case("delivery-late")]
#[case("appointment")]
#[case("monologue")]
#[case("mono")]
#[tokio::test]
async fn every_word_is_heard_in_its_place_and_every_claim_is_borne_out(#[case] name: &str) {
    let product = Product::start().await;
    let id = product.ring(name).await;
    product.until(id, "completed").await;
    let transcript = store::summaries::transcript(product.pool(), id).await.unwrap().unwrap();

    let path = format!("{}/fixtures/calls/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let truth: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for speaker in [Speaker::Agent, Speaker::Customer, Speaker::Unknown] {
        let turns = truth["segments"].as_array().unwrap().iter().filter(|turn| turn["channel"] == speaker.as_str());
        // (word, when it is spoken, in milliseconds)
        let spoken: Vec<(String, i64)> = turns
            .flat_map(|turn| turn["words"].as_array().unwrap())
            .flat_map(|word| {
                let at = (word["start"].as_f64().unwrap() * 1000.0) as i64;
                words(word["word"].as_str().unwrap()).into_iter().map(move |word| (word, at))
            })
            .collect();
        let segments = transcript.segments.iter().filter(|segment| segment.speaker == speaker);
        let mut heard = Vec::new();
        for segment in segments {
            let first = heard.len();
            heard.extend(words(&segment.text));
            let off = segment.start_ms - spoken[first].1;
            assert!(off.abs() <= 2_000, "{:?} starts {off} ms off", segment.text);
        }
        let spoken: Vec<String> = spoken.into_iter().map(|(word, _)| word).collect();
        assert_eq!(heard, spoken, "what the {speaker} says");
    }

    let analysis = store::summaries::analysis(product.pool(), id).await.unwrap().unwrap();
    assert!(analysis.statements.iter().all(|statement| statement.supported), "{analysis:#?}");
    assert_eq!(i64::from(analysis.urgency), truth["analysis"]["urgency"].as_i64().unwrap());
    for item in store::summaries::action_items(product.pool(), id).await.unwrap() {
        assert!(item.supported && item.due_at.is_some() == item.due_words.is_some(), "{item:#?}");
    }
}

#[tokio::test]
async fn a_hundred_webhooks_at_once_are_one_call_and_one_message() {
    let product = Product::start().await;
    let url = product.standins.recordings_url.join("appointment.wav").unwrap();
    let body = body("call-0001", Some(url.as_str()));
    let receipts = join_all((0..100).map(|_| product.post(&body))).await;
    let count =
        |word: &str| receipts.iter().filter(|(status, receipt)| *status == 202 && receipt["status"] == word).count();
    assert_eq!((count("accepted"), count("duplicate")), (1, 99));
    product.until(receipts[0].1["call_id"].as_str().unwrap().parse().unwrap(), "completed").await;
    product.drain().await;
    assert_eq!(product.count("SELECT count(*) FROM calls").await, 1);
    assert_eq!((product.standins.outbox.slack().len(), product.standins.outbox.mail().len()), (1, 1));
}

#[tokio::test]
async fn a_call_run_again_keeps_what_was_and_sends_nothing_unless_asked() {
    let product = Product::start().await;
    let id = product.ring("double-charge").await;
    product.until(id, "completed").await;
    let again = async |step: &str, send_again| {
        let run = rerun(product.pool(), &product.waker, id, step, send_again).await.unwrap();
        product.until(id, "completed").await;
        product.drain().await;
        (run, product.standins.outbox.slack().len(), product.standins.outbox.mail().len())
    };
    let asked = product.standins.requests("speech");
    assert_eq!(again("analyze", false).await, (2, 1, 1));
    assert_eq!(product.standins.requests("speech"), asked, "the transcript is kept");
    assert_eq!(product.count("SELECT count(*) FROM call_summaries WHERE summary IS NOT NULL").await, 2);
    assert_eq!(again("notify", true).await, (3, 2, 2));
    assert_eq!(again("download", false).await, (4, 2, 2));
    let refused = rerun(product.pool(), &product.waker, id, "resolve", false).await.unwrap_err();
    assert!(refused.to_string().contains("download, transcribe, analyze, notify"), "{refused}");
}

#[tokio::test]
async fn who_was_taken_out_of_the_settings_is_told_no_more() {
    let mut product =
        Product::start_with(&[("NOTIFICATION_EMAIL_RECIPIENTS", "gone@example.com,team@example.com")]).await;
    let id = product.ring("appointment").await;
    product.until(id, "completed").await;
    sqlx::query("UPDATE deliveries SET state = 'failed' WHERE destination = 'gone@example.com'")
        .execute(product.pool())
        .await
        .unwrap();
    product.set(&[("NOTIFICATION_EMAIL_RECIPIENTS", "team@example.com,new@example.com")]);
    product.work();
    rerun(product.pool(), &product.waker, id, "notify", false).await.unwrap();
    product.drain().await;
    assert_eq!(product.call(id).await.state_reason, None, "nothing failed for somebody who is gone");
    let told: Vec<String> = product.standins.outbox.mail().into_iter().flat_map(|mail| mail.to).collect();
    let times = |name: &str| told.iter().filter(|to| to.as_str() == name).count();
    let all = ["gone@example.com", "team@example.com", "new@example.com"].map(times);
    assert_eq!(all, [1, 1, 1], "the one who was added hears of it, nobody else again");
}

#[tokio::test]
async fn a_call_without_a_recording_ends_quietly_unless_told_otherwise() {
    let product = Product::start().await;
    let quiet = product.ring_with(None).await;
    product.until(quiet, "no_recording").await;
    product.drain().await;
    assert_eq!(product.deliveries(quiet).await.len(), 0);

    let product = Product::start_with(&[("NOTIFY_NO_RECORDING", "true")]).await;
    let told = product.ring_with(None).await;
    product.until(told, "no_recording").await;
    product.drain().await;
    assert_eq!(product.call(told).await.state, "no_recording");
    assert_eq!(product.deliveries(told).await.len(), 2);
    assert_eq!(product.standins.outbox.slack().len(), 1);
}
