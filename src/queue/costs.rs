//! What calls have cost so far: the sums of their attempts, by step, failed attempts apart.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::model::{CallBounds, Spans};

/// What some attempts have cost, in millionths of a US dollar; `None` = a part of it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// All of them.
    pub micro_units: Option<i64>,
    /// Those of them that did not end as `completed`.
    pub waste_micro_units: Option<i64>,
}

impl Default for Cost {
    /// Nothing was tried, so nothing was paid.
    fn default() -> Self {
        Self { micro_units: Some(0), waste_micro_units: Some(0) }
    }
}

/// What a step of a call has cost, in all its runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepCost {
    /// Step.
    pub step: String,
    /// Its cost.
    #[serde(flatten)]
    pub cost: Cost,
}

/// What a call has cost, in all its runs. Answers that were lost on their way to us are not in it: nobody told what they
/// had used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallCost {
    /// All steps together.
    pub total: Cost,
    /// By step, in the order in which they first started.
    pub steps: Vec<StepCost>,
    /// Models that have no price for what they did.
    pub unpriced_models: Vec<String>,
    /// Models whose server did not say what they used.
    pub unmeasured_models: Vec<String>,
}

/// An attempt, as far as its cost goes.
struct Attempt {
    call_id: Uuid,
    step: String,
    completed: bool,
    /// `None` = it is not known.
    micro_units: Option<i64>,
    model: Option<String>,
    /// Whether the model's server said what it had used.
    measured: bool,
}

/// What these calls have cost so far. A call that nothing was tried for is not in the answer.
pub async fn costs_of_calls(db: impl PgExecutor<'_>, calls: &[Uuid]) -> Result<HashMap<Uuid, CallCost>, sqlx::Error> {
    // Added up here: a page of calls has some hundred attempts, for which grouping takes longer in the database.
    let attempts = sqlx::query_as!(
        Attempt,
        r#"SELECT call_id AS "call_id!", step AS "step!", outcome = 'completed' AS "completed!",
               cost_micro_units AS micro_units, model,
               coalesce(input_tokens + output_tokens + audio_seconds > 0, false) AS "measured!"
           FROM every_job_attempt WHERE call_id = ANY ($1) ORDER BY started_at"#,
        calls
    )
    .fetch_all(db)
    .await?;
    let mut costs: HashMap<Uuid, CallCost> = HashMap::new();
    for attempt in attempts {
        costs.entry(attempt.call_id).or_default().add(attempt);
    }
    Ok(costs)
}

/// What the calls of a stretch of time have cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanCost {
    /// Number of the stretch.
    pub span: i32,
    /// As far as it is known.
    pub micro_units: i64,
    /// Calls of whose cost a part is not known.
    pub unknown_calls: i64,
}

/// What the calls within the bounds have cost so far that started in each of these stretches. One without calls is not in
/// the answer.
///
/// Joins the calls, of which the queue knows the ids alone otherwise: there may be more of them than a list should carry.
pub async fn costs_of_spans(
    db: &mut PgConnection,
    spans: &Spans,
    bounds: &CallBounds,
) -> Result<Vec<SpanCost>, sqlx::Error> {
    sqlx::query_as!(
        SpanCost,
        r#"SELECT s.number AS "span!", coalesce(sum(a.cost), 0)::bigint AS "micro_units!",
                  count(*) FILTER (WHERE a.is_unknown) AS "unknown_calls!"
           FROM unnest($1::int[], $2::timestamptz[], $3::timestamptz[]) AS s (number, starts, ends)
           CROSS JOIN LATERAL (
               SELECT id FROM calls c
               WHERE c.occurred_at >= s.starts AND c.occurred_at < s.ends AND c.started_at IS NOT NULL
                 AND call_is_within(c.direction, c.caller_number, c.called_number, c.occurred_at, $4, $5, $6, $7)
               -- A stretch has few of all calls, which the planner cannot know: in this order, and by its index.
               OFFSET 0
           ) c
           CROSS JOIN LATERAL (
               SELECT sum(cost_micro_units) AS cost, bool_or(cost_micro_units IS NULL) AS is_unknown
               FROM every_job_attempt WHERE call_id = c.id
           ) a
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
    .await
}

impl CallCost {
    /// Attempts come in the order in which they started.
    fn add(&mut self, attempt: Attempt) {
        let Attempt { step, completed, micro_units, model, measured, .. } = attempt;
        self.total.add(micro_units, completed);
        let index = self.steps.iter().position(|known| known.step == step).unwrap_or_else(|| {
            self.steps.push(StepCost { step, cost: Cost::default() });
            self.steps.len() - 1
        });
        self.steps[index].cost.add(micro_units, completed);
        if let Some(model) = model.filter(|_| micro_units.is_none()) {
            let models = if measured { &mut self.unpriced_models } else { &mut self.unmeasured_models };
            if let Err(place) = models.binary_search(&model) {
                models.insert(place, model);
            }
        }
    }
}

impl Cost {
    fn add(&mut self, micro_units: Option<i64>, completed: bool) {
        let sum = |one: Option<i64>| one?.checked_add(micro_units?);
        self.micro_units = sum(self.micro_units);
        if !completed {
            self.waste_micro_units = sum(self.waste_micro_units);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(step: &str, completed: bool, micro_units: Option<i64>, model: Option<&str>) -> Attempt {
        let (step, model) = (step.to_owned(), model.map(str::to_owned));
        Attempt { call_id: Uuid::nil(), step, completed, micro_units, model, measured: true }
    }

    fn sum(attempts: Vec<Attempt>) -> CallCost {
        let mut cost = CallCost::default();
        for attempt in attempts {
            cost.add(attempt);
        }
        cost
    }

    #[test]
    fn failed_attempts_are_waste_and_part_of_the_whole() {
        let cost = sum(vec![
            attempt("transcribe", false, Some(100), Some("ear")),
            attempt("transcribe", true, Some(4_000), Some("ear")),
            attempt("analyze", true, Some(1_100), None),
        ]);
        assert_eq!(cost.total, Cost { micro_units: Some(5_200), waste_micro_units: Some(100) });
        let steps: Vec<_> = cost.steps.iter().map(|step| (step.step.as_str(), step.cost.micro_units)).collect();
        assert_eq!(steps, [("transcribe", Some(4_100)), ("analyze", Some(1_100))]);
        assert_eq!(cost.unpriced_models, [""; 0]);
    }

    #[test]
    fn one_unknown_part_makes_its_sums_unknown_and_no_other() {
        let cost = sum(vec![
            attempt("transcribe", true, Some(4_000), None),
            attempt("analyze", true, None, Some("b")),
            attempt("analyze", false, Some(7), None),
            attempt("analyze", true, None, Some("a")),
            attempt("analyze", true, None, Some("b")),
            Attempt { measured: false, ..attempt("analyze", true, None, Some("c")) },
        ]);
        assert_eq!(cost.total, Cost { micro_units: None, waste_micro_units: Some(7) });
        assert_eq!(cost.steps[0].cost.micro_units, Some(4_000));
        assert_eq!((cost.unpriced_models, cost.unmeasured_models), (vec!["a".into(), "b".into()], vec!["c".into()]));
    }
}
