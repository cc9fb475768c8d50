//! Time that passes without waiting: all that was is so much longer ago. To PostgreSQL that is the same as a later
//! clock, since every rule of the queue is about differences to `now()`.

use chrono::TimeDelta;
use sqlx::{Connection as _, PgPool};
use uuid::Uuid;

/// Lets time pass for these calls. Triggers do not fire, because nobody writes when time passes.
pub(super) async fn pass(db: &PgPool, calls: &[Uuid], time: TimeDelta) -> Result<(), sqlx::Error> {
    let mut connection = db.acquire().await?;
    let mut passing = connection.begin().await?;
    sqlx::query("SET LOCAL session_replication_role = replica").execute(&mut *passing).await?;
    // Jobs before calls, and both in the order of their ids, as everybody locks them.
    let jobs = "SELECT id FROM jobs WHERE call_id = ANY ($1) ORDER BY id FOR UPDATE";
    let jobs: Vec<i64> = sqlx::query_scalar(jobs).bind(calls).fetch_all(&mut *passing).await?;
    let earlier =
        "UPDATE jobs SET run_at = run_at - $2, waiting_since = waiting_since - $2, lease_until = lease_until - $2,
            claimed_at = claimed_at - $2, created_at = created_at - $2, finished_at = finished_at - $2
        WHERE id = ANY ($1)";
    sqlx::query(earlier).bind(&jobs).bind(time).execute(&mut *passing).await?;
    let locked = "SELECT FROM calls WHERE id = ANY ($1) ORDER BY id FOR UPDATE";
    sqlx::query(locked).bind(calls).execute(&mut *passing).await?;
    let earlier = "UPDATE calls SET waiting_until = waiting_until - $2 WHERE id = ANY ($1)";
    sqlx::query(earlier).bind(calls).bind(time).execute(&mut *passing).await?;
    passing.commit().await
}
