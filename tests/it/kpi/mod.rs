//! The numbers of days: what workers keep in a table is what the calls say, in every time zone.

mod asked;
mod fresh;
mod made;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use goto_automation::model::{ApiKey, CallBounds, DayRange, Days, Direction};
use goto_automation::pipeline::kpi::Roller;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rstest::rstest;
use serde_json::{Value, json};

use self::made::{DAYS, Made, READ, bring_all_up_to_date, bring_up_to_date, by_day, seen};
use crate::support::{FrontDoor, SECRET};

#[rstest]
#[case::plain("UTC", "2026-01-07", ("2026-01-05", 24 * 60))]
#[case::leap_day("America/Sao_Paulo", "2024-03-03", ("2024-02-29", 24 * 60))]
#[case::spring("Europe/Berlin", "2026-03-31", ("2026-03-29", 23 * 60))]
#[case::autumn("America/New_York", "2026-11-03", ("2026-11-01", 25 * 60))]
#[case::half_hours("Asia/Kolkata", "2024-03-02", ("2024-02-29", 24 * 60))]
#[case::quarters("Asia/Kathmandu", "2026-07-01", ("2026-07-01", 24 * 60))]
#[case::half_an_hour_of_summer("Australia/Lord_Howe", "2026-04-08", ("2026-04-05", 24 * 60 + 30))]
#[case::midnight_twice("America/Havana", "2026-11-04", ("2026-11-01", 25 * 60))]
#[case::no_midnight("Africa/Cairo", "2026-04-27", ("2026-04-24", 23 * 60))]
#[tokio::test]
async fn the_table_says_what_the_calls_say(
    #[case] zone: Tz,
    #[case] last: NaiveDate,
    #[case] (odd, minutes): (&str, i64),
) {
    let odd = DayRange { first: odd.parse().unwrap(), last: odd.parse().unwrap() };
    assert!(Days(zone).until(last, DAYS).days().any(|day| day == odd.first), "the story looks at the odd day");
    let (from, to) = Days(zone).moments(odd);
    assert_eq!((to - from).num_minutes(), minutes, "and it is as long as it should be");

    let mut random = seeded();
    let door = FrontDoor::open_in(zone).await;
    // Others look at the same calls by another clock.
    let elsewhere = FrontDoor::on(door.pool().clone(), &[SECRET]).await;
    let key = door.key(&[READ]).await;
    let mut calls: Vec<Made> = Vec::new();
    for round in 0..4 {
        for _ in 0..20 {
            let call = Made::any(&mut random, zone, last);
            call.insert(&door).await;
            calls.push(call);
        }
        // Something that is known already changes, too.
        for _ in 0..8 {
            let changed = random.random_range(0..calls.len());
            calls[changed].change(&mut random, &door).await;
        }
        stop_in_the_middle(&door, zone, random.random_range(0..500)).await;
        if round % 2 == 1 {
            bring_all_up_to_date(&door, Tz::UTC).await;
            assert_eq!(seen(&elsewhere, &key, last).await.0, by_day(&calls, Tz::UTC, last), "in another zone");
        }
        bring_all_up_to_date(&door, zone).await;
        let (table, daily) = seen(&door, &key, last).await;
        assert_eq!(table, by_day(&calls, zone, last), "the table");
        assert!(daily["updated_at"].is_string(), "from the table: {daily}");
    }
    // A bound key is told what the calls themselves say.
    let everything = CallBounds { from: Some(DateTime::UNIX_EPOCH), ..CallBounds::default() };
    let (raw, daily) = seen(&door, &door.bound_key(&[READ], &everything).await, last).await;
    assert_eq!(raw, by_day(&calls, zone, last), "the calls");
    assert!(daily["updated_at"].is_null());
    let inbound = CallBounds { direction: Some(Direction::Inbound), ..CallBounds::default() };
    let (raw, _) = seen(&door, &door.bound_key(&[READ], &inbound).await, last).await;
    calls.retain(|call| call.direction == "inbound");
    assert_eq!(raw, by_day(&calls, zone, last), "the inbound calls");
}

