//! What calls cost: the product's sums against the bill of those who were asked.

use goto_automation::model::CallId;
use goto_automation::pipeline::rerun::rerun;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::time::sleep;

use crate::support::{Answer, FrontDoor, PRICES, Product, SECRET, ScriptedUpstream, charged, price_list};

/// A product at rest that knows these prices.
async fn priced(prices: &str) -> (Product, NamedTempFile) {
    let file = price_list(prices);
    let product = Product::at_rest(&[("PRICE_LIST", file.path().to_str().unwrap())]).await;
    (product, file)
}

/// Puts a script before the language model.
async fn scripted(product: &mut Product, answers: impl IntoIterator<Item = Answer>) -> ScriptedUpstream {
    let upstream = ScriptedUpstream::before(&product.standins.openai_url).await;
    upstream.answer_next(answers);
    product.set(&[("ANALYSIS_BASE_URL", upstream.url.as_str())]);
    upstream
}

/// `cost` of a call, as the API tells it.
async fn cost_of(product: &Product, id: CallId) -> Value {
    let door = FrontDoor::on(product.pool().clone(), &[SECRET]).await;
    let key = door.key(&["calls:read"]).await;
    let (status, call) = door.ask(&key, &format!("/api/calls/{id}")).await;
    assert_eq!(status, 200, "{call}");
    let (_, list) = door.ask(&key, "/api/calls/").await;
    let listed = list["items"].as_array().unwrap().iter().find(|item| item["id"] == call["id"]).unwrap();
    assert_eq!(listed["cost"], call["cost"]);
    call["cost"].clone()
}

#[tokio::test]
async fn what_calls_cost_is_what_is_charged() {
    let (mut product, _prices) = priced(PRICES).await;
    product.work();
    let ids = [product.ring("double-charge").await, product.ring("mono").await, product.ring_with(None).await];
    product.drain().await;
    rerun(product.pool(), &product.waker, ids[0], "analyze", false).await.unwrap();
    product.drain().await;

    let mut sum = 0;
    for id in ids {
        let cost = cost_of(&product, id).await;
        assert_eq!((&cost["currency"], &cost["waste_micro_units"]), (&json!("USD"), &json!(0)), "{cost}");
        sum += cost["micro_units"].as_i64().unwrap();
    }
    let bill = product.standins.bill();
    assert!(bill.audio_seconds > 10.0 && bill.input_tokens > 100 && bill.output_tokens > 10, "{bill:?}");
    // Each attempt is rounded by itself.
    assert!((sum - charged(bill)).abs() <= 2, "{sum} and {bill:?}");
    assert_eq!(cost_of(&product, ids[2]).await["micro_units"], 0);
}

#[tokio::test]
async fn useless_answers_are_paid_for_and_are_waste() {
    let (mut product, _prices) = priced(PRICES).await;
    let lost = Answer::new(200, "<html>gateway</html>");
    let empty = json!({"model": "stand-in", "choices": [{"finish_reason": "stop", "message": null}],
        "usage": {"prompt_tokens": 500, "completion_tokens": 7}});
    let _model = scripted(&mut product, [lost, Answer::new(200, empty.to_string())]).await;
    product.work();
    let id = product.ring("double-charge").await;
    product.until(id, "completed").await;
    product.drain().await;

    let costs: Vec<_> = product.attempts(id).await.into_iter().filter(|attempt| attempt.step == "analyze").collect();
    let seen: Vec<_> = costs.iter().map(|attempt| (attempt.outcome.as_str(), attempt.input_tokens)).collect();
    assert_eq!(seen[..2], [("retry", 0), ("retry", 500)], "nobody told what the lost answer has used");
    let cost = cost_of(&product, id).await;
    assert_eq!(cost["waste_micro_units"], 514);
    assert_eq!(cost["steps"][2]["waste_micro_units"], 514, "{cost}");
    let total = cost["micro_units"].as_i64().unwrap();
    assert!((total - 514 - charged(product.standins.bill())).abs() <= 1, "{cost}");
}

#[tokio::test]
async fn a_model_without_a_price_is_named_and_costs_nobody_knows_what() {
    let (mut product, _prices) = priced(PRICES).await;
    // Its answer is no analysis, so that the stand-in is asked to repair it: one attempt with two models.
    let _model = scripted(&mut product, [Answer::said("gpt-x", "{}", 500, 7)]).await;
    product.work();
    let id = product.ring("double-charge").await;
    product.until(id, "completed").await;
    product.drain().await;
    let cost = cost_of(&product, id).await;
    assert_eq!((&cost["micro_units"], &cost["unpriced_models"]), (&Value::Null, &json!(["gpt-x"])), "{cost}");
    assert_eq!((&cost["steps"][2]["micro_units"], &cost["waste_micro_units"]), (&Value::Null, &json!(0)), "{cost}");
    assert!(cost["steps"][1]["micro_units"].as_i64().unwrap() > 1_000_000, "{cost}");
}

#[tokio::test]
async fn what_a_killed_worker_had_paid_is_counted_by_the_next_one() {
    let (mut product, _prices) = priced(PRICES).await;
    let model = scripted(&mut product, [Answer::said("stand-in", "{}", 500, 7), Answer::never()]).await;
    let first = product.worker();
    let id = product.ring("double-charge").await;
    while !model.is_told_out() {
        sleep(std::time::Duration::from_millis(20)).await;
    }
    first.signal(Signal::SIGKILL);
    let _second = product.worker();
    product.until(id, "completed").await;
    product.drain().await;

    let attempts = product.attempts(id).await;
    let seen: Vec<_> = attempts.iter().filter(|attempt| attempt.step == "analyze").collect();
    assert_eq!((seen[0].outcome.as_str(), seen[0].cost_micro_units), ("lost", Some(0)));
    let total = cost_of(&product, id).await["micro_units"].as_i64().unwrap();
    assert!((total - 514 - charged(product.standins.bill())).abs() <= 1, "{attempts:#?}");

    // Counted once: the analysis of another run pays for itself alone.
    let before = product.standins.bill();
    rerun(product.pool(), &product.waker, id, "analyze", false).await.unwrap();
    product.drain().await;
    let more = charged(product.standins.bill()) - charged(before);
    assert_eq!(cost_of(&product, id).await["micro_units"], total + more);
}
