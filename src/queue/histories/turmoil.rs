//! Many hands at the same time: workers who come late, die and repeat themselves, an operator, a clock that jumps, and
//! somebody who holds locks. No model can say what comes of it, but the journal of all changes must be one that the
//! promises allow.

use std::str::FromStr as _;
use std::time::Duration;

use chrono::TimeDelta;
use futures::future::try_join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::database::Database;
use super::journal::{self, Journal};
use super::operations::{self, How};
use super::worker::Worker;
use super::{LEASE, STEPS, clock, hands, operator, seeds};
use crate::model::CallId;
use crate::queue::job::NewJob;
use crate::queue::wake::Waker;
use crate::queue::{self, Act};

const WORKERS: u64 = 3;
const CALLS: usize = 60;
/// Moves of each worker.
const MOVES: usize = 250;
const ROUNDS: usize = 300;
const STEP_NAMES: [&str; STEPS] = ["first", "second", "third"];

#[tokio::test(flavor = "multi_thread")]
async fn turmoil_keeps_the_promises() {
    let (first, number) = seeds(40);
    for seed in first..first + number.div_ceil(40) {
        let outcome = turmoil(seed).await;
        assert!(outcome.is_ok(), "SEED={seed}: {}", outcome.unwrap_err());
    }
}

async fn turmoil(seed: u64) -> Result<(), String> {
    let database = Database::fresh().await;
    let scene = Scene {
        db: database.pool().clone(),
        options: PgConnectOptions::from_str(database.url()).expect("the address of the server"),
        over: CancellationToken::new(),
    };
    sqlx::raw_sql(journal::KEPT).execute(&scene.db).await.map_err(said)?;
    for _ in 0..CALLS {
        scene.enqueue().await.map_err(said)?;
    }
    let random = |number: u64| StdRng::seed_from_u64(seed.wrapping_mul(100) + number);
    let mut others: JoinSet<Result<(), String>> = JoinSet::new();
    others.spawn(scene.clone().let_time_pass(random(WORKERS)));
    others.spawn(scene.clone().operate(random(WORKERS + 1)));
    others.spawn(scene.clone().hold_locks(random(WORKERS + 2)));
    try_join_all((0..WORKERS).map(|number| tokio::spawn(scene.clone().work(random(number)))))
        .await
        .map_err(|panic| panic.to_string())?
        .into_iter()
        .collect::<Result<(), String>>()?;
    scene.over.cancel();
    while let Some(ended) = others.join_next().await {
        ended.map_err(|panic| panic.to_string())??;
    }
    scene.drain().await?;
    scene.until_all_have_left().await.map_err(said)?;
    let journal = Journal::read(&scene.db).await.map_err(said)?;
    println!("SEED={seed}: {journal}");
    journal.judge()
}

#[derive(Clone)]
struct Scene {
    db: PgPool,
    options: PgConnectOptions,
    /// The workers have made their moves.
    over: CancellationToken,
}

impl Scene {
    async fn enqueue(&self) -> Result<(), sqlx::Error> {
        let call = CallId::fresh();
        let insert = "INSERT INTO calls (id, source, external_id, direction, recording)
            VALUES ($1, 'signed', $1::text, 'inbound', 'available')";
        let mut born = self.db.begin().await?;
        sqlx::query(insert).bind(call.0).execute(&mut *born).await?;
        queue::enqueue(&mut born, &[NewJob::new(STEP_NAMES[0], call, 1)]).await?;
        born.commit().await
    }

