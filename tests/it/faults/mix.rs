//! Many calls at once while every upstream misbehaves in every way: each ends, nothing is done twice unseen, and what the
//! product says that it all cost is what was billed. `FAULTS_CALLS` and `FAULTS_SEED` say how many and
//! which; `scripts/faults.sh` runs it with seed after seed.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use goto_automation::dev::standins::faults::catalogue;
use goto_automation::dev::standins::{Fixtures, Upstream};
use goto_automation::model::CallId;
use goto_automation::store::deliveries::DeliveryRow;
use secrecy::ExposeSecret as _;
use tokio::time::{sleep, timeout};

use super::{assert_sentence, effects};
use crate::support::{FrontDoor, PRICES, Product, SECRET, charged, price_list};

/// At first each upstream fails in every way, one after the other, and is paused. They end within two minutes.
const CALLS: u64 = 300;
/// Webhooks under way: more would meet the front door's own limits on a busy machine.
const AT_ONCE: usize = 50;
const PATIENCE: Duration = Duration::from_mins(3);
/// Seconds of a fixture that are spoken in each call.
const SECONDS: usize = 6;
/// What an answer may lack so much that it is not kept, though it was given and paid for.
const USELESS: [&str; 5] = ["refusal", "content_filter", "length", "empty_text", "prose"];

#[tokio::test(flavor = "multi_thread")]
async fn on_a_day_when_everything_goes_wrong_every_call_ends_and_nothing_is_done_twice() {
    let (calls, seed) = (number("FAULTS_CALLS", CALLS), number("FAULTS_SEED", 20_261_122));
    let prices = price_list(PRICES);
    let known = ("PRICE_LIST", prices.path().to_str().unwrap());
    let product = Product::start_under(&plan(seed), &[&SETTINGS[..], &[known]].concat()).await;
    let recording = short_recording(&product).await;
    let rings = (0..calls).map(|call| {
        let url = format!("{recording}?call={call}");
        let product = &product;
        async move { product.ring_with(Some(&url)).await }
    });
    let ids: Vec<_> = stream::iter(rings).buffered(AT_ONCE).collect().await;
    all_end(&product).await;

    let mut states = HashMap::<String, u64>::new();
    for id in &ids {
        let call = product.call(*id).await;
        product.attempts(*id).await;
        if call.state == "failed" {
            assert_sentence(call.state_reason.as_deref());
        }
        assert_deliveries(&product, *id, &call.state).await;
        *states.entry(call.state).or_default() += 1;
    }
    let kinds = product.count("SELECT count(DISTINCT (step, error_class)) FROM job_attempts").await;
    let (bill, lost) = (charged(product.standins.bill()), charged(product.standins.bill_for_lost_answers()));
    println!("seed {seed}: {states:?}, {kinds} kinds of trouble, billed {bill}, {lost} of it for lost answers");
    assert!(states.keys().all(|state| state == "completed" || state == "failed"), "{states:?}");
    assert!(states["completed"] > calls / 2, "{states:?}");
    assert_paid_once(&product).await;
    assert!(lost > 0, "some answers were lost");
    assert_eq!(stated_cost(&product).await, bill - lost, "what all calls cost is what was billed for what we got");
}

/// Who refuses everybody is paused for everybody, and then asked eight times a second for ten seconds.
const OF_EVERYBODY: [&str; 14] = [
    "unauthorized",
    "forbidden",
    "insufficient_quota",
    "model_not_found",
    "invalid_auth",
    "not_authed",
    "token_revoked",
    "token_expired",
    "account_inactive",
    "missing_scope",
    "ekm_access_denied",
    "greeting_554",
    "login_535",
    "sender_530",
];

const SETTINGS: [(&str, &str); 6] = [
    ("RETRY_SCALE", "0.02"),
    // Long enough for a busy machine: an answer that comes too late is paid for and lost.
    ("UPSTREAM_TIMEOUT", "download=3s,transcribe=10s,analyze=10s,notify=3s"),
    ("LEASE_DURATION", "30s"),
    ("RECORDING_MAX_BYTES", "2MB"),
    ("NOTIFICATION_EMAIL_RECIPIENTS", "one@example.com,other@example.com"),
    ("WORKER_CONCURRENCY", "download=8,transcribe=4,analyze=8,notify=16"),
];

