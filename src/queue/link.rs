//! One database connection of a queue task: bounded in time, dropped on any doubt, made anew with backoff.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::time::{Instant, sleep, timeout};

use crate::model::database_is_away;

/// Longest time for one statement of the queue; past it the connection is closed, because it may be half open.
const STATEMENT_LIMIT: Duration = Duration::from_secs(10);
/// The same for the server, which otherwise works on for a client that has given up, and may commit much later.
const SERVER_LIMIT: &str = "10s";
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A connection that heals itself. Not from the pool: the queue must not wait behind the product's queries, and a
/// statement that was cut off must close its connection instead of handing it to somebody else.
pub(super) struct Link {
    options: PgConnectOptions,
    task: &'static str,
    connection: Option<PgConnection>,
    pause: Duration,
    /// Since when the database has answered without a failure in between; `None` before the first failure.
    back_since: Option<Instant>,
}

impl Link {
    pub(super) fn new(options: PgConnectOptions, task: &'static str) -> Self {
        let options =
            options.application_name(&format!("goto-automation {task}")).options([("statement_timeout", SERVER_LIMIT)]);
        Self { options, task, connection: None, pause: FIRST_PAUSE, back_since: None }
    }

    /// True when the last unit of work failed.
    pub(super) fn is_cut_off(&self) -> bool {
        self.pause > FIRST_PAUSE
    }

    /// True when the database was away and came back less than `lease` ago: leases of workers that could not renew
    /// them are still to be trusted.
    pub(super) fn came_back_within(&self, lease: Duration) -> bool {
        self.back_since.is_some_and(|since| since.elapsed() < lease)
    }

    /// Runs one unit of work. After an error that is not about the rows themselves it sleeps for a growing pause, so that
    /// a loop around this never spins, and the connection is dropped.
    pub(super) async fn run<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let result = self.attempt(work).await;
        match &result {
            Ok(_) => {
                if self.is_cut_off() {
                    tracing::info!(task = self.task, "The database is back.");
                    self.back_since = Some(Instant::now());
                    self.pause = FIRST_PAUSE;
                }
            }
            // For the caller to mend; the connection is fine.
            Err(error) if is_data_error(error) => {}
            Err(error) => {
                let away = database_is_away(error);
                if !away {
                    tracing::error!(task = self.task, %error, "The database refuses the queue; trying again.");
                } else if self.pause == FIRST_PAUSE {
                    tracing::warn!(task = self.task, %error, "The database does not answer; trying again.");
                }
                sleep(self.pause).await;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
        }
        result
    }

    async fn attempt<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let bounded = async {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.options.connect().await?,
            };
            let value = work(&mut connection).await;
            // Taken out above: a future that is dropped in the middle closes the connection with it. After any trouble but
            // bad rows another connection may do better, for instance when the server has become a standby.
            if value.as_ref().map_or_else(is_data_error, |_| true) {
                self.connection = Some(connection);
            }
            value
        };
        match timeout(STATEMENT_LIMIT, bounded).await {
            Ok(result) => result,
            Err(_) => Err(sqlx::Error::Io(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("no answer within {} s", STATEMENT_LIMIT.as_secs()),
            ))),
        }
    }

    /// Says goodbye to the server.
    pub(super) async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = timeout(Duration::from_secs(1), connection.close()).await;
        }
    }
}

/// True when the rows themselves were refused (class 22 data exception, 23 integrity, 54 limits): a repeat of the same
/// batch would fail for ever.
pub(super) fn is_data_error(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(db)
        if db.code().is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class))))
        || matches!(error, sqlx::Error::Encode(_))
}
