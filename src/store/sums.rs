//! The numbers of stretches of time, added up from the calls themselves: those that started in a stretch, and that a key
//! opens. What calls have cost is the queue's to say.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::model::{CallBounds, Numbers, Spans};

/// The numbers of a stretch, without its cost.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    /// The numbers.
    pub numbers: Numbers,
    /// When those action items are due that are open and due at some time, in order.
    pub open_due_at: Vec<DateTime<Utc>>,
}

/// The numbers of each stretch, in their order. What is overdue, is so at `now`.
pub async fn of(
    db: &mut PgConnection,
    spans: &Spans,
    bounds: &CallBounds,
    now: DateTime<Utc>,
) -> Result<Vec<Sum>, sqlx::Error> {
    let mut sums = vec![Sum::default(); spans.numbers.len()];
    calls(db, spans, bounds, &mut sums).await?;
    action_items(db, spans, bounds, &mut sums).await?;
    notices(db, spans, bounds, &mut sums).await?;
    for sum in &mut sums {
        sum.numbers.overdue = sum.open_due_at.partition_point(|due_at| *due_at <= now) as i64;
    }
    Ok(sums)
}

async fn calls(db: &mut PgConnection, spans: &Spans, bounds: &CallBounds, sums: &mut [Sum]) -> Result<(), sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT s.number AS "number!", count(*) AS "calls!",
               count(*) FILTER (WHERE c.direction = 'inbound' AND c.duration_seconds = 0) AS "missed!",
               count(c.duration_seconds) AS "timed!",
               coalesce(sum(c.duration_seconds), 0)::bigint AS "duration_seconds!",
               count(*) FILTER (WHERE c.sentiment = 'positive') AS "positive!",
               count(*) FILTER (WHERE c.sentiment = 'neutral') AS "neutral!",
               count(*) FILTER (WHERE c.sentiment = 'negative') AS "negative!",
               count(*) FILTER (WHERE c.sentiment = 'mixed') AS "mixed!",
               coalesce(sum(c.urgency), 0)::bigint AS "urgency_sum!",
               count(*) FILTER (WHERE c.urgency >= 4) AS "urgent!"
           FROM unnest($1::int[], $2::timestamptz[], $3::timestamptz[]) AS s (number, starts, ends)
           CROSS JOIN LATERAL (
               SELECT direction, duration_seconds, sentiment, urgency FROM calls c
               WHERE c.occurred_at >= s.starts AND c.occurred_at < s.ends AND c.started_at IS NOT NULL
                 AND call_is_within(c.direction, c.caller_number, c.called_number, c.occurred_at, $4, $5, $6, $7)
               -- A stretch has few of all calls, which the planner cannot know: in this order, and by its index.
               OFFSET 0
           ) c
           GROUP BY s.number"#,
        &spans.numbers,
        &spans.starts,
        &spans.ends,
        bounds.direction(),
        bounds.number_prefix(),
        bounds.from,
        bounds.to
    )
    .fetch_all(db)
    .await?;
    for row in rows {
        sums[row.number as usize].numbers = Numbers {
            calls: row.calls,
            missed: row.missed,
            timed: row.timed,
            duration_seconds: row.duration_seconds,
            positive: row.positive,
            neutral: row.neutral,
            negative: row.negative,
            mixed: row.mixed,
            urgency_sum: row.urgency_sum,
            urgent: row.urgent,
            ..Numbers::default()
        };
    }
    Ok(())
}

async fn action_items(
    db: &mut PgConnection,
    spans: &Spans,
    bounds: &CallBounds,
    sums: &mut [Sum],
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT s.number AS "number!", count(*) AS "all!", count(*) FILTER (WHERE i.state = 'done') AS "done!",
               coalesce(array_agg(i.due_at ORDER BY i.due_at) FILTER (WHERE i.state = 'open' AND i.due_at IS NOT NULL),
                   '{}') AS "open_due_at!"
           FROM unnest($1::int[], $2::timestamptz[], $3::timestamptz[]) AS s (number, starts, ends)
           CROSS JOIN LATERAL (
               SELECT id FROM calls c
               WHERE c.occurred_at >= s.starts AND c.occurred_at < s.ends AND c.started_at IS NOT NULL
                 AND call_is_within(c.direction, c.caller_number, c.called_number, c.occurred_at, $4, $5, $6, $7)
               -- A stretch has few of all calls, which the planner cannot know: in this order, and by its index.
               OFFSET 0
           ) c
           CROSS JOIN LATERAL (SELECT state, due_at FROM action_items WHERE call_id = c.id AND current OFFSET 0) i
           GROUP BY s.number"#,
        &spans.numbers,
        &spans.starts,
        &spans.ends,
        bounds.direction(),
        bounds.number_prefix(),
        bounds.from,
        bounds.to
    )
    .fetch_all(db)
    .await?;
    for row in rows {
        let sum = &mut sums[row.number as usize];
        sum.numbers.action_items = row.all;
        sum.numbers.action_items_done = row.done;
        sum.open_due_at = row.open_due_at;
    }
    Ok(())
}

/// How long it took from the end of each call until the first message about it was sent.
async fn notices(
    db: &mut PgConnection,
    spans: &Spans,
    bounds: &CallBounds,
    sums: &mut [Sum],
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT t.number AS "number!", t.seconds AS "seconds!", count(*) AS "calls!"
           FROM (
               SELECT s.number,
                   -- Clocks of other machines may be wrong by any time.
                   least(greatest(round(extract(epoch FROM n.sent_at - c.ended_at)), 0), 2147483647)::int AS seconds
               FROM unnest($1::int[], $2::timestamptz[], $3::timestamptz[]) AS s (number, starts, ends)
               CROSS JOIN LATERAL (
                   SELECT id, ended_at FROM calls c
                   WHERE c.occurred_at >= s.starts AND c.occurred_at < s.ends AND c.started_at IS NOT NULL
                     AND c.ended_at IS NOT NULL
                     AND call_is_within(c.direction, c.caller_number, c.called_number, c.occurred_at, $4, $5, $6, $7)
                   OFFSET 0
               ) c
               CROSS JOIN LATERAL (
                   SELECT min(updated_at) AS sent_at FROM deliveries WHERE call_id = c.id AND state = 'sent'
               ) n
               WHERE n.sent_at IS NOT NULL
           ) t GROUP BY t.number, t.seconds"#,
        &spans.numbers,
        &spans.starts,
        &spans.ends,
        bounds.direction(),
        bounds.number_prefix(),
        bounds.from,
        bounds.to
    )
    .fetch_all(db)
    .await?;
    for row in rows {
        sums[row.number as usize].numbers.notified.insert(row.seconds, row.calls);
    }
    Ok(())
}