/// Every fault of every upstream, each at least once; those that hold a connection until the client gives up not more.
fn plan(seed: u64) -> String {
    let mut plan = format!("seed = {seed}\n");
    for fault in catalogue::all() {
        let slow = fault.name.ends_with("silence") || fault.name == "slow_drip";
        let probability = match fault.upstream {
            _ if OF_EVERYBODY.contains(&fault.name) => 0.0005,
            Upstream::Recordings | Upstream::Slack => 0.01,
            Upstream::Speech | Upstream::LanguageModel | Upstream::Smtp => 0.005,
        };
        let (upstream, name) = (fault.upstream, fault.name);
        let often = format!("probability = {}", if slow { 0.0 } else { probability });
        for when in ["first = 1", &often] {
            write!(plan, "[[rule]]\nupstream = '{upstream}'\nfault = '{name}'\n{when}\nwait_seconds = 1\n").unwrap();
        }
    }
    plan
}

/// The beginning of a fixture, handed to the recording host; gives its address.
async fn short_recording(product: &Product) -> String {
    let wav = &Fixtures::embedded().call("appointment").unwrap().wav;
    let mut reader = hound::WavReader::new(wav.as_ref()).unwrap();
    let spec = reader.spec();
    let mut file = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
    for sample in reader.samples::<i16>().take(SECONDS * spec.sample_rate as usize * usize::from(spec.channels)) {
        writer.write_sample(sample.unwrap()).unwrap();
    }
    writer.finalize().unwrap();
    let url = product.standins.recordings_url.join("upload/short.wav").unwrap();
    let key = product.standins.key.expose_secret();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http.put(url.clone()).bearer_auth(key).body(file.into_inner()).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    url.to_string()
}

async fn all_end(product: &Product) {
    let open = "SELECT count(*) FROM jobs WHERE state IN ('available', 'running')";
    let ended = timeout(PATIENCE, async {
        while product.count(open).await > 0 {
            sleep(Duration::from_millis(100)).await;
        }
    });
    let ended = ended.await;
    assert!(ended.is_ok(), "{} jobs are still open", product.count(open).await);
}

/// The ledger against what Slack and the mail server really took.
async fn assert_deliveries(product: &Product, id: CallId, state: &str) {
    let deliveries = product.deliveries(id).await;
    assert_eq!(deliveries.len(), if state == "completed" { 3 } else { 0 });
    for delivery in &deliveries {
        let taken = taken(product, id, delivery);
        let (least, most) = match (delivery.state.as_str(), delivery.repeated) {
            ("sent", false) => (1, 1),
            ("sent", true) => (1, 2),
            ("failed", false) => (0, 0),
            // The first one may have arrived.
            ("failed", true) => (0, 1),
            ("unknown", true) => (0, 2),
            other => panic!("no end: {other:?}"),
        };
        assert!((least..=most).contains(&taken), "taken {taken} times: {delivery:#?}");
        if delivery.state != "sent" {
            assert_sentence(delivery.detail.as_deref());
        }
    }
}

fn taken(product: &Product, id: CallId, delivery: &DeliveryRow) -> usize {
    let (upstream, subject) = match delivery.channel.as_str() {
        "slack" => (Upstream::Slack, id.to_string()),
        _ => (Upstream::Smtp, format!("{id}.{}@calls.example.com", delivery.id)),
    };
    effects(product, upstream).iter().filter(|effect| effect.subject == subject).count()
}

/// What was answered against what was kept. An answer that was lost on the way is the upstream's to bill and ours to
/// ask for again.
async fn assert_paid_once(product: &Product) {
    let heard: Vec<_> = effects(product, Upstream::Speech).into_iter().filter(|effect| !effect.lost).collect();
    let kept = product.count("SELECT count(*) FROM step_answers WHERE step = 'transcribe' AND answer ? 'text'").await;
    assert_eq!(heard.len(), kept as usize, "each piece is answered once");

    let thought: Vec<_> = effects(product, Upstream::LanguageModel).into_iter().filter(|effect| !effect.lost).collect();
    let useful = thought.iter().filter(|effect| effect.fault.is_none_or(|fault| !USELESS.contains(&fault))).count();
    let kept = product.count("SELECT count(*) FROM step_answers WHERE step = 'analyze'").await as usize;
    assert!((useful..=thought.len()).contains(&kept), "{useful} useful of {} answers, {kept} kept", thought.len());
}

/// The costs of all calls, as a client of the API adds them up.
async fn stated_cost(product: &Product) -> i64 {
    let door = FrontDoor::on(product.pool().clone(), &[SECRET]).await;
    let key = door.key(&["calls:read"]).await;
    let (mut sum, mut cursor) = (0, String::new());
    loop {
        let (status, page) = door.ask(&key, &format!("/api/calls/?limit=200{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        for call in page["items"].as_array().unwrap() {
            sum += call["cost"]["micro_units"].as_i64().unwrap_or_else(|| panic!("no known cost: {call}"));
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return sum,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "tests have no settings")]
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}
