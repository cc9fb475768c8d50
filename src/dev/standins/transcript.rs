//! Knows a transcript again by its sentences, and moves the evidence of a fixture's analysis to where the sentences
//! stand in it: the product may cut a turn into more segments than the fixture has, or join some.

use std::sync::LazyLock;

use regex::Regex;

use super::fixtures::{Finding, Findings, FixtureCall, Promise};

/// A transcript is a fixture's when it holds at least this part of the fixture's words, in whole sentences.
const ENOUGH: f64 = 0.5;
/// How many segments the answer to an unknown transcript quotes.
const QUOTED: usize = 3;

/// `[3] customer 0:12: text`; the last colon may be missing, hours may be there.
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^\s*\[(\d+)\]\s+(?:agent|customer|unknown)\s+(?:\d+:)?\d+:\d\d:?\s+(.*)$").expect("a constant")
});

/// One numbered line of a transcript as the product sends it to a language model.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// The product's index of the segment.
    pub index: usize,
    /// What was said.
    pub text: String,
}

/// The numbered lines in a message; everything else in it is left out.
pub fn lines(message: &str) -> Vec<Line> {
    let parse = |line| {
        let found = LINE.captures(line)?;
        Some(Line { index: found[1].parse().ok()?, text: found[2].trim().to_owned() })
    };
    message.lines().filter_map(parse).collect()
}

/// What a good model would say: of a fixture's transcript its own analysis with moved evidence, of any other one the
/// beginnings of its first segments, marked as what they are.
pub fn analyze(calls: &[FixtureCall], message: &str) -> Findings {
    let lines = lines(message);
    let words = Words::of(&lines);
    let known = calls.iter().map(|call| (call, Mapping::of(call, &words)));
    let best = known.max_by(|one, other| one.1.found.total_cmp(&other.1.found));
    match best {
        Some((call, mapping)) if mapping.found >= ENOUGH => mapping.apply(&call.analysis),
        _ => extract(&lines, message),
    }
}

/// What a good model makes of its own answers about the parts of a long call, one JSON object a line: all of them, the
/// most urgent first. `None` when the message holds none.
pub fn merge(message: &str) -> Option<Findings> {
    let mut parts: Vec<Findings> = message.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let urgency = parts.iter().map(|part| part.urgency).max()?;
    let mut whole = parts.remove(0);
    for part in parts {
        whole.statements.extend(part.statements);
        whole.topics.extend(part.topics);
        whole.action_items.extend(part.action_items);
    }
    Some(Findings { urgency, ..whole })
}

/// All words of a transcript without case and punctuation, each with the index of its line.
struct Words(Vec<(String, usize)>);

/// For each segment of a fixture the lines in which its sentences stand.
struct Mapping {
    lines: Vec<Vec<usize>>,
    /// Part of the fixture's words that stand in found sentences, 0 to 1.
    found: f64,
}

impl Words {
    fn of(lines: &[Line]) -> Self {
        Self(lines.iter().flat_map(|line| plain(&line.text).map(|word| (word, line.index))).collect())
    }

    /// Where `sentence` stands, at or after `from` if possible: short ones are said more than once.
    fn find(&self, sentence: &[String], from: usize) -> Option<usize> {
        let stands = |at: &usize| self.0[*at..].iter().zip(sentence).all(|((word, _), wanted)| word == wanted);
        let last = (self.0.len() + 1).checked_sub(sentence.len())?;
        (from..last).find(stands).or_else(|| (0..last).find(stands))
    }
}

impl Mapping {
    fn of(call: &FixtureCall, words: &Words) -> Self {
        let (mut position, mut found, mut all) = (0, 0, 0);
        let mut lines = vec![Vec::new(); call.segments.len()];
        for (segment, lines) in call.segments.iter().zip(&mut lines) {
            for sentence in segment.text.split_inclusive(['.', '!', '?']) {
                let sentence: Vec<_> = plain(sentence).collect();
                all += sentence.len();
                let Some(at) = words.find(&sentence, position).filter(|_| !sentence.is_empty()) else { continue };
                position = at + sentence.len();
                found += sentence.len();
                lines.extend(words.0[at..position].iter().map(|(_, line)| *line));
            }
            lines.dedup();
        }
        Self { lines, found: f64::from(found as u32) / f64::from(all.max(1) as u32) }
    }

    /// The analysis in terms of the product's lines. What has no evidence there is left out: nobody said it.
    fn apply(&self, analysis: &Findings) -> Findings {
        let mut moved = analysis.clone();
        moved.statements.retain_mut(|finding| self.moves(&mut finding.evidence));
        moved.action_items.retain_mut(|Promise { evidence, .. }| self.moves(evidence));
        moved
    }

