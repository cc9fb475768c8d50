//! One question to the language model with its checked answer: paid for once, repaired once.

use serde_json::Value;

use super::answer;
use super::said::Said;
use crate::model::{Analysis, FailureClass, Usage};
use crate::pipeline::paid::{self, Paid};
use crate::pipeline::{ANALYZE, Rooms};
use crate::providers::language_model::{Completion, CompletionRequest};
use crate::queue::{Job, Lease, StepError};

/// Hidden reasoning counts against it, so it is a floor, not a luxury.
const MAX_OUTPUT_TOKENS: u32 = 4_000;

/// Who asks, about which call.
pub(super) struct Asker<'a> {
    /// What the step works with.
    pub rooms: &'a Rooms,
    /// Whose step it is.
    pub job: &'a Job,
    /// Its lease.
    pub lease: &'a Lease,
    /// What answers are checked against.
    pub said: &'a Said,
}

/// An answer that keeps the agreed form.
pub(super) struct Answered {
    /// Checked against what was said.
    pub analysis: Analysis,
    /// As the model wrote it.
    pub json: Value,
    /// The model that wrote it.
    pub model: String,
}

impl Asker<'_> {
    /// Asks, and asks once more with what was wrong when the answer does not keep the agreed form.
    pub async fn ask(&self, system: &str, user: String) -> Result<Answered, StepError> {
        let mut request = CompletionRequest {
            system: system.to_owned(),
            user,
            schema_name: "call_analysis",
            schema: answer::schema(),
            max_output_tokens: MAX_OUTPUT_TOKENS,
            repair: None,
        };
        let first = self.complete(&request).await?;
        let problem = match answer::check(&first.json, self.said) {
            Ok(analysis) => return Ok(Answered { analysis, json: first.json, model: first.model }),
            Err(problem) => problem,
        };
        tracing::warn!(%problem, "The model's answer does not keep the agreed form; asking it to repair it.");
        let question = format!("This answer cannot be used: {problem}. Answer again, with the JSON object alone.");
        request.repair = Some((written(&first.json), question));
        let second = self.complete(&request).await?;
        let analysis = answer::check(&second.json, self.said).map_err(|problem| {
            StepError::permanent(
                FailureClass::BadAnswer,
                format!(
                    "The language model did not keep the agreed form, even when asked again: {problem}. Choose \
                     another ANALYSIS_MODEL or ANALYSIS_STRUCTURED_OUTPUT and run the job again."
                ),
            )
        })?;
        Ok(Answered { analysis, json: second.json, model: second.model })
    }

    async fn complete(&self, request: &CompletionRequest<'_>) -> Result<Completion, StepError> {
        let schema = request.schema.to_string();
        let (answer, problem) = request.repair.as_ref().map_or(("", ""), |(answer, problem)| (answer, problem));
        let model = &self.rooms.settings.analysis_model;
        let input = [model, &request.system, &request.user, &schema, answer, problem].map(str::as_bytes);
        let asked = self.rooms.language_model.complete(request);
        paid::answer(self.rooms, self.job, self.lease, ANALYZE, &input, asked).await
    }
}

/// The answer as the model wrote it; nothing when it wrote nothing.
fn written(json: &Value) -> String {
    match json {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        json => json.to_string(),
    }
}

impl Paid for Completion {
    fn usage(&self) -> &Usage {
        &self.usage
    }

    fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}
