//! Calls that the stories make up, and what their numbers are, added up by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use goto_automation::model::{ApiKey, Days};
use goto_automation::pipeline::kpi::Roller;
use goto_automation::store::kpis;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::FrontDoor;

pub const READ: &str = "calls:read";
const SENTIMENTS: [&str; 4] = ["positive", "neutral", "negative", "mixed"];
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Days that the stories look at.
pub const DAYS: u32 = 9;

/// A call as the story makes it up.
#[derive(Debug, Clone)]
pub struct Made {
    pub id: Uuid,
    pub started_at: Option<DateTime<Utc>>,
    pub direction: &'static str,
    pub duration: Option<i32>,
    /// Of each run.
    pub analyses: Vec<(&'static str, i16)>,
    pub items: Vec<Item>,
    /// Seconds after the end of the call.
    pub sent_after: Vec<i32>,
    pub costs: Vec<Option<i64>>,
}

#[derive(Debug, Clone)]
pub struct Item {
    pub state: &'static str,
    /// Before now, after it, or never.
    pub due: Option<&'static str>,
    pub current: bool,
}

impl Made {
    /// One of the days around `last`, most often close to a midnight.
    pub fn any(random: &mut StdRng, zone: Tz, last: NaiveDate) -> Self {
        let day = last - TimeDelta::days(random.random_range(-1..i64::from(DAYS) + 1));
        let seconds = match random.random_range(0..4) {
            0 => random.random_range(-2..3),
            1 => random.random_range(-7200..7200),
            _ => random.random_range(0..86_400),
        };
        let item = |random: &mut StdRng| Item {
            state: ["open", "done"][random.random_range(0..2)],
            due: [None, Some("2020-01-01T00:00:00Z"), Some("2999-01-01T00:00:00Z")][random.random_range(0..3)],
            current: random.random_range(0..5) > 0,
        };
        Self {
            id: Uuid::now_v7(),
            started_at: (random.random_range(0..12) > 0).then(|| Days(zone).start(day) + TimeDelta::seconds(seconds)),
            direction: ["inbound", "outbound", "unknown"][random.random_range(0..3)],
            duration: [None, Some(0), Some(random.random_range(1..4000))][random.random_range(0..3)],
            analyses: (0..random.random_range(0..3))
                .map(|_| (SENTIMENTS[random.random_range(0..4)], random.random_range(1..=5)))
                .collect(),
            items: (0..random.random_range(0..4)).map(|_| item(random)).collect(),
            sent_after: (0..random.random_range(0..3)).map(|_| random.random_range(-5..300)).collect(),
            costs: (0..random.random_range(0..4))
                .map(|_| (random.random_range(0..8) > 0).then(|| random.random_range(0..9000)))
                .collect(),
        }
    }

    pub fn ended_at(&self) -> Option<DateTime<Utc>> {
        Some(self.started_at? + TimeDelta::seconds(self.duration?.into()))
    }

