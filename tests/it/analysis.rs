//! What becomes of answers of the language model that are badly formed, too long, or not true.

use goto_automation::model::CallId;
use goto_automation::store::summaries::{self, StoredAnalysis};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Answer, FrontDoor, Product, SECRET, ScriptedUpstream};

/// A product whose language model answers as told.
async fn scripted(settings: &[(&str, &str)]) -> (Product, ScriptedUpstream) {
    let mut product = Product::at_rest(settings).await;
    let upstream = ScriptedUpstream::before(&product.standins.openai_url).await;
    product.set(&[("ANALYSIS_BASE_URL", upstream.url.as_ref())]);
    product.work();
    (product, upstream)
}

/// A model's answer with this content.
fn said(content: &str) -> Answer {
    let choice = json!({"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}});
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110});
    Answer::new(200, json!({"model": "scripted", "choices": [choice], "usage": usage}).to_string())
}

async fn analysis(product: &Product, id: CallId) -> StoredAnalysis {
    summaries::analysis(product.pool(), id).await.unwrap().expect("the call is analyzed")
}

async fn paid(product: &Product) -> i64 {
    product.count("SELECT count(*) FROM step_answers WHERE step = 'analyze'").await
}

#[rstest]
#[case::no_json("Sure! The customer was charged twice.")]
#[case::nothing("")]
#[case::an_empty_summary("{\"summary\":\"\"}")]
#[tokio::test]
async fn an_answer_out_of_form_is_mended_once(#[case] content: &str) {
    let (product, model) = scripted(&[]).await;
    model.answer_next([said(content)]);
    let id = product.ring("double-charge").await;
    product.until(id, "completed").await;
    let analysis = analysis(&product, id).await;
    assert!(analysis.statements.iter().all(|statement| statement.supported), "{analysis:#?}");
    let attempts = product.attempts(id).await;
    let asked: Vec<_> = attempts.iter().filter(|attempt| attempt.step == "analyze").collect();
    assert_eq!((asked.len(), asked[0].outcome.as_str()), (1, "completed"), "mended within the attempt");
    assert!(asked[0].input_tokens > 100, "both answers are counted");
    assert_eq!((paid(&product).await, product.standins.requests("language_model")), (2, 1));
}

#[tokio::test]
async fn a_model_that_never_keeps_the_form_fails_with_a_sentence_and_without_its_words() {
    let (product, model) = scripted(&[]).await;
    model.answer_next([said("Four four one seven!"), said("{\"statements\": \"four four one seven\"}")]);
    let id = product.ring("double-charge").await;
    let call = product.until(id, "failed").await;
    let reason = call.state_reason.unwrap();
    assert!(reason.contains("ANALYSIS_MODEL") && reason.ends_with("run the job again."), "{reason}");
    assert!(!reason.contains("four"), "{reason}");
    assert_eq!(product.standins.requests("language_model"), 0, "asked twice, not more");
}

#[tokio::test]
async fn a_server_that_knows_no_schema_is_asked_more_simply() {
    let (product, model) = scripted(&[]).await;
    let refusal = json!({"error": {"message": "'response_format.type' must be text", "type": "invalid_request_error",
        "param": "response_format", "code": null}});
    model.answer_next([Answer::new(400, refusal.to_string()), Answer::new(400, refusal.to_string())]);
    let id = product.ring("double-charge").await;
    product.until(id, "completed").await;
    assert!(analysis(&product, id).await.statements.iter().all(|statement| statement.supported));
    let attempts = product.attempts(id).await;
    assert!(attempts.iter().all(|attempt| attempt.attempt == 1), "no attempt is lost: {attempts:#?}");
}