    fn moves(&self, evidence: &mut Vec<usize>) -> bool {
        *evidence = evidence.iter().filter_map(|segment| self.lines.get(*segment)).flatten().copied().collect();
        evidence.sort_unstable();
        evidence.dedup();
        !evidence.is_empty()
    }
}

fn plain(text: &str) -> impl Iterator<Item = String> {
    let words = text.split_whitespace();
    words
        .map(|word| word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect())
        .filter(|word: &String| !word.is_empty())
}

fn extract(lines: &[Line], message: &str) -> Findings {
    let whole = [Line { index: 0, text: message.trim().to_owned() }];
    let numbered = !lines.is_empty();
    let spoken = if numbered { lines } else { &whole };
    let quoted = spoken.iter().filter(|line| !line.text.is_empty()).take(QUOTED).enumerate();
    let statements = quoted.map(|(position, line)| Finding {
        text: if position == 0 {
            format!("Stand-in analysis: {}", first_sentence(&line.text))
        } else {
            first_sentence(&line.text).to_owned()
        },
        evidence: if numbered { vec![line.index] } else { Vec::new() },
    });
    Findings {
        statements: statements.collect(),
        sentiment: "neutral".to_owned(),
        urgency: 2,
        topics: vec!["unknown".to_owned()],
        action_items: Vec::new(),
    }
}

fn first_sentence(text: &str) -> &str {
    text.split_inclusive(['.', '!', '?']).next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::standins::Fixtures;

    fn analyzed(message: &str) -> Findings {
        analyze(Fixtures::embedded().calls(), message)
    }

    #[test]
    fn only_numbered_lines_count() {
        let message = "Transcript:\n[0] agent 0:00: Hello.\n[1] customer 1:02:03 [7] is a number.\nEnd [9]";
        let expected = [(0, "Hello."), (1, "[7] is a number.")];
        assert_eq!(lines(message), expected.map(|(index, text)| Line { index, text: text.to_owned() }));
    }

    #[test]
    fn the_same_segments_keep_their_evidence() {
        for call in Fixtures::embedded().calls() {
            let lines =
                call.segments.iter().enumerate().map(|(at, turn)| format!("[{at}] agent 0:0{at} {}", turn.text));
            assert_eq!(analyzed(&lines.collect::<Vec<_>>().join("\n")), call.analysis, "{}", call.name);
        }
    }

    #[test]
    fn evidence_follows_sentences_into_split_and_joined_segments() {
        let call = Fixtures::embedded().call("double-charge").unwrap();
        let mut split = Vec::new();
        for turn in &call.segments {
            for sentence in turn.text.split_inclusive(". ") {
                split.push(format!("[{}] {} 0:01: {sentence}", split.len(), turn.channel));
            }
        }
        let findings = analyzed(&split.join("\n"));
        // Segment 1 has become lines 3 to 5, segment 2 lines 6 to 8, segment 4 lines 10 and 11.
        assert_eq!(findings.statements[0].evidence, [3, 4, 5]);
        assert_eq!(findings.action_items[0].evidence, [3, 4, 5, 6, 7, 8]);
        assert_eq!(findings.action_items[1].evidence, [10, 11]);

        let texts: Vec<_> = call.segments.iter().map(|turn| turn.text.to_uppercase()).collect();
        let joined =
            format!("[40] unknown 0:00: {}\n[41] unknown 0:20: {}", texts[..3].join(" "), texts[3..].join(" "));
        let findings = analyzed(&joined);
        assert_eq!(findings.statements[1].evidence, [40]);
        assert_eq!(findings.statements[2].evidence, [41]);
    }

    #[test]
    fn what_nobody_said_is_left_out() {
        let call = Fixtures::embedded().call("double-charge").unwrap();
        let lines = call.segments.iter().enumerate().take(4);
        let lines = lines.map(|(at, turn)| format!("[{at}] agent 0:00: {}", turn.text));
        let findings = analyzed(&lines.collect::<Vec<_>>().join("\n"));
        assert_eq!(findings.statements[2].evidence, [3]);
        assert_eq!(findings.action_items.len(), 1, "the confirmation is promised in segment 4");
    }

    #[test]
    fn an_unknown_transcript_is_quoted_honestly() {
        let findings = analyzed("[4] agent 0:00: Good day. All well?\n[5] customer 0:09: Yes! Bye.");
        let texts: Vec<_> = findings.statements.iter().map(|finding| finding.text.as_str()).collect();
        assert_eq!(texts, ["Stand-in analysis: Good day.", "Yes!"]);
        assert_eq!(findings.statements[1].evidence, [5]);
        assert_eq!((findings.sentiment.as_str(), findings.urgency), ("neutral", 2));
        assert!(findings.action_items.is_empty());
    }
}
