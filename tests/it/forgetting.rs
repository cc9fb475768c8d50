//! What is kept for a day goes when it is older, and to find it nobody reads all that is young.

use goto_automation::pipeline::forgetting::forget;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::support::{Database, FrontDoor};

/// 5,000 rows of yesterday, 30,000 of today.
const CHANGES: &str = "INSERT INTO changes (transaction, at, kind, call_ids, states)
     SELECT 3, now() - CASE WHEN n <= 5000 THEN interval '25 hours' ELSE interval '23 hours' END, 'call',
         ARRAY[gen_random_uuid()], ARRAY['completed']
     FROM generate_series(1, 35000) n ORDER BY n;
     ANALYZE changes";

#[tokio::test]
async fn old_changes_go_and_the_young_ones_are_not_even_looked_at() {
    let database = Database::fresh().await;
    let alone = PgPoolOptions::new().max_connections(1).connect(database.url()).await.unwrap();
    sqlx::raw_sql(CHANGES).execute(&alone).await.unwrap();
    let before = sequential_scans(&alone).await;
    forget(&alone).await.unwrap();
    assert_eq!(sequential_scans(&alone).await, before);
    let left: (i64, bool) = sqlx::query_as("SELECT count(*), bool_and(at > now() - interval '24 hours') FROM changes")
        .fetch_one(&alone)
        .await
        .unwrap();
    assert_eq!(left, (30_000, true), "all batches of the old ones, and nothing else");
    assert!(sequential_scans(&alone).await > before, "a scan would have been seen");
}

async fn sequential_scans(db: &PgPool) -> i64 {
    sqlx::raw_sql("SELECT pg_stat_force_next_flush()").execute(db).await.unwrap();
    sqlx::query_scalar("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'changes'")
        .fetch_one(db)
        .await
        .unwrap()
}

/// They would look new for as long as the numbers of this server are lower.
#[tokio::test]
async fn changes_of_another_server_go() {
    let database = Database::fresh().await;
    let copied = "INSERT INTO changes (transaction, kind, call_ids, states)
         SELECT t, 'call', ARRAY[gen_random_uuid()], ARRAY['completed'] FROM (VALUES (3), (1000000000000)) of (t)";
    sqlx::raw_sql(copied).execute(database.pool()).await.unwrap();
    forget(database.pool()).await.unwrap();
    let left: Vec<i64> =
        sqlx::query_scalar("SELECT transaction FROM changes").fetch_all(database.pool()).await.unwrap();
    assert_eq!(left, [3]);
}

#[tokio::test]
async fn answers_of_yesterday_go_whether_or_not_anybody_asks() {
    let door = FrontDoor::open().await;
    door.key(&["admin"]).await;
    let answers = "INSERT INTO idempotent_answers (api_key_id, idempotency_key, request_hash, nonce, status, body, created_at)
         SELECT id, n::text, '', '', 200, '{}', now() - n * interval '1 hour' FROM api_keys, generate_series(1, 3000) n";
    sqlx::raw_sql(answers).execute(door.pool()).await.unwrap();
    forget(door.pool()).await.unwrap();
    assert_eq!(door.count("SELECT count(*) FROM idempotent_answers").await, 23);
}
