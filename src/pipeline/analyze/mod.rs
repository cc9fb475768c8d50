//! Step 3: one structured answer of the language model about the transcript, checked against our own schema and against
//! the transcript. Attempts: 6 in about 23 hours (30 s, 4 min, 30 min, 4 h, 18 h apart).

use std::time::Duration;

use self::ask::Asker;
use self::said::Said;
use super::{ANALYZE, NOTIFY, Rooms};
use crate::model::{Analysis, Sentiment, Statement};
use crate::queue::{Backoff, Done, Job, Lease, NewJob, StepError, StepPolicy};
use crate::store::{self, summaries::MadeWith};

mod answer;
mod ask;
mod calendar;
mod due;
mod evidence;
mod lexicon;
mod names;
mod numbers;
mod parts;
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

pub(super) async fn run(rooms: &Rooms, job: &Job, lease: &Lease) -> Result<Done, StepError> {
    let call = store::calls::get(&rooms.db, job.call_id).await?;
    let transcript = store::summaries::transcript(&rooms.db, job.call_id).await?;
    let (Some(call), Some(transcript)) = (call, transcript) else {
        tracing::warn!("The transcript is gone; nothing to analyze.");
        return Ok(Done::end());
    };
    let (mut analysis, model, parts) = if transcript.segments.is_empty() {
        (nobody_spoke(), "none".to_owned(), None)
    } else {
        rooms.language_model.is_configured().map_err(|error| StepError::from_upstream(error, job.waits))?;
        let said = Said::new(&transcript, call.occurred_at, rooms.settings.time_zone);
        let call_line = prompt::call_line(&call, rooms.settings.time_zone);
        let asker = Asker { rooms, job, lease, said: &said };
        let limit = rooms.settings.analysis_max_input_tokens;
        let (answered, parts) = parts::analyze(&asker, &transcript, &call_line, limit).await?;
        (answered.analysis, answered.model, parts)
    };
    analysis.statements.extend(transcript.ends_early.map(|early| ours(early.to_string())));
    let unsupported = analysis.statements.iter().filter(|s| !s.supported).count()
        + analysis.action_items.iter().filter(|item| !item.supported).count();
    tracing::info!(
        statements = analysis.statements.len(),
        action_items = analysis.action_items.len(),
        unsupported,
        "Call analyzed."
    );
    let made = MadeWith { model: &model, prompt_version: prompt::VERSION, parts };
    store::summaries::save_analysis(&rooms.db, lease.fence(), job.call_id, job.run, &analysis, made).await?;
    Ok(Done::then([NewJob::new(NOTIFY, job.call_id, job.run)]))
}

fn nobody_spoke() -> Analysis {
    Analysis {
        statements: vec![ours("Nobody spoke in this recording.".to_owned())],
        sentiment: Sentiment::Neutral,
        urgency: 1,
        topics: Vec::new(),
        action_items: Vec::new(),
    }
}

/// What we know of the recording ourselves, as nobody says it.
fn ours(text: String) -> Statement {
    Statement { text, evidence: Vec::new(), supported: true }
}

#[cfg(test)]
mod injection;
