//! Which jobs: the filters that all commands on jobs share.

use chrono::TimeDelta;
use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::cli::Failure;
use crate::cli::calls::story;
use crate::cli::parse::{self, Moment};
use crate::cli::session::Session;
use crate::model::FailureClass;
use crate::pipeline;
use crate::queue::JobFilter;

/// Filters; a job must match all that are given.
#[derive(Args, Debug, Default)]
pub struct Which {
    /// Only those of this step.
    #[arg(long, value_parser = PossibleValuesParser::new(pipeline::names()))]
    pub step: Option<String>,
    /// Only those of this call: our id or the sender's.
    #[arg(long, value_name = "CALL")]
    pub call: Option<String>,
    /// Only those whose last attempt ended with this failure, as `jobs show` names it (docs/failures.md).
    #[arg(long, value_name = "CLASS")]
    pub class: Option<FailureClass>,
    /// Only those whose reason contains this text, in any case of letters.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Only those that were made longer ago than this: 30m, 2h, 7d.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration, conflicts_with = "created_before")]
    pub older_than: Option<TimeDelta>,
    /// Only those made at this time or later; a day, or a time in `TIME_ZONE`.
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    pub created_after: Option<Moment>,
    /// Only those made before this time.
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    pub created_before: Option<Moment>,
}

impl Which {
    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        let Self { step, call, class, reason, older_than, created_after, created_before } = self;
        let words = [step, call, reason].iter().all(|word| word.is_none());
        words && class.is_none() && older_than.is_none() && created_after.is_none() && created_before.is_none()
    }

    /// With a state, for the queue. Looks up the call.
    pub async fn filter(self, session: &Session, state: Option<String>, limit: i64) -> Result<JobFilter, Failure> {
        let call_id = match &self.call {
            Some(given) => Some(story::find(session, given).await?.id),
            None => None,
        };
        let in_zone = |moment: Moment| moment.in_zone(session.screen.zone);
        let created_before = self.created_before.map(in_zone);
        Ok(JobFilter {
            state,
            step: self.step,
            call_id,
            class: self.class.map(|class| class.to_string()),
            reason: self.reason,
            created_from: self.created_after.map(in_zone),
            created_before: created_before.or(self.older_than.map(|age| session.screen.now - age)),
            limit,
        })
    }
}
