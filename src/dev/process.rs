//! `goto-automation dev`: everything in one process. Each upstream is a stand-in until its settings are there.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;

use super::door;
use super::postgres::Postgres;
use super::running::{self, RunningDev};
use super::standins::faults::plan::Plan;
use super::standins::{self, Fixtures, Standins};
use super::state::State;
use crate::app::{self, Database};
use crate::config::{Config, Values};
use crate::http;
use crate::model::shell;
use crate::queue::Waker;
use crate::shutdown::Shutdown;
use crate::telemetry;

const DEFAULT_PORT: u16 = 8000;

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// Port to listen on; 0 = any free one; `None` = that of `API_PORT`, else 8000.
    pub port: Option<u16>,
    /// Kept between runs.
    pub data_dir: PathBuf,
    /// Empty it first.
    pub reset: bool,
    /// Written in one move once everything serves.
    pub ready_file: Option<PathBuf>,
    /// How the stand-ins misbehave.
    pub faults: Plan,
}

/// Runs until `shutdown`, and leaves nothing running behind.
pub async fn run(options: &Options, shutdown: &Shutdown) -> anyhow::Result<()> {
    let (data_dir, ready_file) = (std::path::absolute(&options.data_dir)?, options.ready_file.as_deref());
    let mut values = Values::from_environment();
    if options.reset && values.is_set("DATABASE_URL") {
        bail!(
            "--reset empties the data folder and leaves the database of DATABASE_URL as it is, which would tear them \
               apart. Unset DATABASE_URL, or empty that database yourself and name another --data-dir."
        );
    }
    // A script that waits for the file must not take that of an earlier run for this one's.
    ready_file.map_or(Ok(()), running::remove)?;
    if options.reset {
        Postgres::remove(&data_dir).await?;
        State::reset(&data_dir)?;
    }
    let mut state = State::load(&data_dir)?;
    let port = options.port.or_else(|| values.get("API_PORT")?.trim().parse().ok()).unwrap_or(DEFAULT_PORT);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("cannot listen on port {port}; try --port 0 for any free one"))?;
    let address = listener.local_addr()?;

    let postgres = if values.is_set("DATABASE_URL") { None } else { Some(Postgres::start(&data_dir).await?) };
    let standins = start_standins(&state, &options.faults).await?;
    state.keep_ports(&standins)?;
    let replaced = overlay(&mut values, &state, &standins, &data_dir, address, postgres.as_ref());
    let config = values.read()?;
    telemetry::init(&config.app);
    telemetry::announce(&config, "dev", replaced.contains(&"recordings"));

    let served = serve(options, &config, &mut state, &standins, &replaced, listener, postgres.as_ref(), shutdown).await;
    RunningDev::forget(&data_dir, ready_file);
    standins.stop().await;
    if let Some(postgres) = postgres {
        postgres.stop().await;
    }
    served
}

/// On the ports of the last run where they are still free, so that recording addresses of earlier calls stay alive.
async fn start_standins(state: &State, faults: &Plan) -> anyhow::Result<Standins> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let key = SecretString::from(state.standin_key.clone());
    let any = standins::Options { key, faults: faults.clone(), ..standins::Options::default() };
    let kept = standins::Options { http: at(state.http_port), smtp: at(state.smtp_port), ..any.clone() };
    match Standins::start_with(Fixtures::embedded(), kept).await {
        Ok(standins) => Ok(standins),
        Err(_) => Standins::start_with(Fixtures::embedded(), any).await,
    }
}

/// Lays the stand-ins over what is not set; gives back the names of those in use.
fn overlay(
    values: &mut Values,
    state: &State,
    standins: &Standins,
    data_dir: &Path,
    address: SocketAddr,
    postgres: Option<&Postgres>,
) -> Vec<&'static str> {
    let mut replaced = Vec::new();
    let absent = |values: &Values, names: &[&str]| !names.iter().any(|name| values.is_set(name));
    values.set("API_HOST", address.ip().to_string());
    values.set("API_PORT", address.port().to_string());
    let default = |values: &mut Values, name: &str, value: String| {
        if !values.is_set(name) {
            values.set(name, value);
        }
    };
    if let Some(postgres) = postgres {
        default(values, "DATABASE_URL", postgres.url());
    }
    default(values, "PUBLIC_URL", format!("http://{address}"));
    // Whoever comes, comes from this machine.
    default(values, "API_MAX_CONNECTIONS_PER_ADDRESS", "1024".to_owned());
    default(values, "GOTO_WEBHOOK_SECRET", state.webhook_secret.clone());
    default(values, "RECORDING_STORE", format!("file://{}", data_dir.join("recordings").display()));
    if absent(values, &["RECORDING_ALLOWED_HOSTS", "GOTO_API_KEY"]) {
        values.set("RECORDING_ALLOWED_HOSTS", standins.recording_hosts());
        values.set("RECORDING_ALLOW_PRIVATE", "true");
        values.set("GOTO_API_KEY", standins.key.expose_secret());
        replaced.push("recordings");
    }
    for (name, base_url, key) in [
        ("transcription", "TRANSCRIPTION_BASE_URL", "TRANSCRIPTION_API_KEY"),
        ("analysis", "ANALYSIS_BASE_URL", "ANALYSIS_API_KEY"),
    ] {
        if absent(values, &["OPENAI_API_KEY", base_url, key]) {
            values.set(base_url, standins.openai_url.as_str());
            values.set(key, standins.key.expose_secret());
            replaced.push(name);
        }
    }
    if absent(values, &["SLACK_WEBHOOK_URL", "SLACK_BOT_TOKEN"]) {
        values.set("SLACK_WEBHOOK_URL", standins.slack_webhook_url.as_str());
        replaced.push("Slack");
    }
    if absent(values, &["SMTP_HOST"]) {
        values.set("SMTP_HOST", standins.smtp.ip().to_string());
        values.set("SMTP_PORT", standins.smtp.port().to_string());
        values.set("SMTP_TLS", "none");
        values.set("SMTP_USERNAME", "");
        values.set("SMTP_PASSWORD", "");
        default(values, "SMTP_FROM_EMAIL", "Call summaries <calls@example.com>".to_owned());
        default(values, "NOTIFICATION_EMAIL_RECIPIENTS", "team@example.com".to_owned());
        replaced.push("e-mail");
    }
    replaced
}

