//! Renew: leases are kept by a task of their own, whatever the handlers and the polling do, until the database has
//! taken their end.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::lease::Held;
use super::link::Link;
use crate::model::{Fence, JobId};

pub(super) struct Renewer {
    pub(super) link: Link,
    pub(super) lease: Duration,
    pub(super) held: Arc<Held>,
    pub(super) stop: CancellationToken,
}

impl Renewer {
    /// Renews three times per lease until it is told to stop, and at once when a renewal has failed.
    pub(super) async fn run(mut self) {
        loop {
            // The link has paused already where the last renewal failed, and has used up some of the lease.
            let pause = if self.link.is_cut_off() { Duration::ZERO } else { self.lease / 3 };
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
            let fences = self.held.renewable();
            if fences.is_empty() {
                continue;
            }
            let lease = self.lease;
            let Ok(kept) = self.link.run(async |db| renew(db, &fences, lease).await).await else { continue };
            // Not there any more: somebody else has it. The handler stops before it does harm.
            for fence in fences.into_iter().filter(|fence| !kept.contains(fence)) {
                self.held.lose(fence);
            }
        }
        self.link.close().await;
    }
}

/// A lease that ran out but that nobody took may still be renewed with its token.
async fn renew(db: &mut PgConnection, fences: &[Fence], lease: Duration) -> Result<HashSet<Fence>, sqlx::Error> {
    let ids: Vec<i64> = fences.iter().map(|fence| fence.job_id.0).collect();
    let tokens: Vec<i64> = fences.iter().map(|fence| fence.token).collect();
    let rows = sqlx::query!(
        r#"
        WITH l AS MATERIALIZED (
            SELECT j.id, j.lease_token
            FROM (SELECT * FROM unnest($1::bigint[], $2::bigint[]) AS t (id, token) ORDER BY id) t
            CROSS JOIN LATERAL (
                SELECT id, lease_token FROM jobs WHERE jobs.id = t.id AND jobs.lease_token = t.token FOR UPDATE) j
        )
        UPDATE jobs j SET lease_until = now() + make_interval(secs => $3)
        FROM l WHERE j.id = l.id RETURNING j.id, l.lease_token AS "token!"
        "#,
        &ids,
        &tokens,
        lease.as_secs_f64()
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| Fence { job_id: JobId(row.id), token: row.token }).collect())
}
