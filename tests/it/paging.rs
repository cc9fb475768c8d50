//! Pages under change: whatever comes in while somebody reads, what was there at the first page is shown once, and nothing
//! twice. With random calls, orders, filters and page lengths; a failure names its seed.

use std::collections::HashSet;

use goto_automation::config::ServerConfig;
use goto_automation::model::ApiKey;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use crate::support::FrontDoor;

/// Places in an order are few, so that many are equal.
const MINUTES: i32 = 40;

/// Lists with their orders and filters.
const LISTS: &[&str] = &[
    "/api/calls/?sort=newest",
    "/api/calls/?sort=oldest",
    "/api/calls/?sort=longest",
    "/api/calls/?sort=most_urgent",
    "/api/calls/?direction=inbound",
    "/api/calls/?sort=longest&urgency_at_least=2",
    "/api/calls/?sort=most_urgent&has_open_actions=true",
    "/api/calls/?topic=refund&sort=oldest",
    "/api/calls/?q=refund&sort=newest",
    "/api/calls/?q=refund",
    "/api/actions/?state=open",
    "/api/actions/?owner=dana",
];

/// A call with an analysis and an action item, as any moment of the past may bring it.
async fn insert(db: &mut PgConnection, random: &mut StdRng) {
    let (id, minute) = (Uuid::from_u128(random.random()), random.random_range(0..MINUTES));
    sqlx::query(
        "INSERT INTO calls (id, source, external_id, state, direction, recording, started_at, duration_seconds)
         VALUES ($1, 'signed', $1::text, 'completed', CASE WHEN $2 THEN 'inbound' ELSE 'outbound' END, 'none',
             CASE WHEN $3 % 7 > 0 THEN timestamptz '2026-01-05' + $3 * interval '1 minute' END, nullif($4, 3))",
    )
    .bind(id)
    .bind(random.random_bool(0.7))
    .bind(minute)
    .bind(random.random_range(0..6))
    .execute(&mut *db)
    .await
    .unwrap();
    if random.random_bool(0.8) {
        sqlx::query(
            "INSERT INTO call_summaries (call_id, run, summary, statements, sentiment, urgency, topics)
             VALUES ($1, 1, 'About a refund.', '[]', 'neutral', $2, '{refund}')",
        )
        .bind(id)
        .bind(random.random_range(1_i16..=5))
        .execute(&mut *db)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO action_items (id, call_id, run, position, text, owner, evidence, supported, state, created_at)
             VALUES ($1, $2, 1, 0, 'Refund it', 'Dana', '{}', true, CASE WHEN $3 THEN 'open' ELSE 'done' END,
                 timestamptz '2026-01-05' + $4 * interval '1 minute')",
        )
        .bind(Uuid::from_u128(random.random()))
        .bind(id)
        .bind(random.random_bool(0.7))
        .bind(minute)
        .execute(&mut *db)
        .await
        .unwrap();
    }
}

async fn begin(door: &FrontDoor) -> Transaction<'static, Postgres> {
    door.pool().begin().await.unwrap()
}

async fn some(door: &FrontDoor, random: &mut StdRng, count: usize) {
    let mut transaction = begin(door).await;
    for _ in 0..count {
        insert(&mut transaction, random).await;
    }
    transaction.commit().await.unwrap();
}

/// All ids of a list, page by page; between pages others come in, some of them in transactions that end late.
async fn read(door: &FrontDoor, key: &ApiKey, list: &str, random: &mut StdRng, changing: bool) -> Vec<String> {
    let limit = random.random_range(1..12);
    let (mut ids, mut cursor, mut late) = (Vec::new(), String::new(), None::<Transaction<'static, Postgres>>);
    loop {
        let (status, page) = door.ask(key, &format!("{list}&limit={limit}{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        let items = page["items"].as_array().unwrap();
        ids.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        let Value::String(next) = &page["next_cursor"] else { return ids };
        cursor = format!("&cursor={next}");
        // A few, so that the end is reached.
        if changing && random.random_bool(0.5) {
            match late.take() {
                Some(transaction) => transaction.commit().await.unwrap(),
                None => insert(late.insert(begin(door).await), random).await,
            }
            let count = random.random_range(0..limit);
            some(door, random, count).await;
        }
    }
}

#[tokio::test]
async fn what_was_there_is_shown_once_whatever_comes_in() {
    let seed = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let limits = ServerConfig { api_rate: 1_000_000, max_connections_per_address: 1024, ..ServerConfig::default() };
    let door = FrontDoor::open_with(limits.into()).await;
    let key = door.key(&["calls:read", "transcripts:read"]).await;
    for list in LISTS {
        some(&door, &mut random, 12).await;
        let before = read(&door, &key, list, &mut random, false).await;
        let seen = read(&door, &key, list, &mut random, true).await;
        let once: HashSet<&String> = seen.iter().collect();
        assert_eq!(once.len(), seen.len(), "one twice: {list}, seed {seed}");
        let missed: Vec<&String> = before.iter().filter(|id| !once.contains(id)).collect();
        assert!(missed.is_empty() && before.len() > 5, "{missed:?} of {} missed: {list}, seed {seed}", before.len());
    }
}