#[tokio::test]
async fn what_the_call_does_not_bear_out_is_marked_and_alarms_nobody() {
    let (product, model) = scripted(&[]).await;
    let answer = json!({
        "statements": [
            {"text": "The number of the October invoice is 4417.", "evidence": [1]},
            {"text": "Karen promised $500 by Monday.", "evidence": [2]}],
        "sentiment": "negative", "urgency": 5, "topics": ["billing"],
        "action_items": [
            {"text": "Refund the second charge", "owner": "Dana", "due_words": "today", "due_date": null, "evidence": [0, 2]},
            {"text": "Refund the second charge", "owner": "Karen", "due_words": "by Monday", "due_date": "2026-01-12", "evidence": [2]}]});
    model.answer_next([said(&answer.to_string())]);
    let id = product.ring("double-charge").await;
    product.until(id, "completed").await;
    let analysis = analysis(&product, id).await;
    let supported: Vec<_> = analysis.statements.iter().map(|statement| statement.supported).collect();
    assert_eq!((supported, analysis.urgency, analysis.parts), (vec![true, false], 3, None));
    let items = summaries::action_items(product.pool(), id).await.unwrap();
    let items: Vec<_> = items.iter().map(|item| (item.supported, item.due_at.map(|at| at.to_rfc3339()))).collect();
    assert_eq!(items, [(true, Some("2026-01-05T23:59:00+00:00".to_owned())), (false, None)]);
    let slack = product.standins.outbox.slack()[0].body.to_string();
    assert!(slack.contains("Karen promised $500 by Monday. (not confirmed by the transcript)"), "{slack}");
}

/// What a model may claim of the call `double-charge` that is not so, with lines that exist.
const FALSE: [(&str, &[i32]); 9] = [
    ("Karen is sorry about the second charge.", &[2]),
    ("The number of the October invoice is 4471.", &[1]),
    ("The customer was charged 500 dollars for the October invoice.", &[1]),
    ("The customer was charged for the September invoice.", &[1]),
    ("The refund takes until January 12.", &[4]),
    ("The refund takes three to five weeks.", &[4]),
    ("The customer said “I want to speak to your manager”.", &[1]),
    ("The number of the October invoice is 4417 too.", &[5]),
    ("The customer is furious and will sue.", &[1]),
];
/// What is so.
const TRUE: [(&str, &[i32]); 3] = [
    ("The number of the October invoice is 4417.", &[1]),
    ("The refund takes three to five business days.", &[4]),
    ("The customer said “how long will the refund take”.", &[3]),
];

#[tokio::test]
async fn planted_claims_are_marked_wherever_people_read_and_true_ones_are_not() {
    let (product, model) = scripted(&[]).await;
    let statement = |(text, evidence): &(&str, &[i32])| json!({"text": text, "evidence": evidence});
    let item = |text: &str, owner: &str, due_words: Option<&str>, evidence: &[i32]| {
        json!({"text": text, "owner": owner,
        "due_words": due_words, "due_date": null, "evidence": evidence})
    };
    let items = [
        item("Refund the second charge", "Karen", None, &[2]),
        item("Send a confirmation by email", "customer", Some("by Monday"), &[4]),
        item("Close the account", "Dana", None, &[0, 2]),
        item("Refund the second charge", "Dana", None, &[0, 2]),
    ];
    let answer = json!({"sentiment": "negative", "urgency": 5, "topics": ["billing"], "action_items": items,
        "statements": FALSE.iter().chain(&TRUE).map(statement).collect::<Vec<_>>()});
    model.answer_next([said(&answer.to_string())]);
    let id = product.ring("double-charge").await;
    product.until(id, "completed").await;
    product.drain().await;

    let door = FrontDoor::on(product.pool().clone(), &[SECRET]).await;
    let (_, call) = door.ask(&door.key(&["calls:read"]).await, &format!("/api/calls/{id}")).await;
    let supported = |list: &Value| -> Vec<bool> {
        list.as_array().unwrap().iter().map(|claim| claim["supported"].as_bool().unwrap()).collect()
    };
    assert_eq!(supported(&call["statements"]), [[false; 9].as_slice(), &[true; 3]].concat(), "{call:#}");
    assert_eq!(supported(&call["action_items"]), [false, false, false, true], "{call:#}");
    assert_eq!(call["urgency"], 3, "nobody is alarmed");

    let (slack, mail) = (&product.standins.outbox.slack()[0].body, &product.standins.outbox.mail()[0]);
    let mut told = String::new();
    texts(slack, &mut told);
    for text in [told, mail.text.clone().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")] {
        assert_eq!(text.matches("(not confirmed by the transcript)").count(), 9 + 3, "{text}");
        assert!(FALSE.iter().all(|(claim, _)| text.contains(&format!("{claim} (not confirmed"))), "{text}");
        assert!(TRUE.iter().all(|(claim, _)| text.contains(claim)), "{text}");
        assert!(!TRUE.iter().any(|(claim, _)| text.contains(&format!("{claim} (not confirmed"))), "{text}");
    }
    let subject = mail.subject.as_deref().unwrap();
    assert!(subject.ends_with(TRUE[0].0) && !subject.contains("(AI)"), "a true one, and no alarm: {subject}");
}