    pub async fn insert(&self, door: &FrontDoor) {
        let db = door.pool();
        let statement = "INSERT INTO calls (id, source, external_id, state, direction, started_at, ended_at,
             duration_seconds, recording) VALUES ($1, 'signed', $1::text, 'completed', $2, $3, $4, $5, 'none')";
        let call = sqlx::query(statement).bind(self.id).bind(self.direction).bind(self.started_at);
        call.bind(self.ended_at()).bind(self.duration).execute(db).await.unwrap();
        for (run, (sentiment, urgency)) in (1..).zip(&self.analyses) {
            let statement = "INSERT INTO call_summaries (call_id, run, summary, statements, sentiment, urgency, topics)
                 VALUES ($1, $2, 'x', '[]', $3, $4, '{}')";
            sqlx::query(statement).bind(self.id).bind(run).bind(sentiment).bind(urgency).execute(db).await.unwrap();
        }
        for (position, item) in (0..).zip(&self.items) {
            let statement = "INSERT INTO action_items (id, call_id, run, position, text, due_at, state, evidence,
                 supported, current) VALUES (gen_random_uuid(), $1, 1, $2, 'x', $3::timestamptz, $4, '{}', true, $5)";
            let query = sqlx::query(statement).bind(self.id).bind(position).bind(item.due);
            query.bind(item.state).bind(item.current).execute(db).await.unwrap();
        }
        for (place, after) in self.sent_after.iter().enumerate() {
            let at = self.ended_at().unwrap_or_default() + TimeDelta::seconds((*after).into());
            let statement = "INSERT INTO deliveries (id, call_id, channel, destination, round, state, updated_at)
                 VALUES (gen_random_uuid(), $1, 'slack', $2, 1, 'sent', $3)";
            sqlx::query(statement).bind(self.id).bind(place.to_string()).bind(at).execute(db).await.unwrap();
        }
        for (attempt, cost) in (1..).zip(&self.costs) {
            let statement = "INSERT INTO job_attempts (job_id, attempt, call_id, step, worker, token, started_at,
                 ended_at, outcome, cost_micro_units) VALUES (1, $4, $1, 'analyze', 'w', $2, now(), now(), 'retry', $3)";
            let token: i64 = rand::random();
            let attempt: i32 = attempt + (token.rem_euclid(1_000_000_000) as i32);
            let query = sqlx::query(statement).bind(self.id).bind(token).bind(cost).bind(attempt);
            query.execute(db).await.unwrap();
        }
    }
}

/// What may happen to a call whose day has been added up already.
impl Made {
    pub async fn change(&mut self, random: &mut StdRng, door: &FrontDoor) {
        match random.random_range(0..5) {
            0 => self.complete_items(door).await,
            1 => self.analyze_again(random, door).await,
            2 => self.cost_more(random, door).await,
            3 => self.tell(random, door).await,
            _ => self.move_to_history(door).await,
        }
    }

    pub async fn complete_items(&mut self, door: &FrontDoor) {
        let statement = "UPDATE action_items SET state = 'done' WHERE call_id = $1";
        sqlx::query(statement).bind(self.id).execute(door.pool()).await.unwrap();
        self.items.iter_mut().for_each(|item| item.state = "done");
    }

    /// A later run, whose only item takes the place of the others.
    async fn analyze_again(&mut self, random: &mut StdRng, door: &FrontDoor) {
        let analysis = (SENTIMENTS[random.random_range(0..4)], random.random_range(1..=5));
        self.analyses.push(analysis);
        self.items.iter_mut().for_each(|item| item.current = false);
        let position = self.items.len() as i32;
        self.items.push(Item { state: "open", due: None, current: true });
        let run = self.analyses.len() as i32;
        let mut transaction = door.pool().begin().await.unwrap();
        let statement = "INSERT INTO call_summaries (call_id, run, summary, statements, sentiment, urgency, topics)
             VALUES ($1, $2, 'x', '[]', $3, $4, '{}')";
        let query = sqlx::query(statement).bind(self.id).bind(run).bind(analysis.0).bind(analysis.1);
        query.execute(&mut *transaction).await.unwrap();
        let statement = "UPDATE action_items SET current = false WHERE call_id = $1";
        sqlx::query(statement).bind(self.id).execute(&mut *transaction).await.unwrap();
        let statement = "INSERT INTO action_items (id, call_id, run, position, text, evidence, supported)
             VALUES (gen_random_uuid(), $1, $2, $3, 'x', '{}', true)";
        let query = sqlx::query(statement).bind(self.id).bind(run).bind(position);
        query.execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// A job ends, and what it has cost is written with that.
    async fn cost_more(&mut self, random: &mut StdRng, door: &FrontDoor) {
        let cost = (random.random_range(0..8) > 0).then(|| random.random_range(0..9000));
        self.costs.push(cost);
        let job = self.begin_job(door).await;
        let mut transaction = door.pool().begin().await.unwrap();
        let statement = "INSERT INTO job_attempts (job_id, attempt, call_id, step, worker, token, started_at, ended_at,
                 outcome, cost_micro_units)
             SELECT id, 2000000000, call_id, step, 'w', 1, now(), now(), 'completed', $2 FROM jobs WHERE id = $1";
        sqlx::query(statement).bind(job).bind(cost).execute(&mut *transaction).await.unwrap();
        end_job(&mut transaction, job).await;
        transaction.commit().await.unwrap();
    }

