//! Calls of two years, nine of ten with a transcript of 600 words, an analysis, what the search has of them, jobs, attempts,
//! deliveries and action items.

use std::time::Instant;

use anyhow::ensure;
use chrono::{DateTime, TimeDelta, Utc};
use goto_automation::model::clock;
use rand::RngExt as _;
use sqlx::postgres::{PgConnection, PgPoolOptions};
use sqlx::{Connection as _, PgPool};

/// Made in one statement.
const BATCH: i64 = 20_000;
/// Statements at the same time.
const HANDS: i64 = 2;
/// The time over which the calls are spread.
const SPAN: TimeDelta = TimeDelta::days(730);

/// How many calls there are, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct World {
    pub(super) calls: i64,
    newest: DateTime<Utc>,
}

impl World {
    /// A moment from which there are calls before and after.
    pub(super) fn any_moment(self) -> DateTime<Utc> {
        self.newest - TimeDelta::minutes(rand::rng().random_range(0..SPAN.num_minutes()))
    }

    /// What another run has made and left.
    pub(super) async fn find(db: &PgPool) -> anyhow::Result<Self> {
        let (calls, newest) =
            sqlx::query_as("SELECT count(*), max(started_at) FROM calls WHERE external_id LIKE 'bench-%'")
                .fetch_one(db)
                .await?;
        Ok(Self { calls, newest })
    }

    /// Fills an empty database.
    pub(super) async fn make(url: &str, calls: i64) -> anyhow::Result<Self> {
        let began = Instant::now();
        let db = PgPoolOptions::new().max_connections(1).connect(url).await?;
        let world = Self { calls, newest: clock::now() };
        // Filled afterwards, in one go.
        run(&db, "DROP INDEX call_texts_words").await?;
        run(&db, include_str!("paragraphs.sql")).await?;
        run(&db, "VACUUM (ANALYZE) paragraphs").await?;
        let hands = (0..HANDS).map(|hand| world.fill(url, hand));
        futures::future::try_join_all(hands).await?;
        run(&db, "SET maintenance_work_mem = '1GB'").await?;
        run(&db, "CREATE INDEX call_texts_words ON call_texts USING gin (words) WITH (fastupdate = off)").await?;
        run(&db, "DROP TABLE paragraphs").await?;
        run(&db, "UPDATE search_settings SET stale_after = NULL").await?;
        run(&db, "SELECT setval(pg_get_serial_sequence('jobs', 'id'), (SELECT max(id) FROM every_job) + 1)").await?;
        check(&db).await?;
        run(&db, "VACUUM (ANALYZE)").await?;
        run(&db, "CHECKPOINT").await?;
        let size: String =
            sqlx::query_scalar("SELECT pg_size_pretty(pg_database_size(current_database()))").fetch_one(&db).await?;
        db.close().await;
        println!("A world of {calls} calls, {size}, was made in {:.0} s.", began.elapsed().as_secs_f64());
        Ok(world)
    }

    async fn fill(self, url: &str, hand: i64) -> anyhow::Result<()> {
        let mut db = PgConnection::connect(url).await?;
        // Without the triggers: they would do the same call by call.
        sqlx::raw_sql("SET session_replication_role = replica; SET synchronous_commit = off").execute(&mut db).await?;
        let mut first = 1 + hand * BATCH;
        while first <= self.calls {
            let last = (first + BATCH - 1).min(self.calls);
            let calls = sqlx::query(include_str!("calls.sql")).bind(first).bind(last).bind(self.calls);
            calls.bind(self.newest).execute(&mut db).await?;
            sqlx::query(include_str!("summaries.sql")).bind(first).bind(last).execute(&mut db).await?;
            let parts = sqlx::query(include_str!("parts.sql")).bind(first).bind(last);
            parts.bind(self.newest).execute(&mut db).await?;
            first += HANDS * BATCH;
        }
        Ok(db.close().await?)
    }
}

/// What the triggers make of some of the calls is what was written without them.
async fn check(db: &PgPool) -> anyhow::Result<()> {
    run(db, include_str!("rewrite.sql")).await?;
    let differ: Vec<String> = sqlx::query_scalar(include_str!("differences.sql")).fetch_all(db).await?;
    ensure!(differ.is_empty(), "the triggers make something else of {}", differ.join(", "));
    run(db, "DROP TABLE sample").await
}

async fn run(db: &PgPool, statements: &'static str) -> anyhow::Result<()> {
    sqlx::raw_sql(statements).execute(db).await?;
    Ok(())
}
