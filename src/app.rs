//! Composition root: the only place where real clients are built.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use backon::{ExponentialBuilder, Retryable};
use poem::{Endpoint, IntoEndpoint};
use secrecy::ExposeSecret;
use sqlx::pool::PoolConnectionMetadata;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, PgConnection};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::channels::{Channel, email::Email, slack::Slack};
use crate::config::{Config, DatabaseConfig, NotifyConfig};
use crate::http::calls::{Links, Means};
use crate::http::health::{Component, Look, Parts, Status};
use crate::http::{self, Doors};
use crate::model::{Days, database_is_away, hex};
use crate::pipeline::gate::Gate;
use crate::pipeline::intake::Intake;
use crate::pipeline::kpi::Roller;
use crate::pipeline::rerun::Telling;
use crate::pipeline::{ANALYZE, DOWNLOAD, NOTIFY, PipelineSettings, Rooms, TRANSCRIBE, forgetting, runner, search};
use crate::providers::{http_client, language_model::LanguageModel, recordings::Recordings, speech::Speech};
use crate::queue::{Waker, Workers};
use crate::shutdown::Shutdown;
use crate::store::{self, vocabulary::Vocabulary};

/// Most connections of a process beside the queue's own, which are six: a server and five workers fit into PostgreSQL's
/// default of 100. No step holds one while it waits for an upstream.
const POOL_SIZE: u32 = 10;
/// A connection that was used so recently is not asked whether it is still there.
const TRUSTED: Duration = Duration::from_millis(500);
/// How long a query waits for a connection while the database is away.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(5);
/// What the server may do for the product's connections: stop a query that takes longer, and end a transaction whose
/// client was frozen or cut off in the middle, because its locks would keep a job from being rescued.
const SERVER_LIMITS: [(&str, &str); 2] = [("statement_timeout", "20s"), ("idle_in_transaction_session_timeout", "20s")];
/// What the planner is to think: that a page costs about the same wherever it is, as it does in memory and on every disk
/// without moving parts (the default is four times as much, at which it reads an index of 100,000 entries to spare 1,000
/// pages), and that no query of the product is so long that compiling it would pay.
const PLANNING: [(&str, &str); 2] = [("random_page_cost", "1.1"), ("jit", "off")];
/// Longest pause between looks at a database that is away at start.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// The ways to the database: the product's pool, and the options from which the queue makes its own connections.
#[derive(Clone)]
pub struct Database {
    /// For all queries of the product. Connects on first use, so that a process can start without the database.
    pub pool: PgPool,
    options: PgConnectOptions,
    listen_options: PgConnectOptions,
}

impl Database {
    /// Nothing is connected yet.
    pub fn new(config: &DatabaseConfig) -> anyhow::Result<Self> {
        let options = PgConnectOptions::from_str(config.url.expose_secret()).context("DATABASE_URL")?;
        let listen_options =
            PgConnectOptions::from_str(config.listen_url.expose_secret()).context("DATABASE_LISTEN_URL")?;
        let pool = PgPoolOptions::new()
            .max_connections(POOL_SIZE)
            .acquire_timeout(ACQUIRE_LIMIT)
            .test_before_acquire(false)
            .before_acquire(|connection, used| Box::pin(is_alive(connection, used)))
            .connect_lazy_with(options.clone().options(SERVER_LIMITS).options(PLANNING));
        Ok(Self { pool, options, listen_options })
    }

    /// On the direct connection: migrations take session locks, which a transaction pooler breaks.
    pub fn for_migrations(config: &DatabaseConfig) -> anyhow::Result<Self> {
        Self::new(&DatabaseConfig { url: config.listen_url.clone(), listen_url: config.listen_url.clone() })
    }

    /// Waits until the database answers, then sees to its schema: brings it up to date if `migrate`, else refuses one
    /// that is behind. `false` when a stop was asked for meanwhile.
    pub async fn ready(&self, migrate: bool, shutdown: &Shutdown) -> anyhow::Result<bool> {
        let look = (|| store::migrations::missing(&self.pool))
            .retry(ExponentialBuilder::default().with_max_delay(LONGEST_LOOK).without_max_times())
            .when(database_is_away)
            .notify(|error, pause| tracing::warn!(%error, ?pause, "The database does not answer; waiting for it."));
        let missing = tokio::select! {
            () = shutdown.requested() => return Ok(false),
            missing = look => missing.map_err(|error| match &error {
                sqlx::Error::Migrate(_) => anyhow!(
                    "the database was made by a build that was never released ({error}); begin anew, in `dev` with --reset"
                ),
                _ => anyhow::Error::new(error).context("the database refuses us; check DATABASE_URL"),
            })?,
        };
        if missing.is_empty() {
            return Ok(true);
        }
        if !migrate {
            bail!(
                "the database is behind: {} missing. Run `goto-automation migrate`, or start with --migrate.",
                missing.join(", ")
            );
        }
        store::migrations::apply(&self.pool).await.context("a migration failed; nothing of it was kept")?;
        tracing::info!(applied = %missing.join(", "), "The database was brought up to date.");
        Ok(true)
    }

    /// The task that wakes other processes; ends with `shutdown`.
    pub fn spawn_notifier(&self, waker: &Waker, shutdown: &Shutdown) {
        tokio::spawn(waker.clone().notify(self.listen_options.clone(), shutdown.token()));
    }
}

/// Whether the database answers on a connection that has been idle for a while. One that was at work a moment ago is
/// believed to: the question costs as much as a small query, and a request sends several.
async fn is_alive(connection: &mut PgConnection, used: PoolConnectionMetadata) -> Result<bool, sqlx::Error> {
    if used.idle_for < TRUSTED {
        return Ok(true);
    }
    connection.ping().await.map(|()| true)
}

