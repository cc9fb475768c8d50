//! What operators do to jobs and steps, each act with its row in the audit log.

use sqlx::PgPool;
use uuid::Uuid;

use crate::model::Actor;
use crate::queue::{self, Act, Chosen, Touched, Waker, WhyNot};
use crate::store::audit::{self, Outcome};

/// Pauses a step in the whole cluster. False = somebody had paused it before; that stays as it is.
pub async fn pause(db: &PgPool, actor: &Actor, step: &str, reason: Option<&str>) -> Result<bool, sqlx::Error> {
    let mut transaction = db.begin().await?;
    let paused = queue::pause(&mut transaction, step, &actor.name, reason).await?;
    write_down(&mut transaction, actor, "steps.pause", step, paused).await?;
    transaction.commit().await?;
    Ok(paused)
}

/// Ends the pause of a step. False = it was not paused.
pub async fn resume(db: &PgPool, actor: &Actor, step: &str) -> Result<bool, sqlx::Error> {
    let mut transaction = db.begin().await?;
    let resumed = queue::resume(&mut transaction, step).await?;
    write_down(&mut transaction, actor, "steps.resume", step, resumed).await?;
    transaction.commit().await?;
    Ok(resumed)
}

/// Lets each worker process run so many jobs of the step at the same time; `None` = as its settings say. False = it was so
/// already.
pub async fn limit(db: &PgPool, actor: &Actor, step: &str, slots: Option<i32>) -> Result<bool, sqlx::Error> {
    let mut transaction = db.begin().await?;
    let limited = queue::limit(&mut transaction, step, slots, &actor.name).await?;
    let object = slots.map_or_else(|| format!("{step} as in the settings"), |slots| format!("{step} to {slots}"));
    write_down(&mut transaction, actor, "steps.limit", &object, limited).await?;
    transaction.commit().await?;
    Ok(limited)
}

async fn write_down(
    db: &mut sqlx::PgConnection,
    actor: &Actor,
    action: &str,
    object: &str,
    changed: bool,
) -> Result<(), sqlx::Error> {
    let outcome = if changed { Outcome::Done } else { Outcome::Unchanged };
    audit::insert(db, actor, action, object, i64::from(changed), outcome).await?;
    Ok(())
}

/// Does it to all chosen jobs, in batches of their own transactions, and gives back those that it was done to; the others
/// have changed since they were chosen. `how` says in the audit log how they were chosen. Interrupted in the middle, what
/// was done stays done, and the log has its number.
pub async fn act(
    db: &PgPool,
    waker: &Waker,
    actor: &Actor,
    act: &Act,
    chosen: &Chosen,
    how: &str,
) -> Result<Vec<Touched>, sqlx::Error> {
    let action = format!("jobs.{}", act.name());
    let (mut row, mut all) = (None, Vec::new());
    for ids in chosen.ids.chunks(queue::BATCH) {
        let mut transaction = db.begin().await?;
        let touched = queue::act(&mut transaction, act, ids, chosen.at).await?;
        let count = touched.len() as i64;
        let written = match row {
            None => {
                let outcome = if count > 0 { Outcome::Done } else { Outcome::Unchanged };
                audit::insert(&mut transaction, actor, &action, how, count, outcome).await?
            }
            Some(row) if count > 0 => {
                audit::add(&mut transaction, row, count).await?;
                row
            }
            Some(row) => row,
        };
        let calls: Vec<Uuid> = touched.iter().map(|job| job.call_id).collect();
        audit::name_calls(&mut transaction, written, &calls).await?;
        row = Some(written);
        transaction.commit().await?;
        for job in &touched {
            waker.wake(&job.step);
        }
        all.extend(touched);
    }
    Ok(all)
}

/// Does it to one job. `None` = done.
pub async fn act_on(
    db: &PgPool,
    waker: &Waker,
    actor: &Actor,
    act: &Act,
    id: i64,
) -> Result<Option<WhyNot>, sqlx::Error> {
    let (action, object) = (format!("jobs.{}", act.name()), format!("job {id}"));
    let chosen = queue::choose_these(db, &[id]).await?;
    let mut transaction = db.begin().await?;
    let touched = queue::act(&mut transaction, act, &chosen.ids, chosen.at).await?;
    let why_not = match touched.first() {
        Some(_) => None,
        None => Some(queue::why_not(db, act, id).await?),
    };
    let outcome = match &why_not {
        None => Outcome::Done,
        Some(WhyNot::IsSo) => Outcome::Unchanged,
        Some(WhyNot::NotFound | WhyNot::Refused(_)) => Outcome::Refused,
    };
    audit::insert(&mut transaction, actor, &action, &object, touched.len() as i64, outcome).await?;
    transaction.commit().await?;
    for job in &touched {
        waker.wake(&job.step);
    }
    Ok(why_not)
}
