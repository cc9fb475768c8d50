//! Keeps the search's index in the language of the settings. Texts that come in are read at once, by the database; here are
//! those of earlier versions and of other languages.

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::store::search;

/// Calls that are read at a time.
const BATCH: i64 = 200;
/// Between two batches, so that readers and workers notice nothing of it.
const PAUSE: Duration = Duration::from_millis(50);
/// After an error, or while another process reads.
const LONG_PAUSE: Duration = Duration::from_secs(10);

/// Reads what is to be read, and ends when there is nothing left or with `stop`. Several processes may do so at once.
pub async fn keep_read(db: PgPool, language: &'static str, stop: CancellationToken) {
    let reading = async {
        while let Err(error) = search::speak(&db, language).await {
            tracing::warn!(%error, "The language of the search was not set; trying again.");
            sleep(LONG_PAUSE).await;
        }
        loop {
            match search::refresh(&db, BATCH).await {
                Ok(false) => return,
                Ok(true) => sleep(PAUSE).await,
                Err(error) => {
                    tracing::warn!(%error, "Texts were not read for the search; trying again.");
                    sleep(LONG_PAUSE).await;
                }
            }
        }
    };
    stop.run_until_cancelled(reading).await;
}
