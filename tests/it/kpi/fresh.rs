//! Old numbers never pass for fresh ones.

use chrono::{NaiveDate, TimeDelta};
use chrono_tz::Tz;
use goto_automation::model::Days;
use goto_automation::pipeline::kpi::Roller;
use rstest::rstest;

use super::made::{Made, READ, bring_up_to_date, by_day, seen};
use super::seeded;
use crate::support::FrontDoor;

const ZONE: Tz = Tz::Europe__Berlin;

fn last() -> NaiveDate {
    "2026-03-31".parse().unwrap()
}

/// Some calls that have been added up; the first of them has something open, on the last day.
async fn added_up() -> (FrontDoor, Vec<Made>) {
    let mut random = seeded();
    let door = FrontDoor::open_in(ZONE).await;
    let mut calls = Vec::new();
    for place in 0..12 {
        let mut call = Made::any(&mut random, ZONE, last());
        call.started_at = Some(Days(ZONE).start(last()) - TimeDelta::days(place / 2) + TimeDelta::hours(3));
        call.items = vec![super::made::Item { state: "open", due: None, current: true }];
        call.insert(&door).await;
        calls.push(call);
    }
    bring_up_to_date(&door, ZONE).await;
    (door, calls)
}

/// Transactions of another server have other numbers: its copy has been followed up to one that is yet to come here, or
/// one that was long ago.
#[rstest]
#[case::of_higher_numbers("UPDATE kpi_progress SET transaction = transaction + 1000000000")]
#[case::of_lower_numbers("UPDATE kpi_progress SET transaction = 3; UPDATE changes SET transaction = 3")]
#[tokio::test]
async fn the_copy_of_another_server_goes_on(#[case] copied: &'static str) {
    let (door, mut calls) = added_up().await;
    let key = door.key(&[READ]).await;
    sqlx::raw_sql(copied).execute(door.pool()).await.unwrap();
    for call in 0..3 {
        calls[call].complete_items(&door).await;
        bring_up_to_date(&door, ZONE).await;
        let (table, daily) = seen(&door, &key, last()).await;
        assert_eq!(table, by_day(&calls, ZONE, last()));
        assert!(daily["updated_at"].is_string(), "from the table: {daily}");
    }
}

/// As long as somebody's transaction is open, nobody knows what stands before it.
#[tokio::test]
async fn what_cannot_be_followed_yet_is_read_from_the_calls() {
    let (door, mut calls) = added_up().await;
    let key = door.key(&[READ]).await;
    let roller = Roller::new(door.pool().clone(), Days(ZONE));
    let mut slow = door.pool().begin().await.unwrap();
    sqlx::raw_sql("SELECT pg_current_xact_id()").execute(&mut *slow).await.unwrap();
    calls[0].complete_items(&door).await;
    // That goes on for some minutes.
    let later = "UPDATE changes SET at = at - interval '3 minutes';
         UPDATE kpi_progress SET followed_at = followed_at - interval '3 minutes'";
    sqlx::raw_sql(later).execute(door.pool()).await.unwrap();
    roller.bring_up_to_date().await.unwrap();
    let (raw, daily) = seen(&door, &key, last()).await;
    assert_eq!(raw, by_day(&calls, ZONE, last()));
    assert!(daily["updated_at"].is_null(), "from the calls: {daily}");

    slow.rollback().await.unwrap();
    bring_up_to_date(&door, ZONE).await;
    let (table, daily) = seen(&door, &key, last()).await;
    assert_eq!(table, by_day(&calls, ZONE, last()));
    assert!(daily["updated_at"].is_string(), "from the table: {daily}");
}

#[tokio::test]
async fn a_day_that_cannot_be_added_up_holds_up_no_other_and_is_read_from_its_calls() {
    let (door, mut calls) = added_up().await;
    let key = door.key(&[READ]).await;
    let broken = "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
         CREATE TRIGGER fail BEFORE UPDATE ON kpis FOR EACH ROW
             WHEN (NEW.day = '2026-03-31' AND NEW.stale_since IS NULL) EXECUTE FUNCTION fail()";
    sqlx::raw_sql(broken).execute(door.pool()).await.unwrap();
    for call in &mut calls {
        call.complete_items(&door).await;
    }
    bring_up_to_date(&door, ZONE).await;
    let stale: Vec<NaiveDate> =
        sqlx::query_scalar("SELECT day FROM kpis WHERE stale_since IS NOT NULL").fetch_all(door.pool()).await.unwrap();
    assert_eq!(stale, [last()], "all others have been added up");

    let later = "UPDATE kpis SET stale_since = stale_since - interval '3 minutes'";
    sqlx::raw_sql(later).execute(door.pool()).await.unwrap();
    // A further change does not make it young again.
    calls[0].complete_items(&door).await;
    bring_up_to_date(&door, ZONE).await;
    let (numbers, daily) = seen(&door, &key, last()).await;
    assert_eq!(numbers, by_day(&calls, ZONE, last()));
    assert!(daily["updated_at"].is_string(), "the others are from the table: {daily}");
}
