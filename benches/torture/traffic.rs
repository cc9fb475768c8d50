//! What is sent when. The seed decides; the gaps between two webhooks are those of callers who know nothing of one
//! another (exponential).

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use url::Url;

/// The first call of every scenario starts at this time, the next one a minute later: no two questions to the language
/// model are alike.
const FIRST_START: i64 = 1_767_600_000;
/// Repeats and bodies out of order come at most so much later.
const LATEST: f64 = 3.0;

/// What is to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Traffic {
    pub webhooks: usize,
    /// Each second, on average.
    pub rate: f64,
    /// Percent of them that are repeats, to the byte.
    pub duplicates: usize,
    /// Percent of them that are an older body of a call, without its recording, after the newer one.
    pub out_of_order: usize,
}

/// One webhook.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// The sender's id of the call.
    pub call: String,
    pub body: Vec<u8>,
    /// After the beginning.
    pub due: Duration,
}

impl Traffic {
    /// New calls only.
    pub fn plain(webhooks: usize, rate: f64) -> Self {
        Self { webhooks, rate, duplicates: 0, out_of_order: 0 }
    }

    /// How many calls these webhooks are about.
    pub fn calls(self) -> usize {
        self.webhooks - self.repeats() - self.older()
    }

    fn repeats(self) -> usize {
        self.webhooks * self.duplicates / 100
    }

    fn older(self) -> usize {
        self.webhooks * self.out_of_order / 100
    }

    /// All webhooks, in the order in which they are due. Each recording has a name of its own in its query.
    pub fn plan(self, series: &str, recordings: &[Url], seed: u64) -> Vec<Webhook> {
        let mut random = StdRng::seed_from_u64(seed);
        // Repeats are sent at the same average rate as all else, so new calls leave them room.
        let gap = self.webhooks as f64 / self.rate / self.calls() as f64;
        let mut at = 0.0;
        let mut all: Vec<Webhook> = Vec::with_capacity(self.webhooks);
        for number in 0..self.calls() {
            let call = format!("{series}-{number:05}");
            let mut url = recordings.choose(&mut random).expect("there are recordings").clone();
            url.set_query(Some(&format!("call={call}")));
            let body = body(&call, number, Some(&url));
            all.push(Webhook { call, body, due: Duration::from_secs_f64(at) });
            at += -gap * (1.0 - random.random::<f64>()).ln();
        }
        let mut numbers: Vec<usize> = (0..self.calls()).collect();
        numbers.shuffle(&mut random);
        let (older, rest) = numbers.split_at(self.older());
        for number in older {
            let newer = &all[*number];
            let body = body(&newer.call, *number, None);
            all.push(Webhook { body, due: newer.due + later(&mut random), ..newer.clone() });
        }
        for number in rest.iter().take(self.repeats()) {
            let first = &all[*number];
            all.push(Webhook { due: first.due + later(&mut random), ..first.clone() });
        }
        all.sort_by_key(|webhook| webhook.due);
        all
    }
}

/// One of three comes at the same moment.
fn later(random: &mut StdRng) -> Duration {
    let now = random.random_range(0..3) == 0;
    Duration::from_secs_f64(if now { 0.0 } else { random.random_range(0.0..LATEST) })
}

/// What a sender tells about a call that has ended.
fn body(call: &str, number: usize, recording: Option<&Url>) -> Vec<u8> {
    let start =
        DateTime::<Utc>::from_timestamp(FIRST_START, 0).expect("a constant") + TimeDelta::minutes(number as i64);
    let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    // The recording is told a little later than the end of the call.
    let told = start + TimeDelta::seconds(if recording.is_some() { 34 } else { 31 });
    let body = json!({"event_type": "call.ended", "timestamp": text(told), "data": {
        "call_id": call, "direction": "inbound",
        "caller": {"name": "Example Caller", "number": "+15550100002"},
        "called": {"name": "Support", "number": "+15550100001"},
        "start_time": text(start), "end_time": text(start + TimeDelta::seconds(30)), "duration": 30,
        "recording_url": recording.map(Url::as_str), "status": "completed"}});
    body.to_string().into_bytes()
}
