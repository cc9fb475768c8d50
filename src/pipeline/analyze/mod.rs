//! Step 3: one structured answer of the language model about the transcript, checked against our own schema and against
//! the transcript. Attempts: 6 in about 23 hours (30 s, 4 min, 30 min, 4 h, 18 h apart).

use std::time::Duration;

use self::said::Said;
use super::paid::{self, Paid};
use super::{ANALYZE, NOTIFY, Rooms};
use crate::model::{Analysis, Sentiment, Statement, Transcript, Usage};
use crate::providers::language_model::{Completion, CompletionRequest};
use crate::queue::{Backoff, Done, Job, Lease, NewJob, StepError, StepPolicy};
use crate::store;

mod answer;
mod calendar;
mod due;
mod evidence;
mod lexicon;
mod names;
mod numbers;
mod prompt;
mod said;
mod urgency;
mod words;

pub(super) const POLICY: StepPolicy = StepPolicy {
    name: ANALYZE,
    concurrency: 4,
    max_attempts: 6,
    max_run: Duration::from_mins(15),
    backoff: Backoff { first: Duration::from_secs(30), factor: 8.0, longest: Duration::from_hours(18) },
};

/// Hidden reasoning counts against it, so it is a floor, not a luxury.
const MAX_OUTPUT_TOKENS: u32 = 4_000;

pub(super) async fn run(rooms: &Rooms, job: &Job, lease: &Lease) -> Result<Done, StepError> {
    let call = store::calls::get(&rooms.db, job.call_id).await?;
    let transcript = store::summaries::transcript(&rooms.db, job.call_id).await?;
    let (Some(call), Some(transcript)) = (call, transcript) else {
        tracing::warn!("The transcript is gone; nothing to analyze.");
        return Ok(Done::end());
    };
    let (analysis, model) = if transcript.segments.is_empty() {
        (nobody_spoke(), "none".to_owned())
    } else {
        let said = Said::new(&transcript, call.occurred_at, rooms.settings.time_zone);
        ask(rooms, job, lease, &transcript, &said, &prompt::call_line(&call, rooms.settings.time_zone)).await?
    };
    let unsupported = analysis.statements.iter().filter(|s| !s.supported).count()
        + analysis.action_items.iter().filter(|item| !item.supported).count();
    tracing::info!(
        statements = analysis.statements.len(),
        action_items = analysis.action_items.len(),
        unsupported,
        "Call analyzed."
    );
    let made_with = (model.as_str(), prompt::VERSION);
    store::summaries::save_analysis(&rooms.db, lease.fence(), job.call_id, job.run, &analysis, made_with).await?;
    Ok(Done::then([NewJob::new(NOTIFY, job.call_id, job.run)]))
}

fn nobody_spoke() -> Analysis {
    let text = "Nobody spoke in this recording.".to_owned();
    Analysis {
        statements: vec![Statement { text, evidence: Vec::new(), supported: true }],
        sentiment: Sentiment::Neutral,
        urgency: 1,
        topics: Vec::new(),
        action_items: Vec::new(),
    }
}

/// Asks, and asks once more with what was wrong when the answer does not keep the agreed form.
async fn ask(
    rooms: &Rooms,
    job: &Job,
    lease: &Lease,
    transcript: &Transcript,
    said: &Said,
    call_line: &str,
) -> Result<(Analysis, String), StepError> {
    rooms.language_model.is_configured().map_err(|error| StepError::from_upstream(error, job.waits))?;
    let mut request = CompletionRequest {
        system: prompt::SYSTEM.to_owned(),
        user: prompt::user(call_line, transcript),
        schema_name: "call_analysis",
        schema: answer::schema(),
        max_output_tokens: MAX_OUTPUT_TOKENS,
        repair: None,
    };
    let first = complete(rooms, job, lease, &request).await?;
    let problem = match answer::check(&first.json, said) {
        Ok(analysis) => return Ok((analysis, first.model)),
        Err(problem) => problem,
    };
    tracing::warn!(%problem, "The model's answer does not keep the agreed form; asking it to repair it.");
    request.repair = Some((first.json.to_string(), problem));
    let second = complete(rooms, job, lease, &request).await?;
    let analysis = answer::check(&second.json, said).map_err(|problem| {
        StepError::permanent(
            "bad_answer",
            format!("The language model did not keep the agreed form, even when asked again: {problem}. Try another ANALYSIS_MODEL or ANALYSIS_STRUCTURED_OUTPUT, then retry."),
        )
    })?;
    Ok((analysis, second.model))
}

async fn complete(
    rooms: &Rooms,
    job: &Job,
    lease: &Lease,
    request: &CompletionRequest<'_>,
) -> Result<Completion, StepError> {
    let schema = request.schema.to_string();
    let (answer, problem) = request.repair.as_ref().map_or(("", ""), |(answer, problem)| (answer, problem));
    let parts = [&rooms.settings.analysis_model, &request.system, &request.user, &schema, answer, problem];
    let input = parts.map(str::as_bytes);
    paid::answer(rooms, job, lease, ANALYZE, &input, rooms.language_model.complete(request)).await
}

impl Paid for Completion {
    fn usage(&self) -> &Usage {
        &self.usage
    }

    fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}