#[expect(clippy::too_many_arguments, reason = "the one place where all that `dev` has started comes together")]
async fn serve(
    options: &Options,
    config: &Config,
    state: &mut State,
    standins: &Standins,
    replaced: &[&str],
    listener: TcpListener,
    postgres: Option<&Postgres>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let database = Database::new(config.require_database()?)?;
    if !database.ready(true, shutdown).await? {
        return Ok(());
    }
    let own_database = postgres.is_some();
    if !own_database && !replaced.is_empty() {
        tracing::warn!(
            "THE DATABASE IS THE ONE OF DATABASE_URL: calls that wait in it are worked on here, and {} of them by \
             stand-ins. Use a database that nobody else needs.",
            replaced.join(", ")
        );
    }
    state.ensure_api_key(&database.pool, own_database).await?;
    let address = listener.local_addr()?;
    let running = told(config, state, standins, replaced, address);
    let simulate = simulate_command(&options.data_dir);

    let waker = Waker::default();
    database.spawn_notifier(&waker, shutdown);
    let dev = door::routes(standins.outbox.clone(), &simulate);
    let doors = http::routes(app::doors(config, &database, waker.clone())?);
    let routes = door::beside(dev, doors);
    let door = app::serve(config, listener, routes, shutdown);
    let work = app::work(config, &database, waker, shutdown);
    let keep_database = async {
        match postgres {
            Some(postgres) => postgres.keep_running().await,
            None => std::future::pending().await,
        }
    };
    let tell = async {
        running.write(&options.data_dir, options.ready_file.as_deref())?;
        println!("{}", banner(&running, replaced, own_database, &options.data_dir, &simulate));
        if !options.faults.is_empty() {
            println!("The stand-ins misbehave by plan:\n{}\n", options.faults);
        }
        std::future::pending::<anyhow::Result<()>>().await
    };
    let both = async { tokio::try_join!(door, work).map(|_| ()) };
    let ended = tokio::select! {
        ended = both => ended,
        failed = keep_database => failed,
        failed = tell => failed,
    };
    shutdown.request();
    ended
}

/// What `dev` tells about itself.
fn told(config: &Config, state: &State, standins: &Standins, replaced: &[&str], address: SocketAddr) -> RunningDev {
    let url = format!("http://{address}");
    let standin_recordings = replaced.contains(&"recordings");
    RunningDev {
        outbox_url: format!("{url}/dev/outbox"),
        url,
        database_url: config.database.as_ref().map(|db| db.url.expose_secret().to_owned()).unwrap_or_default(),
        api_key: state.api_key.clone(),
        webhook_secret: config.webhook.secrets.first().map(|s| s.expose_secret().to_owned()).unwrap_or_default(),
        pid: std::process::id() as i32,
        recordings_url: standin_recordings.then(|| standins.recordings_url.to_string()),
        recordings_key: standin_recordings.then(|| standins.key.expose_secret().to_owned()),
    }
}

/// The line to paste: this very program, on this very `dev`.
fn simulate_command(data_dir: &Path) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "goto-automation".into());
    let here = std::env::current_dir().unwrap_or_default();
    let program = program.strip_prefix(&here).unwrap_or(&program);
    let mut line = format!("{} simulate", quoted(program));
    if data_dir != Path::new(".dev") {
        let _ = write!(line, " --data-dir {}", quoted(data_dir));
    }
    line
}

fn quoted(path: &Path) -> String {
    shell::quoted(&path.display().to_string())
}

fn banner(running: &RunningDev, replaced: &[&str], own_database: bool, data_dir: &Path, simulate: &str) -> String {
    let database = if own_database {
        format!("embedded PostgreSQL, kept in {}", data_dir.display())
    } else {
        "the one of DATABASE_URL".to_owned()
    };
    let standins = if replaced.is_empty() {
        "none: everything is real".to_owned()
    } else {
        format!("{} (nothing of it leaves this machine)", replaced.join(", "))
    };
    format!(
        "\ngoto-automation is running.\n\n  \
         API        {url}/api/calls/\n  \
         API key    {key}\n  \
         Outbox     {outbox}\n  \
         Database   {database}\n  \
         Stand-ins  {standins}\n\n\
         Try it in another terminal:\n\n  \
         {simulate}\n  \
         curl -H 'Authorization: Bearer {key}' {url}/api/calls/\n\n\
         Then look at the outbox. Ctrl-C stops everything.\n",
        url = running.url,
        key = running.api_key,
        outbox = running.outbox_url,
    )
}