    async fn work(self, mut random: StdRng) -> Result<(), String> {
        let mut worker = hands::worker(&self.options, &STEP_NAMES);
        for _ in 0..MOVES {
            match random.random_range(0..20) {
                0..6 => drop(worker.claim().await.ok_or("a claim failed")?),
                6..12 => end_some(&mut worker, &mut random),
                12..17 => write(&mut worker, random.random_ratio(1, 5)).await?,
                17 => worker.renew().await,
                18 if random.random_bool(0.5) => drop(worker.lose_claim().await.ok_or("a claim failed")?),
                18 => {}
                _ => worker = Worker::new(worker.crash(), LEASE, &STEP_NAMES),
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn let_time_pass(self, mut random: StdRng) -> Result<(), String> {
        let mut sweeper = hands::sweeper(&self.options, &STEP_NAMES);
        while !self.over.is_cancelled() {
            let minutes = random.random_range(0..8);
            self.pass(TimeDelta::minutes(minutes)).await?;
            sweeper.sweep(crate::model::clock::now() + TimeDelta::hours(1)).await;
        }
        Ok(())
    }

    async fn pass(&self, time: TimeDelta) -> Result<(), String> {
        let calls: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM calls").fetch_all(&self.db).await.map_err(said)?;
        clock::pass(&self.db, &calls, time).await.map_err(said)
    }

    async fn operate(self, mut random: StdRng) -> Result<(), String> {
        while !self.over.is_cancelled() {
            let done = match random.random_range(0..12) {
                0..6 => self.enqueue().await,
                6 => self.begin_again().await,
                7 => self.cancel().await,
                _ => self.retry_twice().await,
            };
            done.map_err(said)?;
            sleep(Duration::from_millis(random.random_range(0..4))).await;
        }
        Ok(())
    }

    async fn begin_again(&self) -> Result<(), sqlx::Error> {
        let mut acting = self.db.begin().await?;
        let call = "SELECT call_id FROM jobs ORDER BY state = 'running' DESC, random() LIMIT 1";
        let call: Uuid = sqlx::query_scalar(call).fetch_one(&mut *acting).await?;
        operator::begin_again(&mut acting, CallId(call), STEP_NAMES[0]).await?;
        acting.commit().await
    }

    async fn cancel(&self) -> Result<(), sqlx::Error> {
        let jobs = "SELECT id FROM jobs ORDER BY state = 'running' DESC, random() LIMIT 2";
        let jobs: Vec<i64> = sqlx::query_scalar(jobs).fetch_all(&self.db).await?;
        let chosen = queue::choose_these(&self.db, &jobs).await?;
        let mut acting = self.db.begin().await?;
        queue::act(&mut acting, &Act::Cancel("Cancelled.".to_owned()), &chosen.ids, chosen.at).await?;
        acting.commit().await
    }

    /// Two operators at once.
    async fn retry_twice(&self) -> Result<(), sqlx::Error> {
        let job = "SELECT id FROM jobs ORDER BY state IN ('failed', 'cancelled') DESC, random() LIMIT 1";
        let job: i64 = sqlx::query_scalar(job).fetch_one(&self.db).await?;
        let waker = Waker::default();
        try_join_all([(); 2].map(|()| queue::retry(&self.db, &waker, job))).await.map(|_| ())
    }

    /// For a moment each, a job that others then have to wait for, or to leave out.
    async fn hold_locks(self, mut random: StdRng) -> Result<(), String> {
        while !self.over.is_cancelled() {
            let mut holding = self.db.begin().await.map_err(said)?;
            let job = "SELECT FROM jobs ORDER BY state = 'running' DESC, random() LIMIT 1 FOR UPDATE";
            sqlx::query(job).execute(&mut *holding).await.map_err(said)?;
            sleep(Duration::from_millis(random.random_range(0..4))).await;
            holding.rollback().await.map_err(said)?;
        }
        Ok(())
    }

    /// A session tells of its deadlocks when it ends.
    async fn until_all_have_left(&self) -> Result<(), sqlx::Error> {
        let sessions = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name LIKE 'goto-automation %'";
        while sqlx::query_scalar::<_, i64>(sessions).fetch_one(&self.db).await? > 0 {
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// One honest worker ends all that is left.
    async fn drain(&self) -> Result<(), String> {
        let mut worker = hands::worker(&self.options, &STEP_NAMES);
        let mut sweeper = hands::sweeper(&self.options, &STEP_NAMES);
        for _ in 0..ROUNDS {
            let open = "SELECT count(*) FROM jobs WHERE state IN ('available', 'running')";
            if sqlx::query_scalar::<_, i64>(open).fetch_one(&self.db).await.map_err(said)? == 0 {
                return Ok(());
            }
            self.pass(TimeDelta::days(2)).await?;
            sweeper.sweep(crate::model::clock::now() + TimeDelta::hours(1)).await;
            worker.claim().await.ok_or("a claim failed")?;
            while !worker.leases.is_empty() {
                worker.end(0, How::Finish { next: 0 }, &[], "");
            }
            write(&mut worker, false).await?;
        }
        Err("not drained".to_owned())
    }
}

/// Some are held for so long that others have taken them over.
fn end_some(worker: &mut Worker, random: &mut StdRng) {
    while !worker.leases.is_empty() && random.random_bool(0.6) {
        let index = random.random_range(0..worker.leases.len());
        let how = operations::how(random);
        let job = worker.leases[index].job();
        let next = match how {
            How::Finish { next } => (0..next).map(|number| follower(job, number)).collect(),
            _ => Vec::new(),
        };
        worker.end(index, how, &next, "says no");
    }
}

/// The same ones from every job of a run, so that several try to make them.
fn follower(job: &queue::Job, number: usize) -> NewJob {
    if number == 0 {
        return NewJob::new(STEP_NAMES[1], job.call_id, job.run);
    }
    let target = Uuid::from_u128(job.call_id.0.as_u128() ^ number as u128);
    NewJob::for_target(STEP_NAMES[2], job.call_id, job.run, target)
}

async fn write(worker: &mut Worker, twice: bool) -> Result<(), String> {
    let ends = worker.ended();
    let batches = if twice { vec![ends.clone(), ends] } else { vec![ends] };
    for batch in batches.into_iter().filter(|batch| !batch.is_empty()) {
        if !worker.write(batch).await {
            return Err("a write never ended".to_owned());
        }
    }
    Ok(())
}

fn said(error: sqlx::Error) -> String {
    error.to_string()
}
