//! A database of an earlier version is brought up to date while somebody is at work on it.

use std::path::Path;
use std::time::Duration;

use goto_automation::store::migrations;
use rstest::rstest;
use sqlx::migrate::Migrator;
use sqlx::{PgConnection, PgPool};
use tokio::time::sleep;

use crate::support::{Database, FrontDoor, SECRET};

/// The last version that was released before this one.
const RELEASED: i64 = 10;

async fn run(db: &mut PgConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(db).await.unwrap();
}

/// A database as the released version has made it.
async fn released() -> Database {
    of_version(RELEASED).await
}

async fn of_version(version: i64) -> Database {
    let database = Database::fresh().await;
    let mut connection = database.pool().acquire().await.unwrap();
    run(&mut connection, "DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut migrator = Migrator::new(folder).await.unwrap();
    migrator.migrations.to_mut().retain(|migration| migration.version <= version);
    migrator.run(&mut *connection).await.unwrap();
    database
}

/// Waits until somebody waits for a table.
async fn until_waiting(db: &PgPool) {
    let question = "SELECT count(*) FROM pg_locks WHERE locktype = 'relation' AND NOT granted
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    while sqlx::query_scalar::<_, i64>(question).fetch_one(db).await.unwrap() == 0 {
        sleep(Duration::from_millis(10)).await;
    }
}

const CALL: &str = "
    INSERT INTO calls (id, source, external_id, direction, recording, caller_number)
    VALUES ('019b0000-0000-7000-8000-000000000001', 'signed', 'a', 'inbound', 'none', repeat('7', 5000));
    INSERT INTO call_summaries (call_id, run, summary, statements, sentiment, urgency, topics)
    VALUES ('019b0000-0000-7000-8000-000000000001', 1, 'A refund.', '[]', 'neutral', 3, '{billing}'),
           ('019b0000-0000-7000-8000-000000000001', 2, 'A refund.', '[]', 'negative', 4, '{refund}');
    INSERT INTO action_items (id, call_id, run, position, text, evidence, supported)
    VALUES (gen_random_uuid(), '019b0000-0000-7000-8000-000000000001', 1, 0, 'Refund it', '{}', true),
           (gen_random_uuid(), '019b0000-0000-7000-8000-000000000001', 2, 0, 'Refund them', '{}', true),
           (gen_random_uuid(), '019b0000-0000-7000-8000-000000000001', 2, 1, 'Call back', '{}', true)";

/// A worker that has begun to write a result when the migration comes, in the order of an analysis, and in one that nobody
/// expects: neither the worker nor the migration fails, whether the worker needs the next table at once or when PostgreSQL
/// has already looked for a deadlock of the migration's and found none (it looks once, after a second).
#[rstest]
#[case(Duration::ZERO)]
#[case(Duration::from_millis(1_200))]
#[tokio::test]
async fn a_worker_in_the_middle_of_a_result_is_let_go(#[case] pause: Duration) {
    for begun in ["LOCK TABLE call_summaries IN ROW EXCLUSIVE MODE", "LOCK TABLE action_items IN ROW EXCLUSIVE MODE"] {
        let database = released().await;
        let mut worker = database.pool().acquire().await.unwrap();
        run(&mut worker, CALL).await;
        run(&mut worker, "BEGIN").await;
        run(&mut worker, begun).await;
        let finish = async {
            until_waiting(database.pool()).await;
            sleep(pause).await;
            run(
                &mut worker,
                "INSERT INTO call_summaries (call_id, run, summary, statements, sentiment, urgency, topics)
                 VALUES ('019b0000-0000-7000-8000-000000000001', 3, 'Solved.', '[]', 'positive', 1, '{solved}');
                 UPDATE calls SET state = 'completed';
                 COMMIT",
            )
            .await;
        };
        let (migrated, ()) = tokio::join!(migrations::apply(database.pool()), finish);
        migrated.unwrap();
        assert_eq!(migrations::missing(database.pool()).await.unwrap(), [""; 0]);
        let facts: (String, i16, i32, i32) =
            sqlx::query_as("SELECT sentiment, urgency, open_actions, length(caller_digits) FROM calls")
                .fetch_one(database.pool())
                .await
                .unwrap();
        assert_eq!(facts, ("positive".to_owned(), 1, 0, 64), "{begun}");
    }
}

/// Else it would be worked with as if it had what it has not.
#[tokio::test]
async fn a_database_of_a_build_that_was_never_released_is_refused() {
    let database = Database::fresh().await;
    assert_eq!(migrations::missing(database.pool()).await.unwrap(), [""; 0]);
    let mut other = database.pool().acquire().await.unwrap();
    run(&mut other, r"UPDATE _sqlx_migrations SET checksum = '\x00' WHERE version = 12").await;
    let error = migrations::missing(database.pool()).await.unwrap_err();
    assert!(matches!(error, sqlx::Error::Migrate(_)) && error.to_string().contains("12"), "{error}");
    let door = FrontDoor::on(database.pool().clone(), &[SECRET]).await;
    let ready = door.get("/health/ready").send().await.unwrap();
    assert_eq!(ready.status(), 503);
    let problem = ready.text().await.unwrap();
    assert!(problem.contains("another build") && problem.contains("goto-automation migrate"), "{problem}");
}

#[tokio::test]
async fn earlier_calls_get_what_lists_show_of_their_latest_analysis() {
    let database = released().await;
    let mut old = database.pool().acquire().await.unwrap();
    run(&mut old, CALL).await;
    migrations::apply(database.pool()).await.unwrap();
    let facts: (String, i16, Vec<String>, i32) =
        sqlx::query_as("SELECT sentiment, urgency, topics, open_actions FROM calls")
            .fetch_one(database.pool())
            .await
            .unwrap();
    assert_eq!(facts, ("negative".to_owned(), 4, vec!["refund".to_owned()], 2));
}

/// Numbers of calls that came before: one with 00 for the `+`, one with what is not dialled from abroad.
#[tokio::test]
async fn earlier_numbers_are_read_in_any_notation() {
    let database = of_version(15).await;
    let mut old = database.pool().acquire().await.unwrap();
    run(
        &mut old,
        "INSERT INTO calls (id, source, external_id, direction, recording, caller_number, called_number)
         VALUES ('019b0000-0000-7000-8000-000000000001', 'signed', 'a', 'inbound', 'none', '0044 (20) 7946-0000', '1001'),
                ('019b0000-0000-7000-8000-000000000002', 'signed', 'b', 'inbound', 'none', '+15550100001', '+49 (0)30 90');
         INSERT INTO call_summaries (call_id, run, summary, statements, sentiment, urgency, topics)
         SELECT id, 1, 'A refund.', '[]', 'neutral', 3, '{refund}' FROM calls",
    )
    .await;
    migrations::apply(database.pool()).await.unwrap();
    let found: Vec<(String, String, String, bool)> = sqlx::query_as(
        "SELECT c.caller_digits, c.called_digits, o.caller_digits || ' ' || o.called_digits,
                t.words @@ quote_literal('~caller/' || left(c.caller_digits, 4))::tsquery
         FROM calls c JOIN call_topics o ON o.call_id = c.id JOIN call_texts t ON t.call_id = c.id ORDER BY external_id",
    )
    .fetch_all(database.pool())
    .await
    .unwrap();
    let row = |caller: &str, called: &str| (caller.to_owned(), called.to_owned(), format!("{caller} {called}"), true);
    assert_eq!(found, [row("442079460000", "1001"), row("15550100001", "493090")]);
}
