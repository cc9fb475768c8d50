//! The journal of all changes of jobs, and what the promises allow in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sqlx::PgPool;

/// Kept by a trigger, row by row. The clock of the tests writes as a replica, and so not here.
pub(super) const KEPT: &str = "
    CREATE TABLE journal (number bigserial PRIMARY KEY, job_id bigint, was text, is_now text, was_token bigint,
        token bigint, more_starts integer, attempts integer);
    CREATE FUNCTION keep_journal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO journal (job_id, was, is_now, was_token, token, more_starts, attempts)
        VALUES (NEW.id, OLD.state, NEW.state, OLD.lease_token, NEW.lease_token, NEW.starts - OLD.starts, NEW.attempts);
        RETURN NULL;
    END $$;
    CREATE TRIGGER keep_journal AFTER UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION keep_journal();";

/// All that has changed, and what is left of it.
pub(super) struct Journal {
    changes: Vec<Change>,
    attempts: Vec<(i64, i64, String)>,
    jobs: BTreeMap<i64, (String, i32)>,
    late: i64,
    wrong_calls: i64,
    deadlocks: i64,
}

#[derive(Debug, sqlx::FromRow)]
struct Change {
    job_id: i64,
    was: String,
    is_now: String,
    was_token: Option<i64>,
    token: Option<i64>,
    more_starts: i32,
    attempts: i32,
}

impl Change {
    fn is_claim(&self) -> bool {
        self.is_now == "running" && self.was != "running"
    }

    fn is_end(&self) -> bool {
        self.was == "running" && self.is_now != "running"
    }

    /// A claim that its worker never heard of.
    fn is_undone(&self) -> bool {
        self.is_end() && self.more_starts < 0
    }

    /// Finished stays finished; only a claim starts a job; only who holds the lease changes a job that runs.
    fn is_allowed(&self) -> bool {
        let tokens_fit = (self.is_now == "running") == self.token.is_some();
        let same_token = self.was_token == self.token;
        let starts = self.more_starts;
        tokens_fit
            && self.attempts <= super::MAX_ATTEMPTS
            && match (self.was.as_str(), self.is_now.as_str()) {
                ("available", "running") => starts == 1,
                ("running", "running") => same_token && starts == 0,
                ("running", "available") => matches!(starts, -1 | 0),
                ("running", "completed" | "failed" | "cancelled")
                | ("available", "cancelled" | "available")
                | ("failed", "cancelled")
                | ("failed" | "cancelled", "available") => starts == 0,
                _ => false,
            }
    }
}

/// How much of a turmoil it was.
impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, _, outcome) in &self.attempts {
            *outcomes.entry(outcome).or_default() += 1;
        }
        let (late, undone) = (self.late, self.changes.iter().filter(|change| change.is_undone()).count());
        write!(f, "{} jobs, {outcomes:?}, {late} came late, {undone} claims undone", self.jobs.len())
    }
}

impl Journal {
    pub(super) async fn read(db: &PgPool) -> Result<Self, sqlx::Error> {
        let wrong_calls = "SELECT count(*) FROM calls c WHERE c.waiting_until IS NOT NULL OR c.state <>
            CASE WHEN EXISTS (SELECT FROM jobs j WHERE j.call_id = c.id AND j.run = c.run AND j.critical
                    AND j.state IN ('failed', 'cancelled'))
                THEN 'failed' ELSE 'completed' END";
        let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        let late = "SELECT count(*) FROM job_attempts WHERE late_at IS NOT NULL";
        let attempts = "SELECT job_id, token, outcome FROM job_attempts";
        let jobs: Vec<(i64, String, i32)> = sqlx::query_as("SELECT id, state, starts FROM jobs").fetch_all(db).await?;
        Ok(Self {
            changes: sqlx::query_as("SELECT * FROM journal ORDER BY number").fetch_all(db).await?,
            attempts: sqlx::query_as(attempts).fetch_all(db).await?,
            jobs: jobs.into_iter().map(|(id, state, starts)| (id, (state, starts))).collect(),
            late: sqlx::query_scalar(late).fetch_one(db).await?,
            wrong_calls: sqlx::query_scalar(wrong_calls).fetch_one(db).await?,
            deadlocks: sqlx::query_scalar(deadlocks).fetch_one(db).await?,
        })
    }

    /// The first thing that must not have been.
    pub(super) fn judge(&self) -> Result<(), String> {
        if let Some(change) = self.changes.iter().find(|change| !change.is_allowed()) {
            return Err(format!("not allowed: {change:?}"));
        }
        let claims = once("claimed", self.changes.iter().filter(|it| it.is_claim()).map(|it| (it.job_id, it.token)))?;
        let ends = self.changes.iter().filter(|it| it.is_end());
        let ended = once("ended", ends.map(|it| (it.job_id, it.was_token)))?;
        if claims != ended {
            return Err(format!(
                "claims without an end: {:?}",
                claims.symmetric_difference(&ended).collect::<Vec<_>>()
            ));
        }
        self.judge_attempts()?;
        let wrong = (self.wrong_calls, self.deadlocks);
        if wrong == (0, 0) { Ok(()) } else { Err(format!("calls in a wrong state, deadlocks: {wrong:?}")) }
    }

    /// One row for each start.
    fn judge_attempts(&self) -> Result<(), String> {
        let told = once("told", self.attempts.iter().map(|(job, token, _)| (*job, Some(*token))))?;
        for end in self.changes.iter().filter(|change| change.is_end()) {
            if told.contains(&(end.job_id, end.was_token)) == end.is_undone() {
                return Err(format!("a start without its row, or a row without its start: {end:?}"));
            }
        }
        for (job, (state, starts)) in &self.jobs {
            let outcomes: Vec<&str> =
                self.attempts.iter().filter(|it| it.0 == *job).map(|(_, _, outcome)| outcome.as_str()).collect();
            let completed = outcomes.iter().filter(|outcome| **outcome == "completed").count();
            if completed != usize::from(state == "completed") || outcomes.len() > *starts as usize {
                return Err(format!("job {job} is {state} after {starts} starts and {outcomes:?}"));
            }
        }
        Ok(())
    }
}

/// At most one commit per claim.
fn once(what: &str, fences: impl Iterator<Item = (i64, Option<i64>)>) -> Result<BTreeSet<(i64, Option<i64>)>, String> {
    let mut seen = BTreeSet::new();
    for fence in fences {
        if !seen.insert(fence) {
            return Err(format!("{what} more than once: {fence:?}"));
        }
    }
    Ok(seen)
}
