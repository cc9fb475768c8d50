//! What may be asked, and how much at a time.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use futures::future::select_all;
use goto_automation::model::{CallBounds, Days, Direction};
use goto_automation::pipeline::kpi::Reader;
use rstest::rstest;
use tokio::time::timeout;

use super::made::{PATIENCE, READ, bring_up_to_date};
use crate::support::FrontDoor;

const OUTBOUND: CallBounds =
    CallBounds { direction: Some(Direction::Outbound), number_prefix: None, from: None, to: None };

#[rstest]
#[case("/api/kpi/daily?days=0", "days")]
#[case("/api/kpi/daily?days=367", "days")]
#[case("/api/kpi/daily?last_day=2026-02-30", "last_day")]
#[case("/api/kpi/weekly?weeks=99999999999999999999", "weeks")]
#[case("/api/kpi/dashboard?period=year", "period")]
#[case("/api/kpi/dashboard?day=7", "day")]
#[tokio::test]
async fn bad_questions_are_refused(#[case] path: &str, #[case] field: &str) {
    let door = FrontDoor::open().await;
    let (status, problem) = door.ask(&door.key(&[READ]).await, path).await;
    assert_eq!((status, problem["errors"][0]["field"].as_str()), (400, Some(field)), "{problem}");
}

/// Whoever asks for what has to be read from the calls must not take all connections to the database.
#[tokio::test]
async fn two_at_a_time_read_the_calls() {
    let door = FrontDoor::open().await;
    let key = door.bound_key(&[READ], &OUTBOUND).await;
    let mut slow = door.pool().begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE calls IN ACCESS EXCLUSIVE MODE").execute(&mut *slow).await.unwrap();
    let ask = || Box::pin(door.ask(&key, "/api/kpi/daily?days=366"));
    let ((status, problem), _, others) = select_all([ask(), ask(), ask()]).await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("overloaded")));
    // What the table has is there all the same.
    let free = door.key(&[READ]).await;
    slow.rollback().await.unwrap();
    for answer in others {
        assert_eq!(answer.await.0, 200);
    }
    assert_eq!(door.ask(&free, "/api/kpi/daily").await.0, 200);
}

#[tokio::test]
async fn who_asks_for_too_much_is_told_to_ask_for_less() {
    let door = FrontDoor::open().await;
    let key = door.bound_key(&[READ], &OUTBOUND).await;
    let mut slow = door.pool().begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE calls IN ACCESS EXCLUSIVE MODE").execute(&mut *slow).await.unwrap();
    // As the time limit does.
    let stop = "SELECT count(*) FROM (SELECT pg_cancel_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock') stopped";
    let stopped = async {
        while door.count(stop).await == 0 {
            tokio::task::yield_now().await;
        }
    };
    let ((status, problem), stopped) =
        tokio::join!(door.ask(&key, "/api/kpi/daily?days=366"), timeout(PATIENCE, stopped));
    stopped.expect("the question waits for the calls");
    assert_eq!((status, problem["code"].as_str()), (503, Some("too_much_at_once")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("fewer days"), "{problem}");
}

/// Time passes, and nobody writes.
#[tokio::test]
async fn items_become_overdue_by_themselves() {
    let door = FrontDoor::open().await;
    let insert = "INSERT INTO calls (id, source, external_id, direction, started_at, recording)
         VALUES ('019b0000-0000-7000-8000-00000000000a', 'signed', 'x', 'outbound', '2026-01-05T12:00:00Z', 'none');
         INSERT INTO action_items (id, call_id, run, position, text, due_at, evidence, supported)
         SELECT gen_random_uuid(), c.id, 1, n, 'x', '2030-06-01T12:00:00Z'::timestamptz + n * interval '1 day', '{}', true
         FROM calls c, generate_series(0, 2) n";
    sqlx::raw_sql(insert).execute(door.pool()).await.unwrap();
    bring_up_to_date(&door, Tz::UTC).await;
    let (reader, days) = (Reader::default(), Days(Tz::UTC));
    let day = [days.until("2026-01-05".parse().unwrap(), 1)];
    for (now, expected) in [
        ("2030-06-01T11:59:59.999999Z", 0),
        ("2030-06-01T12:00:00Z", 1),
        ("2030-06-02T11:00:00Z", 1),
        ("2030-06-02T12:00:00Z", 2),
        ("2999-01-01T00:00:00Z", 3),
    ] {
        let now: DateTime<Utc> = now.parse().unwrap();
        for bounds in [CallBounds::default(), OUTBOUND] {
            let reading = reader.read(door.pool(), days, &day, &bounds, now).await.unwrap();
            assert_eq!(reading.numbers[0].overdue, expected, "{now}");
            assert_eq!(reading.added_up_at.is_some(), bounds.is_unbounded(), "from the table, and from the calls");
        }
    }
}