    /// A message is sent, and the job of it ends a moment later.
    async fn tell(&mut self, random: &mut StdRng, door: &FrontDoor) {
        let after = random.random_range(-5..300);
        let at = self.ended_at().unwrap_or_default() + TimeDelta::seconds(after.into());
        let statement = "INSERT INTO deliveries (id, call_id, channel, destination, round, state, updated_at)
             VALUES (gen_random_uuid(), $1, 'slack', $2, 1, 'sent', $3)";
        let query = sqlx::query(statement).bind(self.id).bind(self.sent_after.len().to_string()).bind(at);
        query.execute(door.pool()).await.unwrap();
        self.sent_after.push(after);
        let job = self.begin_job(door).await;
        end_job(&mut door.pool().acquire().await.unwrap(), job).await;
    }

    async fn begin_job(&self, door: &FrontDoor) -> i64 {
        let statement = "INSERT INTO jobs (step, call_id, target, state)
             VALUES ('analyze', $1, gen_random_uuid(), 'running') RETURNING id";
        sqlx::query_scalar(statement).bind(self.id).fetch_one(door.pool()).await.unwrap()
    }

    /// As `queue/archive.rs` does with old ones: nothing changes by it.
    async fn move_to_history(&self, door: &FrontDoor) {
        let statement = "WITH gone AS (DELETE FROM jobs WHERE call_id = $1 RETURNING *),
                 kept AS (INSERT INTO jobs_history SELECT * FROM gone),
                 gone_attempts AS (DELETE FROM job_attempts WHERE call_id = $1 RETURNING *)
             INSERT INTO job_attempts_history SELECT * FROM gone_attempts";
        sqlx::query(statement).bind(self.id).execute(door.pool()).await.unwrap();
    }
}

/// As one whose next job has begun: the call itself does not change by it.
async fn end_job(db: &mut PgConnection, job: i64) {
    let statement = "UPDATE jobs SET state = 'completed', handed_on = true, finished_at = now() WHERE id = $1";
    sqlx::query(statement).bind(job).execute(db).await.unwrap();
}

/// Adds up all that has changed. Other tests have transactions on the same server, and what comes after them is followed
/// when they have ended.
pub async fn bring_up_to_date(door: &FrontDoor, zone: Tz) {
    let unread = "SELECT count(*) FROM changes
        WHERE transaction >= pg_snapshot_xmin(pg_current_snapshot())::text::bigint";
    let settled = async {
        while door.count(unread).await > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, settled).await.expect("the transactions of the other tests end");
    Roller::new(door.pool().clone(), Days(zone)).bring_up_to_date().await.unwrap();
}

/// The same, again and again until no day is left: one is passed over while whoever was stopped in the middle of it still
/// holds it.
pub async fn bring_all_up_to_date(door: &FrontDoor, zone: Tz) {
    let caught_up = async {
        bring_up_to_date(door, zone).await;
        while !kpis::stale(door.pool(), Days(zone)).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
            bring_up_to_date(door, zone).await;
        }
    };
    timeout(PATIENCE, caught_up).await.expect("whoever was stopped lets go");
}

