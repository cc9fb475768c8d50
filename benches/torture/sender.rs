//! Sends webhooks when they are due, whatever became of those before (an open model: a slow server is not spared), and
//! each of them again until it is acknowledged, as telephony senders do.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use goto_automation::http::signature;
use goto_automation::model::clock;
use goto_automation::providers::http_client;
use reqwest::Client;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use url::Url;
use uuid::Uuid;

use crate::report;
use crate::traffic::Webhook;

/// An answer that takes longer is none.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two tries of the same webhook, where the server does not say how long.
const PAUSE: Duration = Duration::from_secs(1);
/// Connections that are kept for the next webhooks, as many as those of Python's requests. A sender that keeps many more
/// than it needs loses a webhook now and then when a server closes one of them in the very moment in which it is taken up
/// again (RFC 9112, section 9.5).
const KEPT: usize = 10;
/// After so many tries a sender gives up.
const MOST_TRIES: usize = 180;

/// Sends, and logs each try with its answer.
#[derive(Debug, Clone)]
pub struct Sender {
    http: Client,
    url: Url,
    secret: SecretString,
    sent: Arc<Mutex<Sent>>,
    log: Arc<Mutex<File>>,
}

/// One try, and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Try {
    pub call: String,
    /// Counted from 1.
    pub number: usize,
    /// When it was due.
    pub at: DateTime<Utc>,
    /// From then to the end of the answer.
    pub took: Duration,
    pub answer: Answer,
}

/// What a sender heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Answer {
    /// 202: it is ours now.
    Acknowledged { status: String, call_id: Option<Uuid> },
    /// Any other status.
    Refused { status: u16, retry_after: Option<String> },
    /// Nobody there, cut off, or too late.
    Nothing(String),
}

/// All tries so far.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    pub tries: Vec<Try>,
}

#[derive(Deserialize)]
struct Receipt {
    status: String,
    call_id: Option<Uuid>,
}

impl Sender {
    pub fn new(server: &Url, secret: &str, log: &Path) -> anyhow::Result<Self> {
        http_client::install_tls();
        let http = Client::builder().no_proxy().timeout(TIMEOUT).pool_max_idle_per_host(KEPT).build()?;
        let log = File::create_new(log).context("no log for the sender")?;
        Ok(Self {
            http,
            url: server.join("webhooks/goto/call-ended")?,
            secret: secret.into(),
            sent: Arc::default(),
            log: Arc::new(Mutex::new(log)),
        })
    }

    /// Sends all, each when it is due, and comes back when each is acknowledged or given up.
    pub async fn send(&self, plan: Vec<Webhook>) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut under_way = JoinSet::new();
        for webhook in plan {
            sleep_until(began + webhook.due).await;
            let sender = self.clone();
            let due = began + webhook.due;
            under_way.spawn(async move { sender.deliver(&webhook, due).await });
            while under_way.try_join_next().is_some() {}
        }
        while let Some(delivered) = under_way.join_next().await {
            delivered.context("the sender broke")?;
        }
        Ok(())
    }

    /// A copy of all tries so far.
    pub fn sent(&self) -> Sent {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn deliver(&self, webhook: &Webhook, due: Instant) {
        let mut due = due;
        for number in 1..=MOST_TRIES {
            // The wall clock at the moment when it was due, not when this task came to run.
            let at = clock::now() - due.elapsed();
            let answer = self.post(&webhook.body).await;
            let pause = answer.pause();
            self.note(Try { call: webhook.call.clone(), number, at, took: due.elapsed(), answer });
            let Some(pause) = pause else { return };
            sleep(pause).await;
            due = Instant::now();
        }
    }

    async fn post(&self, body: &[u8]) -> Answer {
        let request = self
            .http
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header(signature::HEADER, signature::sign(&self.secret, body))
            .body(body.to_vec());
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Answer::Nothing(format!("{:#}", anyhow::Error::from(error.without_url()))),
        };
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        match response.bytes().await.map(|body| serde_json::from_slice::<Receipt>(&body)) {
            Err(error) => Answer::Nothing(error.without_url().to_string()),
            Ok(Ok(receipt)) if status == 202 => {
                Answer::Acknowledged { status: receipt.status, call_id: receipt.call_id }
            }
            Ok(_) => Answer::Refused { status, retry_after },
        }
    }

    fn note(&self, tried: Try) {
        let line = serde_json::to_string(&tried).expect("strings and numbers");
        // A log that cannot be written is no reason to stop: it is for people, and the checker reads the list.
        writeln!(self.log.lock().unwrap_or_else(PoisonError::into_inner), "{line}").ok();
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).tries.push(tried);
    }
}

impl Answer {
    /// Until the webhook is sent again; `None` = it is done.
    fn pause(&self) -> Option<Duration> {
        match self {
            Self::Acknowledged { .. } => None,
            Self::Refused { retry_after, .. } => {
                let told = retry_after.as_deref().and_then(|seconds| seconds.parse().ok());
                Some(told.map_or(PAUSE, Duration::from_secs))
            }
            Self::Nothing(_) => Some(PAUSE),
        }
    }
}

impl Sent {
    /// The calls of all webhooks, acknowledged or not.
    pub fn calls(&self) -> HashSet<&str> {
        self.tries.iter().map(|tried| tried.call.as_str()).collect()
    }

    /// The acknowledged calls, with the ids that the server gave them: one each, if all is well.
    pub fn acknowledged(&self) -> HashMap<&str, HashSet<Uuid>> {
        let mut acknowledged: HashMap<&str, HashSet<Uuid>> = HashMap::new();
        for tried in &self.tries {
            if let Answer::Acknowledged { call_id, .. } = &tried.answer {
                acknowledged.entry(&tried.call).or_default().extend(call_id);
            }
        }
        acknowledged
    }

    /// When each call was due for the first time.
    pub fn began(&self) -> HashMap<&str, DateTime<Utc>> {
        let mut began: HashMap<&str, DateTime<Utc>> = HashMap::new();
        for tried in &self.tries {
            let first = began.entry(&tried.call).or_insert(tried.at);
            *first = tried.at.min(*first);
        }
        began
    }

    /// How long all answers took, those that were none included.
    pub fn times(&self) -> Vec<Duration> {
        self.tries.iter().map(|tried| tried.took).collect()
    }

    pub fn count(&self, wanted: impl Fn(&Try) -> bool) -> usize {
        self.tries.iter().filter(|tried| wanted(tried)).count()
    }

    /// Tries by what came of them, for a person.
    pub fn told(&self) -> String {
        let repeated =
            |tried: &Try| matches!(&tried.answer, Answer::Acknowledged { status, .. } if status == "duplicate");
        let refused = self.count(|tried| matches!(tried.answer, Answer::Refused { .. }));
        let nothing = self.count(|tried| matches!(tried.answer, Answer::Nothing(_)));
        let (calls, tries) = (self.acknowledged().len(), self.tries.len());
        let duplicates = self.count(repeated);
        format!("{tries} webhooks for {calls} calls ({duplicates} known, {refused} refused, {nothing} unanswered)")
    }

    /// The time that so many of a hundred answers did not need.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        report::percentile(&self.times(), percent)
    }
}
