//! One webhook, sent until it is answered; and a recording, handed to the stand-in recording host.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::bodies::Recording;
use super::target::Target;
use crate::cli::Failure;
use crate::cli::render::{clean, truncate};
use crate::http::signature;

/// An answer takes this long at most.
const TIMEOUT: Duration = Duration::from_secs(30);
/// An upload takes this long at most.
const UPLOAD_TIMEOUT: Duration = Duration::from_mins(5);
/// A server that is busy is asked again so often.
const RETRIES: u32 = 5;
/// It says itself when; no longer than this, and this long where it says nothing.
const MOST_WAIT: Duration = Duration::from_mins(1);
const USUAL_WAIT: Duration = Duration::from_secs(1);

/// What became of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A new call.
    Accepted,
    /// A known one.
    Duplicate,
    /// Nothing to do for it.
    Ignored,
    /// In the server's words.
    Refused(String),
}

/// A webhook that has been answered, or not.
#[derive(Debug)]
pub struct Answer {
    /// What became of it.
    pub verdict: Verdict,
    /// From the last request to its answer; `None` = no answer.
    pub took: Option<Duration>,
}

#[derive(Deserialize)]
struct Taken {
    status: String,
}

#[derive(Deserialize)]
struct Problem {
    code: Option<String>,
    detail: Option<String>,
    title: Option<String>,
}

#[derive(Deserialize)]
struct Uploaded {
    url: String,
}

/// Signs and sends a body. A server that is busy (503) is asked again when it says, up to five times.
pub async fn deliver(client: &Client, target: &Target, body: &[u8]) -> Answer {
    let signed = signature::sign(&target.secret, body);
    let mut asked_again = 0;
    loop {
        let request = client
            .post(target.webhook_url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(signature::HEADER, &signed)
            .timeout(TIMEOUT)
            .body(body.to_vec());
        let started = Instant::now();
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Answer { verdict: Verdict::Refused(unanswered(error)), took: None },
        };
        if response.status() == StatusCode::SERVICE_UNAVAILABLE && asked_again < RETRIES {
            asked_again += 1;
            sleep(wait(&response)).await;
            continue;
        }
        let took = started.elapsed();
        return Answer { verdict: verdict(response).await, took: Some(took) };
    }
}

/// Hands audio to the stand-in recording host and gives back where it is then.
pub async fn upload(client: &Client, base: &Url, key: Option<&str>, file: &Path) -> Result<Recording, Failure> {
    let shown = file.display();
    let audio = tokio::fs::read(file)
        .await
        .map_err(|error| Failure::usage(format!("The recording {shown} cannot be read: {error}.")))?;
    let seconds = hound::WavReader::new(audio.as_slice()).ok().and_then(|wav| {
        let rate = wav.spec().sample_rate;
        (rate > 0).then(|| (i64::from(wav.duration()) / i64::from(rate)).max(1))
    });
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or("wav");
    let name = format!("{:016x}.{}", rand::random::<u64>(), extension.to_ascii_lowercase());
    let place = format!("{}/upload/{name}", base.as_str().trim_end_matches('/'));
    let request = client.put(place).timeout(UPLOAD_TIMEOUT).body(audio);
    let request = key.iter().fold(request, reqwest::RequestBuilder::bearer_auth);
    let response = request.send().await.map_err(reqwest::Error::without_url);
    let response = response.context("The recording host of the running `dev` does not answer")?;
    if !response.status().is_success() {
        let status = response.status();
        return Err(Failure::failed(format!("The recording host of the running `dev` refused {shown} ({status}).")));
    }
    let uploaded: Uploaded = response.json().await.context("The recording host answered something unexpected")?;
    Ok(Recording { url: uploaded.url, seconds, caller: None })
}

async fn verdict(response: Response) -> Verdict {
    let status = response.status();
    let body = timeout(TIMEOUT, response.bytes()).await.ok().and_then(Result::ok).unwrap_or_default();
    if status.is_success() {
        return match serde_json::from_slice::<Taken>(&body).map(|taken| taken.status).as_deref() {
            Ok("accepted") => Verdict::Accepted,
            Ok("duplicate") => Verdict::Duplicate,
            Ok("ignored") => Verdict::Ignored,
            _ => Verdict::Refused(format!("{} with an answer that is not ours", status.as_u16())),
        };
    }
    let told = serde_json::from_slice::<Problem>(&body).ok();
    let parts = told.map(|problem| [problem.code, problem.detail.or(problem.title)].into_iter().flatten().collect());
    let told: Vec<String> = parts.unwrap_or_default();
    let told = if told.is_empty() { status.canonical_reason().unwrap_or_default().to_owned() } else { told.join(": ") };
    Verdict::Refused(truncate(&clean(&format!("{} {told}", status.as_u16())), 300))
}

fn wait(response: &Response) -> Duration {
    let told = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    told.and_then(|value| value.trim().parse().ok()).map_or(USUAL_WAIT, Duration::from_secs).min(MOST_WAIT)
}

fn unanswered(error: reqwest::Error) -> String {
    if error.is_timeout() {
        "no answer in time".to_owned()
    } else if error.is_connect() {
        "no connection: is the server running?".to_owned()
    } else {
        format!("no answer: {}", error.without_url())
    }
}