/// All texts of a message, one after the other.
fn texts(message: &Value, into: &mut String) {
    match message {
        Value::String(text) => into.extend([text, " "]),
        Value::Array(values) => values.iter().for_each(|value| texts(value, into)),
        Value::Object(fields) => {
            fields.iter().filter(|(name, _)| *name != "type").for_each(|(_, value)| texts(value, into));
        }
        _ => {}
    }
}

#[tokio::test]
async fn a_long_call_is_read_in_parts_and_says_so() {
    let (product, _model) = scripted(&[("ANALYSIS_MAX_INPUT_TOKENS", "2000")]).await;
    let id = product.ring("double-charge").await;
    product.until(id, "completed").await;
    assert_eq!(analysis(&product, id).await.parts, None, "a short call is not cut");

    // The same call again, as if it had gone on for hours.
    let words = "and that is all I know about the matter at the moment, thank you ".repeat(60);
    let statement = "UPDATE call_summaries SET transcript = jsonb_set(transcript, '{segments}', (SELECT jsonb_agg(
        jsonb_set(turn, '{text}', to_jsonb((turn ->> 'text') || ' ' || $1))) FROM jsonb_array_elements(transcript -> 'segments') turn))";
    sqlx::query(statement).bind(&words).execute(product.pool()).await.unwrap();
    let asked = product.standins.requests("language_model");
    goto_automation::pipeline::rerun::rerun(product.pool(), &product.waker, id, "analyze", false).await.unwrap();
    product.until(id, "completed").await;
    product.drain().await;
    let analysis = analysis(&product, id).await;
    let parts = u64::try_from(analysis.parts.expect("it says so")).unwrap();
    assert!(parts >= 3, "{parts}");
    let questions = product.standins.requests("language_model") - asked;
    assert!(questions > parts, "one a part, and merging: {questions}");
    let stored: Value =
        sqlx::query_scalar("SELECT to_jsonb(count(*)) FROM step_answers WHERE step = 'analyze' AND run = 2")
            .fetch_one(product.pool())
            .await
            .unwrap();
    assert_eq!(stored, json!(questions), "each paid answer is stored under its own question");
    let named: Vec<i32> = analysis.statements.iter().flat_map(|statement| statement.evidence.clone()).collect();
    assert!(named.iter().max() > Some(&3), "lines keep their numbers: {named:?}");
}

#[tokio::test]
async fn a_question_that_the_server_finds_too_long_is_asked_in_parts() {
    let (product, model) = scripted(&[]).await;
    model.answer_next([Answer::openai(400, "invalid_request_error", "context_length_exceeded")]);
    let id = product.ring("double-charge").await;
    product.until(id, "completed").await;
    let parts = analysis(&product, id).await.parts.expect("it says so");
    assert!(parts >= 2, "{parts}");
    let attempts = product.attempts(id).await;
    assert!(attempts.iter().all(|attempt| attempt.attempt == 1), "{attempts:#?}");
}