/// Builds what the steps work with.
pub fn rooms(config: &Config, database: &Database, waker: Waker) -> anyhow::Result<Arc<Rooms>> {
    http_client::install_tls();
    let http = http_client::client()?;
    let limit = |step| config.queue.upstream_timeout(step);
    Ok(Arc::new(Rooms {
        db: database.pool.clone(),
        recordings: Recordings::new(&config.recordings, limit(DOWNLOAD))?,
        speech: Speech::new(&config.transcription, http.clone(), limit(TRANSCRIBE)),
        language_model: LanguageModel::new(&config.analysis, http.clone(), limit(ANALYZE)),
        gate: Gate::new(database.pool.clone(), waker, config.queue.retry_scale, config.queue.lease),
        channels: channels(config, &http, limit(NOTIFY))?,
        settings: PipelineSettings {
            public_url: config.app.public_url.clone(),
            time_zone: config.app.time_zone,
            notify_no_recording: config.notify.no_recording,
            quiet_hours: config.notify.quiet_hours,
            on_unknown: config.notify.on_unknown,
            transcription_model: config.transcription.model.clone(),
            analysis_model: config.analysis.model.clone(),
            analysis_max_input_tokens: config.analysis.max_input_tokens,
        },
    }))
}

/// THE list of channels that are set up. Adding one: a new file in `channels/`, and one line here.
fn channels(config: &Config, http: &reqwest::Client, limit: Duration) -> anyhow::Result<Vec<Arc<dyn Channel>>> {
    let mut channels: Vec<Arc<dyn Channel>> = Vec::new();
    if let Some(slack) = &config.slack {
        channels.push(Arc::new(Slack::new(slack, http.clone(), limit)));
    }
    if let Some(email) = &config.email {
        channels.push(Arc::new(Email::new(email, limit)?));
    }
    Ok(channels)
}

/// What stands behind the doors of the server.
pub fn doors(config: &Config, database: &Database, waker: Waker) -> anyhow::Result<Doors> {
    http_client::install_tls();
    let recordings = Recordings::new(&config.recordings, config.queue.upstream_timeout(DOWNLOAD))?;
    let stored = recordings.clone();
    let storage: Look = Arc::new(move || {
        let recordings = stored.clone();
        Box::pin(async move {
            recordings
                .check()
                .await
                .map_or_else(|error| Component::because(Status::Down, format!("{error:#}")), |()| Component::ok())
        })
    });
    let set = |on: bool, why: &str| if on { Component::ok() } else { Component::because(Status::Off, why) };
    let keyless = "No API key: calls wait until there is one.";
    let parts = Parts {
        storage,
        transcription: set(!config.transcription.lacks_key(), keyless),
        analysis: set(!config.analysis.lacks_key(), keyless),
        slack: set(config.slack.is_some(), "Not set up."),
        email: set(config.email.is_some(), "Not set up."),
    };
    let (db, secrets, limits) = (database.pool.clone(), config.webhook.secrets.clone(), config.server.clone().into());
    let destinations = channels(config, &http_client::client()?, config.queue.upstream_timeout(NOTIFY))?
        .iter()
        .flat_map(|channel| channel.destinations().into_iter().map(|to| (channel.name().to_owned(), to)))
        .collect();
    let links = Links::new(config.app.secret_key.clone().unwrap_or_else(|| hex(&rand::random::<[u8; 32]>()).into()));
    let NotifyConfig { no_recording, on_unknown, .. } = config.notify;
    let telling = Telling { destinations, no_recording, on_unknown };
    let calls = Means { waker: waker.clone(), telling, recordings, links, vocabulary: Vocabulary::default() };
    let days = Days(config.app.time_zone);
    Ok(Doors { intake: Intake::new(db.clone(), waker), db, secrets, parts, limits, calls, days })
}

/// Serves routes on a bound listener until `shutdown`.
pub async fn serve(
    config: &Config,
    listener: TcpListener,
    routes: impl IntoEndpoint<Endpoint = impl Endpoint + 'static>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let (limits, grace) = (config.server.clone().into(), config.queue.shutdown_timeout);
    http::serve(listener, routes, limits, shutdown.token(), grace).await.context("the server failed")
}

/// Works on the steps of the settings until `shutdown`.
pub async fn work(config: &Config, database: &Database, waker: Waker, shutdown: &Shutdown) -> anyhow::Result<()> {
    let rooms = rooms(config, database, waker.clone())?;
    let _keeper = AbortOnDropHandle::new(tokio::spawn({
        let (rooms, interval, stop) = (rooms.clone(), config.queue.sweep_interval, shutdown.token());
        async move { rooms.gate.keep(interval, stop).await }
    }));
    let _reader = AbortOnDropHandle::new(tokio::spawn(search::keep_read(
        rooms.db.clone(),
        config.app.search_language,
        shutdown.token(),
    )));
    let roller = Roller::new(database.pool.clone(), Days(config.app.time_zone));
    let _roller = AbortOnDropHandle::new(tokio::spawn(roller.keep(config.queue.sweep_interval, shutdown.token())));
    let forgetting = forgetting::keep_forgetting(database.pool.clone(), config.queue.sweep_interval, shutdown.token());
    let _forgetting = AbortOnDropHandle::new(tokio::spawn(forgetting));
    let settings = runner::worker_settings(&config.queue, config.prices.list.clone());
    let workers = Workers::new(database.options.clone(), database.listen_options.clone(), waker, settings);
    runner::register(workers, &rooms, &config.queue).run(shutdown.token()).await
}
