//! Random histories of the queue's operations, carried out by the queue itself on real PostgreSQL and by a small model
//! in memory. After every operation all rows must say what the model says: at most one commit per claim, finished stays
//! finished, starts bounded, one row per attempt, `calls.state` as the jobs say, and every history drains.
//!
//! | file | what |
//! |---|---|
//! | `operations` | what can happen, and how likely it is |
//! | `model`, `job` | what the queue promises |
//! | `world`, `operator` | do an operation to both, and compare |
//! | `rows` | what the database says |
//! | `worker`, `hands` | the queue's own parts, moved by hand |
//! | `moment`, `clock` | time that passes without waiting |
//! | `turmoil`, `journal` | many hands at the same time, judged by a journal of all changes |
//!
//! `HISTORIES=10000 cargo test --lib histories` tries more of them, `SEED=7 HISTORIES=1` one again. Only the jitter of
//! delays is not fixed by the seed.

mod clock;
mod hands;
mod job;
mod journal;
mod model;
mod moment;
mod operations;
mod operator;
mod rows;
mod turmoil;
mod worker;
mod world;

#[path = "../../../tests/it/support/database.rs"]
mod database;

use std::ops::Range;
use std::str::FromStr as _;
use std::time::Duration;

use futures::StreamExt as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use database::Database;
use operations::{How, Operation};
use world::{Outcome, World};

const STEPS: usize = 3;
const WORKERS: usize = 2;
/// Of each step in each worker.
const SLOTS: usize = 3;
const LEASE: Duration = Duration::from_mins(10);
const MAX_ATTEMPTS: i32 = 4;
const POISON_LIMIT: i32 = 3;
/// What an upstream says about time.
const COME_AGAIN: Duration = Duration::from_hours(30);
const LOOK_AGAIN: Duration = Duration::from_mins(20);
const LOOK_DEADLINE: Duration = Duration::from_mins(50);

/// Operations of a history, before it is drained.
const LENGTH: usize = 40;
const USUAL_NUMBER: u64 = 60;
const AT_THE_SAME_TIME: usize = 4;
const IN_ONE_DATABASE: usize = 200;

/// How all steps end while a history is drained; `None`: with the death of their worker.
const DRAINS: [Option<How>; 5] =
    [Some(How::Finish { next: 1 }), Some(How::Retry), Some(How::RetryAfter), Some(How::Wait), None];

#[tokio::test(flavor = "multi_thread")]
async fn every_history_keeps_the_promises() {
    let (first, number) = seeds(USUAL_NUMBER);
    for start in (first..first + number).step_by(IN_ONE_DATABASE) {
        all_keep_the_promises(start..(first + number).min(start + IN_ONE_DATABASE as u64)).await;
    }
}

async fn all_keep_the_promises(seeds: Range<u64>) {
    let database = Database::fresh().await;
    let tried = futures::stream::iter(seeds).map(|seed| {
        let history = History::new(seed);
        let database = &database;
        async move { history.happens(database).await.err().map(|complaint| (history, complaint)) }
    });
    let failed = tried.buffer_unordered(AT_THE_SAME_TIME).filter_map(std::future::ready);
    if let Some((history, complaint)) = std::pin::pin!(failed).next().await {
        let seed = history.seed;
        let (history, complaint) = history.shrunk(&database, complaint).await;
        panic!("SEED={seed}: {complaint}\nafter {:#?}\ndrained by {:?}", history.operations, history.drain);
    }
}

/// The first seed, and how many. Chosen anew each time, so that the tests find more from day to day.
#[expect(clippy::disallowed_methods, reason = "tests have no settings")]
fn seeds(usual_number: u64) -> (u64, u64) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    (number("SEED").unwrap_or_else(|| rand::random_range(0..1 << 40)), number("HISTORIES").unwrap_or(usual_number))
}

#[derive(Clone)]
struct History {
    seed: u64,
    operations: Vec<Operation>,
    drain: Option<How>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let operations = operations::history(&mut random, LENGTH);
        Self { seed, operations, drain: DRAINS[random.random_range(0..DRAINS.len())] }
    }

    /// A panic is a complaint as well.
    async fn happens(&self, database: &Database) -> Outcome {
        let options = PgConnectOptions::from_str(database.url()).expect("the address of the server");
        let happening = self.clone().play(database.pool().clone(), options);
        tokio::spawn(happening).await.unwrap_or_else(|panic| Err(panic.to_string()))
    }

    async fn play(self, db: PgPool, options: PgConnectOptions) -> Outcome {
        let mut world = World::new(db, &options).await?;
        for (number, operation) in self.operations.iter().enumerate() {
            let complain = |complaint| format!("operation {number}, {operation:?}: {complaint}");
            world.carry_out(*operation).await.map_err(complain)?;
        }
        world.drain(self.drain).await.map_err(|complaint| format!("while it was drained: {complaint}"))
    }

    /// The history without all operations that the complaint does not need.
    async fn shrunk(mut self, database: &Database, mut complaint: String) -> (Self, String) {
        let mut size = LENGTH / 2;
        while size > 0 {
            let mut start = 0;
            while start < self.operations.len() {
                let mut shorter = self.clone();
                shorter.operations.drain(start..(start + size).min(self.operations.len()));
                if let Err(other) = shorter.happens(database).await {
                    (self, complaint) = (shorter, other);
                } else {
                    start += size;
                }
            }
            size /= 2;
        }
        (self, complaint)
    }
}
