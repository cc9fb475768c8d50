//! `simulate`: signed call webhooks to a running server, as GoTo or a relay would send them.

mod bodies;
mod report;
mod send;
mod target;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::bodies::{Bodies, Recording};
use self::report::Report;
use self::target::Target;
use super::Failure;
use super::render::print;
use super::session::DataDir;
use crate::providers::http_client;

/// Requests under way at the same time, at most.
const MOST_UNDER_WAY: usize = 64;

const EXAMPLES: &str = "\
Examples:
  goto-automation simulate                      one call to the running dev
  goto-automation simulate --count 100 --rate 20 --duplicates 10
  goto-automation simulate --audio my-call.wav
  goto-automation simulate --url https://calls.example.com --count 5

With --url the secret comes from --secret or GOTO_WEBHOOK_SECRET. A template
is a webhook body in JSON: its call_id is made fresh and its times are set to
now; all else is sent as it stands.";

/// Send signed call webhooks to a running server.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct SimulateArgs {
    /// How many calls.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Webhooks per second, at most.
    #[arg(long, value_name = "R", default_value_t = 5.0, value_parser = parse_rate)]
    rate: f64,
    /// Send so many percent of the calls a second time.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    duplicates: u32,
    /// The recording of each call, handed to the running dev.
    #[arg(long, value_name = "FILE", conflicts_with = "call")]
    audio: Option<PathBuf>,
    /// The same recorded call each time; all in turn unless told.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(bodies::names()))]
    call: Option<String>,
    /// The body to send.
    #[arg(long, value_name = "FILE", conflicts_with = "call")]
    template: Option<PathBuf>,
    /// Server to send to; the running dev unless told.
    #[arg(long)]
    url: Option<url::Url>,
    /// Secret to sign with; others may see it in the list of processes.
    #[arg(long)]
    secret: Option<String>,
    #[command(flatten)]
    data: DataDir,
}

/// Runs the command.
pub async fn run(args: SimulateArgs) -> Result<(), Failure> {
    let target = Arc::new(Target::find(args.url.as_ref(), args.secret.as_deref(), &args.data.data_dir)?);
    let client = http_client::client()?;
    let mut bodies = bodies(&args, &target, &client).await?;
    let report = send_all(&args, &target, &client, &mut bodies).await;
    print(&report.told(bodies.last_id(), target.outbox_url.as_deref(), &args.data.flags()))?;
    // What was refused, and why, has just been told.
    if report.all_taken() { Ok(()) } else { Err(Failure::failed("")) }
}

async fn bodies(args: &SimulateArgs, target: &Target, client: &reqwest::Client) -> Result<Bodies, Failure> {
    let uploaded = match &args.audio {
        Some(file) => Some(upload(target, client, file).await?),
        None => None,
    };
    if let Some(file) = &args.template {
        return Bodies::of_template(file, uploaded);
    }
    let recordings = match (uploaded, &target.recordings_url) {
        (Some(recording), _) => vec![recording],
        (None, Some(base)) => bodies::recorded(base, args.call.as_deref()),
        (None, None) => {
            eprintln!("There is no recording host to name: the calls are sent without a recording.");
            Vec::new()
        }
    };
    Ok(Bodies::of_recordings(recordings))
}

async fn upload(target: &Target, client: &reqwest::Client, file: &Path) -> Result<Recording, Failure> {
    let Some(base) = &target.recordings_url else {
        let sentence = "--audio needs the stand-in recording host of a running `dev`, and there is none: leave out --url, \
                        or put the address of your recording into a --template.";
        return Err(Failure::usage(sentence));
    };
    send::upload(client, base, target.recordings_key.as_deref(), file).await
}

async fn send_all(args: &SimulateArgs, target: &Arc<Target>, client: &reqwest::Client, bodies: &mut Bodies) -> Report {
    let plan = plan(args.count, args.duplicates);
    let bar = ProgressBar::new(plan.len() as u64);
    bar.set_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len}").unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let (places, mut under_way) = (Arc::new(Semaphore::new(MOST_UNDER_WAY)), JoinSet::new());
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / args.rate));
    let mut report = Report::default();
    let started = Instant::now();
    let mut body = Arc::new(Vec::new());
    for repeat in plan {
        ticks.tick().await;
        let place = places.clone().acquire_owned().await;
        if !repeat {
            body = Arc::new(bodies.next());
        }
        let (client, target, body, bar) = (client.clone(), target.clone(), body.clone(), bar.clone());
        under_way.spawn(async move {
            let answer = send::deliver(&client, &target, &body).await;
            bar.inc(1);
            drop(place);
            answer
        });
        while let Some(answer) = under_way.try_join_next() {
            report.add(answer.ok());
        }
    }
    while let Some(answer) = under_way.join_next().await {
        report.add(answer.ok());
    }
    bar.finish_and_clear();
    report.took = started.elapsed();
    report
}

/// One entry for each webhook; true = the one before it, again. Repeats are spread evenly.
fn plan(count: u32, duplicates: u32) -> Vec<bool> {
    let repeats_until = |call: u32| u64::from(call) * u64::from(duplicates) / 100;
    let call =
        |number: u32| std::iter::once(false).chain((repeats_until(number)..repeats_until(number + 1)).map(|_| true));
    (0..count).flat_map(call).collect()
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.001..=10_000.0).contains(&rate) { Ok(rate) } else { Err("a rate is 0.001 to 10000".to_owned()) }
}

#[cfg(test)]
mod tests;
