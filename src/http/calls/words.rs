//! Words of the API about calls.

use crate::text_enum;

text_enum!(
    /// In which order calls are listed.
    Sort {
        /// The latest first; what a list without `q` does.
        Newest = "newest",
        /// The earliest first.
        Oldest = "oldest",
        /// The longest first; those of unknown length last.
        Longest = "longest",
        /// The most urgent first; those not analyzed last.
        MostUrgent = "most_urgent",
        /// Those first that fit `q` best; what a list with `q` does.
        Relevance = "relevance",
    }
);

text_enum!(
    /// Which part of a call an excerpt is of.
    Part {
        /// Name or number of the caller.
        Caller = "caller",
        /// Name or number of the called.
        Called = "called",
        /// The summary.
        Summary = "summary",
        /// What was said.
        Transcript = "transcript",
    }
);

text_enum!(
    /// Steps of the pipeline from which a call is run again.
    FirstStep {
        /// Get the recording.
        Download = "download",
        /// Write down what was said.
        Transcribe = "transcribe",
        /// Find out what it means.
        Analyze = "analyze",
        /// Tell people.
        Notify = "notify",
    }
);

text_enum!(
    /// How a transcript is written.
    Format {
        /// All that is known of it.
        Json = "json",
        /// A line for each segment.
        Txt = "txt",
        /// Subtitles, `SubRip`.
        Srt = "srt",
        /// Subtitles, WebVTT.
        Vtt = "vtt",
    }
);

text_enum!(
    /// What a line of a call's timeline tells of.
    Happened {
        /// The sender told us of the call.
        Event = "event",
        /// A step was tried, or is being tried.
        Attempt = "attempt",
        /// A step waits for its time.
        Wait = "wait",
        /// A message reached the state that it is in.
        Delivery = "delivery",
        /// A person or program did something to the call or to a step of it.
        Act = "act",
    }
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline;

    #[test]
    fn every_step_can_be_the_first() {
        let words: Vec<&str> = FirstStep::ALL.iter().map(|step| step.as_str()).collect();
        assert_eq!(words, pipeline::names().collect::<Vec<_>>());
    }
}
