//! `make bench`: how fast the queue and its front door are, against what this machine's PostgreSQL can do.
//!
//! Everything runs on a cluster of its own with default durability, through the code that the product runs: apalis
//! workers with empty steps through the queue's public API, real webhooks over HTTP to the real `serve`. pgbench's
//! single-row inserts, before and after each measure, say what the machine could do meanwhile (`cal`).
//!
//! `cargo bench --bench queue -- [--only NAME] [--repeats N] [--calls N] [--world URL]`; each measure is in a file of its own.

mod api;
mod backlog;
mod drain;
mod idle;
mod latency;
mod pipeline;
mod report;
mod server;
mod webhook;
mod workers;

use std::time::Instant;

use anyhow::bail;
use futures::future::LocalBoxFuture;

use report::Report;
use server::Server;

/// Figures of one run of a measure: name and value.
type Figures = Vec<(&'static str, f64)>;
type Measure = for<'a> fn(&'a Server, &'a Options) -> LocalBoxFuture<'a, anyhow::Result<Figures>>;

/// Every measure by its name, in the order in which they run. The last one takes long, and runs only when it is asked for.
const MEASURES: [(&str, Measure); 8] = [
    ("pipeline", |server, _| Box::pin(pipeline::measure(server))),
    ("drain", |server, _| Box::pin(drain::measure(server))),
    ("latency", |server, _| Box::pin(latency::measure(server))),
    ("webhook", |server, _| Box::pin(webhook::measure(server))),
    ("history", |server, _| Box::pin(backlog::with_history(server))),
    ("backlog", |server, _| Box::pin(backlog::with_backlog(server))),
    ("idle", |server, _| Box::pin(idle::measure(server))),
    (API, |server, options| Box::pin(api::measure(server, options))),
];

const API: &str = "api";

struct Options {
    only: Option<String>,
    repeats: usize,
    /// So many calls has the world of the measure `api`.
    calls: i64,
    /// A database that has this world already, and keeps it: for whoever tries one thing after another.
    world: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Runtime::new()?;
    if let [child, rest @ ..] = arguments.as_slice()
        && child == "child"
    {
        return runtime.block_on(workers::child(rest));
    }
    let options = read(&arguments)?;
    runtime.block_on(run(&options))
}

fn read(arguments: &[String]) -> anyhow::Result<Options> {
    let mut options = Options { only: None, repeats: 3, calls: 1_000_000, world: None };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match (argument.as_str(), rest.next()) {
            ("--only", Some(name)) if MEASURES.iter().any(|(known, _)| known == name) => {
                options.only = Some(name.clone());
            }
            ("--repeats", Some(count)) => options.repeats = count.parse()?,
            ("--calls", Some(count)) => options.calls = count.parse()?,
            ("--world", Some(url)) => options.world = Some(url.clone()),
            _ => {
                let names: Vec<&str> = MEASURES.iter().map(|(name, _)| *name).collect();
                bail!("usage: [--only {}] [--repeats N] [--calls N] [--world URL]", names.join("|"));
            }
        }
    }
    Ok(options)
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let began = Instant::now();
    let server = Server::start().await?;
    let server = if options.only.as_deref() == Some(API) { server.with_memory().await? } else { server };
    let mut report = Report::new(server.version().await?);
    let wanted = |name: &str| options.only.as_deref().map_or(name != API, |only| only == name);
    for (name, measure) in MEASURES.iter().filter(|(name, _)| wanted(name)) {
        report.calibrate(server.inserts_per_second().await?);
        for _ in 0..if *name == API { 1 } else { options.repeats } {
            report.add(measure(&server, options).await.map_err(|error| error.context(format!("the measure {name}")))?);
        }
        report.calibrate(server.inserts_per_second().await?);
        report.print_new();
    }
    let path = report.write()?;
    println!("\n{} figures in {:.0} s, kept in {}", report.len(), began.elapsed().as_secs_f64(), path.display());
    server.stop().await;
    Ok(())
}
