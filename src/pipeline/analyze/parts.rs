//! Transcripts that are too long for one question: asked about in parts, cut where the speaker changes, each part with
//! the line numbers of the whole; then one question that merges the answers. Nothing is left out.

use std::ops::Range;

use super::answer;
use super::ask::{Answered, Asker};
use super::prompt;
use crate::model::{FailureClass, Transcript};
use crate::queue::StepError;

/// Rule of thumb for the languages of Europe.
const CHARACTERS_PER_TOKEN: f64 = 3.5;
/// Part of the limit that the lines of one part take, in percent.
const SHARE: usize = 60;
/// What the server says of a question that is too long after all.
const TOO_LONG: [FailureClass; 3] = [FailureClass::ContextTooLong, FailureClass::RequestTooLarge, FailureClass::CutOff];

/// The analysis, and in how many parts it was made if not in one. `limit` is in tokens, as estimated.
pub(super) async fn analyze(
    asker: &Asker<'_>,
    transcript: &Transcript,
    call_line: &str,
    limit: usize,
) -> Result<(Answered, Option<i32>), StepError> {
    let lines = prompt::lines(transcript);
    let fixed = tokens(prompt::SYSTEM) + tokens(&answer::schema().to_string()) + tokens(call_line);
    let needed = fixed + lines.iter().map(|line| tokens(line)).sum::<usize>();
    let mut limit = limit;
    if needed <= limit || lines.len() == 1 {
        match asker.ask(prompt::SYSTEM, prompt::user(call_line, &lines)).await {
            Err(StepError::Permanent(failure)) if TOO_LONG.contains(&failure.class) && lines.len() > 1 => {
                tracing::warn!(class = %failure.class, "The transcript is too long for the model; asking in parts.");
                limit = fixed + (needed - fixed) / 2;
            }
            answered => return Ok((answered?, None)),
        }
    }
    let budget = (limit * SHARE / 100).min(limit.saturating_sub(fixed)).max(1);
    let sizes: Vec<usize> = lines.iter().map(|line| tokens(line)).collect();
    let starts_turn = |at: usize| transcript.segments[at].speaker != transcript.segments[at - 1].speaker;
    let parts = parts(&sizes, budget, starts_turn);
    let mut answers = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let facts = format!("{call_line} Part {} of {} of the call.", at + 1, parts.len());
        answers.push(asker.ask(prompt::SYSTEM, prompt::user(&facts, &lines[part.clone()])).await?);
    }
    Ok((merge(asker, answers, call_line, budget).await?, i32::try_from(parts.len()).ok()))
}

/// One answer out of many; out of so many that they are too long together, in rounds.
async fn merge(
    asker: &Asker<'_>,
    mut answers: Vec<Answered>,
    call_line: &str,
    budget: usize,
) -> Result<Answered, StepError> {
    while answers.len() > 1 {
        let texts: Vec<String> = answers.iter().map(|answered| prompt::one_line(&answered.json.to_string())).collect();
        let sizes: Vec<usize> = texts.iter().map(|text| tokens(text)).collect();
        let mut merged = Vec::new();
        for group in in_pairs_at_least(parts(&sizes, budget, |_| false)) {
            merged.push(asker.ask(prompt::MERGE, prompt::merge(call_line, &texts[group])).await?);
        }
        answers = merged;
    }
    answers.pop().ok_or_else(|| anyhow::anyhow!("nothing of the transcript was asked about").into())
}

fn tokens(text: &str) -> usize {
    (text.chars().count() as f64 / CHARACTERS_PER_TOKEN).ceil() as usize
}

/// Stretches of at most `budget`, cut where `may_cut` if there is such a place in their second half. What is larger than
/// the budget alone is a stretch of its own.
fn parts(sizes: &[usize], budget: usize, may_cut: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = 0;
    while start < sizes.len() {
        let mut sum = 0;
        let fits = sizes[start..].iter().take_while(|size| {
            sum += **size;
            sum <= budget
        });
        let end = start + fits.count().max(1);
        let half = start + (end - start).div_ceil(2);
        let cut = if end < sizes.len() { (half..=end).rev().find(|&at| at > start && may_cut(at)) } else { None };
        let end = cut.unwrap_or(end);
        parts.push(start..end);
        start = end;
    }
    parts
}

/// Groups of two or more, so that every round leaves fewer; only a last one may stay alone where two are too few.
fn in_pairs_at_least(groups: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::new();
    for group in groups {
        match joined.last_mut().filter(|last| last.len() < 2) {
            Some(last) => last.end = group.end,
            None => joined.push(group),
        }
    }
    if joined.len() > 1 && joined.last().is_some_and(|last| last.len() < 2) {
        let alone = joined.pop().expect("it was just looked at");
        if let Some(last) = joined.last_mut() {
            last.end = alone.end;
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_where_the_speaker_changes_and_hold_everything() {
        let sizes = [10, 10, 10, 10, 10, 10, 50, 10];
        let parts = parts(&sizes, 40, |at| at == 3);
        assert_eq!(parts, [0..3, 3..6, 6..7, 7..8]);
        assert_eq!(super::parts(&[1, 1], 40, |_| true).len(), 1, "what fits is not cut");
        assert!(super::parts(&[], 40, |_| true).is_empty());
    }

    #[test]
    fn every_round_of_merging_leaves_fewer() {
        assert_eq!(in_pairs_at_least(vec![0..1, 1..2, 2..3, 3..4, 4..5]), [0..2, 2..5]);
        assert_eq!(in_pairs_at_least(vec![0..3, 3..4]).first(), Some(&(0..4)));
        assert_eq!(in_pairs_at_least(vec![0..1, 1..2]).first(), Some(&(0..2)));
    }
}