fn seeded() -> StdRng {
    let seed: u64 = rand::random();
    println!("SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// A worker begins to bring the table up to date, and dies at some moment of it.
async fn stop_in_the_middle(door: &FrontDoor, zone: Tz, moment: u32) {
    let roller = Roller::new(door.pool().clone(), Days(zone));
    let death = async {
        for _ in 0..moment {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        ended = roller.bring_up_to_date() => ended.unwrap(),
        () = death => {}
    }
}

/// Each `{count, list}` of an answer.
fn counts(value: &Value, into: &mut Vec<(i64, String)>) {
    let Value::Object(fields) = value else { return };
    if let (Some(count), Some(list)) = (fields.get("count"), fields.get("list")) {
        into.push((count.as_i64().unwrap(), list.as_str().unwrap().to_owned()));
    }
    fields.values().for_each(|value| counts(value, into));
}

#[tokio::test]
async fn each_number_counts_what_its_list_shows() {
    let mut random = seeded();
    let (zone, last) = (Tz::Europe__Berlin, "2026-03-31".parse().unwrap());
    let door = FrontDoor::open_in(zone).await;
    for _ in 0..60 {
        Made::any(&mut random, zone, last).insert(&door).await;
    }
    bring_up_to_date(&door, zone).await;
    let outbound = CallBounds { direction: Some(Direction::Outbound), ..CallBounds::default() };
    for key in [door.key(&[READ]).await, door.bound_key(&[READ], &outbound).await] {
        let (status, weekly) = door.ask(&key, &format!("/api/kpi/weekly?weeks=2&last_day={last}")).await;
        assert_eq!(status, 200, "{weekly}");
        let mut told = Vec::new();
        weekly["weeks"].as_array().unwrap().iter().for_each(|week| counts(week, &mut told));
        assert_eq!(told.len(), 2 * 11, "{weekly:#}");
        assert!(told.iter().any(|(count, _)| *count > 1), "{told:?}");
        for (count, list) in told {
            assert_eq!(door.all(&key, &list).await.len() as i64, count, "{list}");
        }
        for week in weekly["weeks"].as_array().unwrap() {
            what_is_added_up_is_that_of_its_list(&door, &key, week).await;
        }
    }
}

/// The numbers that are no counts: lengths, moods, costs, and how quickly people heard of the calls.
async fn what_is_added_up_is_that_of_its_list(door: &FrontDoor, key: &ApiKey, week: &Value) {
    let list = week["duration"]["list"].as_str().unwrap();
    assert_eq!(week["notification"]["list"], list);
    assert_eq!(week["cost"]["list"], list);
    let calls = door.all(key, list).await;
    let all = |field: &str| calls.iter().filter_map(|call| call[field].as_i64()).collect::<Vec<i64>>();
    let mean = |all: &[i64]| match all.len() {
        0 => Value::Null,
        count => json!(all.iter().sum::<i64>() as f64 / count as f64),
    };
    let (lengths, urgencies) = (all("duration_seconds"), all("urgency"));
    assert_eq!(week["duration"]["total_seconds"], lengths.iter().sum::<i64>());
    assert_eq!(week["duration"]["mean_seconds"], mean(&lengths));
    assert_eq!(week["urgency"]["mean"], mean(&urgencies));
    let urgent = urgencies.iter().map(|urgency| i64::from(*urgency >= 4)).collect::<Vec<i64>>();
    assert_eq!(week["urgency"]["urgent_share"], mean(&urgent));

    let costs: Vec<Option<i64>> = calls.iter().map(|call| call["cost"]["micro_units"].as_i64()).collect();
    let unknown = costs.iter().filter(|cost| cost.is_none()).count();
    let known: i64 = costs.iter().flatten().sum();
    assert_eq!(week["cost"]["unknown_calls"], unknown);
    assert_eq!(week["cost"]["micro_units"], if unknown == 0 { json!(known) } else { Value::Null });
    assert!(week["cost"]["known_micro_units"].as_i64().unwrap() >= known, "with the known parts of the others");

    let mut waits = Vec::new();
    for call in &calls {
        let (_, call) = door.ask(key, &format!("/api/calls/{}", call["id"].as_str().unwrap())).await;
        let time = |value: &Value| value.as_str().map(|text| text.parse::<DateTime<Utc>>().unwrap());
        let sent = call["deliveries"].as_array().unwrap().iter().filter(|delivery| delivery["state"] == "sent");
        if let (Some(first), Some(end)) =
            (sent.filter_map(|delivery| time(&delivery["at"])).min(), time(&call["ended_at"]))
        {
            waits.push((first - end).num_seconds().max(0));
        }
    }
    waits.sort_unstable();
    let percentile = |share: f64| waits.get((share * waits.len() as f64).ceil().max(1.0) as usize - 1);
    assert_eq!(week["notification"]["calls"], waits.len());
    assert_eq!(week["notification"]["p50_seconds"].as_i64().as_ref(), percentile(0.5));
    assert_eq!(week["notification"]["p95_seconds"].as_i64().as_ref(), percentile(0.95));
}

#[tokio::test]
async fn weeks_and_periods_are_the_sum_of_their_days() {
    let door = FrontDoor::open_in(Tz::Asia__Tokyo).await;
    let key = door.key(&[READ]).await;
    let now = goto_automation::model::clock::now();
    let insert = "INSERT INTO calls (id, source, external_id, direction, started_at, duration_seconds, recording)
         VALUES (gen_random_uuid(), 'signed', $1::text, 'inbound', $1, 60, 'none')";
    for (place, back) in (0..).zip([0, 0, 24, 24 * 6, 24 * 29, 24 * 31]) {
        // Apart, so that each has an id of its own.
        let started_at = now - TimeDelta::hours(back) - TimeDelta::microseconds(place);
        sqlx::query(insert).bind(started_at).execute(door.pool()).await.unwrap();
    }
    let calls = async |period: &str| {
        let (status, dashboard) = door.ask(&key, &format!("/api/kpi/dashboard?period={period}")).await;
        assert_eq!((status, dashboard["time_zone"].as_str()), (200, Some("Asia/Tokyo")), "{dashboard}");
        dashboard["calls"]["count"].as_i64().unwrap()
    };
    for _ in 0..2 {
        let seen = [calls("today").await, calls("yesterday").await, calls("7d").await, calls("30d").await];
        assert_eq!(seen, [2, 1, 4, 5]);
        // The second time from the table.
        bring_up_to_date(&door, Tz::Asia__Tokyo).await;
    }
    let (_, weekly) = door.ask(&key, "/api/kpi/weekly?weeks=1&last_day=2026-01-07").await;
    assert_eq!(weekly["weeks"][0]["first_day"], "2026-01-05", "its Monday");
    assert_eq!(weekly["weeks"][0]["from"], "2026-01-04T15:00:00Z", "midnight in Tokyo");
}

/// Many processes keep the same table, and a worker that comes back late begins anew.
#[tokio::test]
async fn any_number_of_workers_may_keep_the_table() {
    let (zone, last) = (Tz::Europe__Berlin, "2026-03-31".parse().unwrap());
    let door = FrontDoor::open_in(zone).await;
    let key = door.key(&[READ]).await;
    let mut random = StdRng::seed_from_u64(7);
    let roller = || Roller::new(door.pool().clone(), Days(zone));
    let mut calls = Vec::new();
    for round in 0..3 {
        for _ in 0..10 {
            let call = Made::any(&mut random, zone, last);
            call.insert(&door).await;
            calls.push(call);
        }
        let (one, two, three) = (roller(), roller(), roller());
        let (one, two, three) = tokio::join!(one.bring_up_to_date(), two.bring_up_to_date(), three.bring_up_to_date());
        one.and(two).and(three).unwrap();
        bring_up_to_date(&door, zone).await;
        assert_eq!(seen(&door, &key, last).await.0, by_day(&calls, zone, last), "round {round}");
        if round == 1 {
            let long_ago = "UPDATE kpi_progress SET followed_at = now() - interval '2 days'; TRUNCATE changes";
            sqlx::raw_sql(long_ago).execute(door.pool()).await.unwrap();
            let (_, daily) = seen(&door, &key, last).await;
            assert!(daily["updated_at"].is_null(), "nobody looks after the table, so the calls are asked: {daily}");
        }
    }
}