/// What a day comes to, added up by hand: clocks of the zone say which day it is.
fn expected(calls: &[&Made]) -> Value {
    let count = |is: &dyn Fn(&Made) -> bool| calls.iter().filter(|call| is(call)).count();
    let share = |part: f64, whole: usize| if whole == 0 { Value::Null } else { json!(part / whole as f64) };
    let latest: Vec<(&str, i16)> = calls.iter().filter_map(|call| call.analyses.last().copied()).collect();
    let mood = |mood: &str| latest.iter().filter(|(sentiment, _)| *sentiment == mood).count();
    let urgent = latest.iter().filter(|(_, urgency)| *urgency >= 4).count();
    let durations: Vec<i32> = calls.iter().filter_map(|call| call.duration).collect();
    let total: i64 = durations.iter().map(|seconds| i64::from(*seconds)).sum();
    let items: Vec<&Item> = calls.iter().flat_map(|call| &call.items).filter(|item| item.current).collect();
    let done = items.iter().filter(|item| item.state == "done").count();
    let overdue = |item: &&&Item| item.state == "open" && item.due.is_some_and(|due| due.starts_with("2020"));
    let mut waits: Vec<i32> = calls
        .iter()
        .filter(|call| call.ended_at().is_some())
        .filter_map(|call| call.sent_after.iter().min().map(|seconds| *seconds.max(&0)))
        .collect();
    waits.sort_unstable();
    let percentile = |share: f64| match waits.len() {
        0 => Value::Null,
        all => json!(waits[((share * all as f64).ceil() as usize).clamp(1, all) - 1]),
    };
    let known: i64 = calls.iter().flat_map(|call| &call.costs).flatten().sum();
    let unknown = count(&|call| call.costs.contains(&None));
    json!({
        "calls": calls.len(),
        "missed": count(&|call| call.direction == "inbound" && call.duration == Some(0)),
        "duration": {"mean_seconds": share(total as f64, durations.len()), "total_seconds": total},
        "sentiment": {"positive": mood("positive"), "neutral": mood("neutral"), "negative": mood("negative"),
            "mixed": mood("mixed")},
        "urgency": {"mean": share(latest.iter().map(|(_, urgency)| f64::from(*urgency)).sum(), latest.len()),
            "urgent": urgent, "urgent_share": share(urgent as f64, latest.len())},
        "action_items": {"all": items.len(), "open": items.len() - done, "done": done,
            "overdue": items.iter().filter(overdue).count(), "completion_rate": share(done as f64, items.len())},
        "notification": {"calls": waits.len(), "p50_seconds": percentile(0.5), "p95_seconds": percentile(0.95)},
        "cost": {"micro_units": if unknown == 0 { json!(known) } else { Value::Null }, "known_micro_units": known,
            "unknown_calls": unknown, "currency": "USD"},
    })
}

/// The numbers of an answer without lists and days.
fn numbers(entry: &Value) -> Value {
    let Value::Object(fields) = entry else { return entry.clone() };
    if let Some(count) = fields.get("count") {
        return count.clone();
    }
    let own = ["from", "to", "list", "day", "first_day", "last_day", "period", "time_zone", "updated_at"];
    let kept = fields.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    Value::Object(kept.map(|(name, value)| (name.clone(), numbers(value))).collect())
}

/// Expected numbers of each of the days.
pub fn by_day(calls: &[Made], zone: Tz, last: NaiveDate) -> BTreeMap<String, Value> {
    let days = (0..i64::from(DAYS)).map(|back| last - TimeDelta::days(back));
    let on = |day: NaiveDate| -> Vec<&Made> {
        let is_on = |at: DateTime<Utc>| at.with_timezone(&zone).date_naive() == day;
        calls.iter().filter(|call| call.started_at.is_some_and(is_on)).collect()
    };
    days.map(|day| (day.to_string(), expected(&on(day)))).collect()
}

pub async fn seen(door: &FrontDoor, key: &ApiKey, last: NaiveDate) -> (BTreeMap<String, Value>, Value) {
    let (status, daily) = door.ask(key, &format!("/api/kpi/daily?days={DAYS}&last_day={last}")).await;
    assert_eq!(status, 200, "{daily}");
    let days = daily["days"].as_array().unwrap();
    let day = |entry: &Value| (entry["day"].as_str().unwrap().to_owned(), numbers(entry));
    (days.iter().map(day).collect(), daily)
}
