//! How many statements an idle worker process with all steps sends: the real program, with nothing to do.

use std::time::{Duration, Instant};

use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};
use std::str::FromStr as _;

use crate::Figures;
use crate::server::Server;
use crate::webhook::program;

/// PostgreSQL counts a backend's transactions at most a second late.
const SETTLE: Duration = Duration::from_secs(5);
const WATCHED: Duration = Duration::from_secs(20);

pub(crate) async fn measure(server: &Server) -> anyhow::Result<Figures> {
    let database = server.database().await?;
    database.pool.close().await;
    let mut worker = program(&["worker"], &database.url).spawn()?;
    // From another database: the questions of the bench are not counted.
    let mut watcher = PgConnectOptions::from_str(&server.url_of("postgres"))?.connect().await?;
    let mut statements = async || -> anyhow::Result<i64> {
        let count = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1";
        Ok(sqlx::query_scalar(count).bind(&database.name).fetch_one(&mut watcher).await?)
    };
    tokio::time::sleep(SETTLE).await;
    let (before, began) = (statements().await?, Instant::now());
    tokio::time::sleep(WATCHED).await;
    let rate = (statements().await? - before) as f64 / began.elapsed().as_secs_f64();
    worker.kill().await?;
    server.drop(database).await?;
    Ok(vec![("idle_queries_per_s", rate)])
}
