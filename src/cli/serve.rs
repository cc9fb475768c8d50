//! `serve`: webhooks and API.

use clap::Args;
use tokio::net::TcpListener;

use super::Failure;
use crate::app::{self, Database};
use crate::config::Config;
use crate::http::server::socket;
use crate::queue::Waker;
use crate::shutdown::{self, Shutdown};
use crate::{http, pipeline, telemetry};

const EXAMPLES: &str = "\
Examples:
  goto-automation serve
  goto-automation serve --with-worker --migrate

Needs DATABASE_URL and GOTO_WEBHOOK_SECRET. It refuses to start on a
database that is behind. A listening socket that is handed over (LISTEN_FDS,
as systemd does it) takes the place of API_HOST and API_PORT.";

/// Serve webhooks and the API.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// Work on jobs in the same process.
    #[arg(long)]
    pub with_worker: bool,
    /// Bring the database up to date first.
    #[arg(long)]
    pub migrate: bool,
}

pub(super) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let handed_over = socket::handed_over().map_err(|error| {
        Failure::failed(format!(
            "Cannot use what was handed over in LISTEN_FDS: {error}. One listening TCP socket is expected, as of a unit \
             with one ListenStream=."
        ))
    })?;
    let config = Config::from_environment()?;
    let settings = config.require_for_serve()?;
    config.queue.check_steps(&pipeline::names().collect::<Vec<_>>())?;
    telemetry::init(&config.app);
    telemetry::announce(&config, if args.with_worker { "serve with worker" } else { "serve" }, false);
    let shutdown = Shutdown::on_signals()?;
    shutdown::watchdog();
    let database = Database::new(settings)?;
    let waker = Waker::default();
    let listener = match handed_over {
        Some(listener) => listener,
        None => bind(&config.app.listen_address()).await?,
    };
    // Port 0 is any free one.
    let address = listener.local_addr()?;
    // The doors are open while the database is still waited for: senders get a 503 and come again.
    let doors = app::serve(&config, listener, http::routes(app::doors(&config, &database, waker.clone())?), &shutdown);
    let rest = async {
        if !database.ready(args.migrate, &shutdown).await? {
            return Ok(());
        }
        database.spawn_notifier(&waker, &shutdown);
        shutdown::ready(&format!("Serving on {address}."));
        tracing::info!(%address, "Serving.");
        if args.with_worker {
            app::work(&config, &database, waker.clone(), &shutdown).await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let ended = tokio::try_join!(doors, rest).map(|_| ());
    shutdown::stopping();
    Ok(ended?)
}

async fn bind(address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Failure::failed(format!("Cannot listen on {address}: {error}. Is another server running?")))
}
