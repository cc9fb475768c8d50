//! The calls that the stand-ins know: audio, every spoken word with its time, and what a good model would say of them.

use std::borrow::Cow;
use std::sync::{LazyLock, OnceLock};

use anyhow::Context;
use rust_embed::RustEmbed;
use serde::{Deserialize, Serialize};

use super::sound::Sound;
use crate::model::Speaker;

/// `fixtures/calls`, compiled into the program, so that `dev` works from any folder.
#[derive(RustEmbed)]
#[folder = "fixtures/calls/"]
struct Files;

static EMBEDDED: LazyLock<Vec<FixtureCall>> = LazyLock::new(|| {
    let mut names: Vec<_> = Files::iter().filter_map(|file| file.strip_suffix(".wav").map(str::to_owned)).collect();
    names.sort();
    names.iter().map(|name| FixtureCall::load(name).expect("the fixtures were checked when they were made")).collect()
});

/// All fixture calls. Cheap to copy; read and decoded on first use.
#[derive(Clone, Copy, Debug)]
pub struct Fixtures {
    calls: &'static LazyLock<Vec<FixtureCall>>,
}

/// One fixture call. `fixtures/README.md` explains the files.
#[derive(Debug)]
pub struct FixtureCall {
    /// File name without its ending.
    pub name: String,
    /// The WAV file as it is.
    pub wav: Cow<'static, [u8]>,
    /// One list of samples per channel; decoded on first use.
    sound: OnceLock<Sound>,
    /// One per turn, in order.
    pub segments: Vec<Spoken>,
    /// What a good language model answers; evidence counts in `segments`.
    pub analysis: Findings,
}

/// One turn of a fixture call.
#[derive(Debug, Deserialize)]
pub struct Spoken {
    /// Who speaks, which says on which channel.
    pub channel: Speaker,
    /// All words, joined by one blank.
    pub text: String,
    /// Each word with its time.
    pub words: Vec<Word>,
}

/// One spoken word with its punctuation. Times are seconds from the start of the recording.
#[derive(Debug, Deserialize)]
pub struct Word {
    /// As written.
    pub word: String,
    /// First sound.
    pub start: f64,
    /// Last sound.
    pub end: f64,
}

/// An analysis in the shape that the product asks a language model for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// The summary, sentence by sentence.
    pub statements: Vec<Finding>,
    /// `positive`, `neutral`, `negative` or `mixed`.
    pub sentiment: String,
    /// 1 (no hurry) to 5 (now).
    pub urgency: u8,
    /// Lower-case keywords.
    pub topics: Vec<String>,
    /// What somebody promised.
    pub action_items: Vec<Promise>,
}

/// One sentence of a summary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The sentence.
    pub text: String,
    /// Indexes of the segments that support it.
    pub evidence: Vec<usize>,
}

/// One promise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// What to do.
    pub text: String,
    /// Who promised.
    pub owner: Option<String>,
    /// Until when, in the words of the call.
    pub due_words: Option<String>,
    /// `YYYY-MM-DD` where the words name a date.
    pub due_date: Option<String>,
    /// Indexes of the segments that support it.
    pub evidence: Vec<usize>,
}

impl Fixtures {
    /// The calls that are compiled in.
    pub fn embedded() -> Self {
        Self { calls: &EMBEDDED }
    }

    /// All calls, sorted by name.
    pub fn calls(&self) -> &'static [FixtureCall] {
        self.calls
    }

    /// The call of that name.
    pub fn call(&self, name: &str) -> Option<&'static FixtureCall> {
        self.calls().iter().find(|call| call.name == name)
    }
}

impl FixtureCall {
    fn load(name: &str) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Script {
            segments: Vec<Spoken>,
            analysis: Findings,
        }
        let wav = Files::get(&format!("{name}.wav")).with_context(|| format!("{name}.wav is missing"))?.data;
        let script = Files::get(&format!("{name}.json")).with_context(|| format!("{name}.json is missing"))?.data;
        let Script { segments, analysis } = serde_json::from_slice(&script).with_context(|| format!("{name}.json"))?;
        Ok(Self { name: name.to_owned(), wav, sound: OnceLock::new(), segments, analysis })
    }

    /// The audio, decoded.
    pub fn sound(&self) -> &Sound {
        self.sound.get_or_init(|| Sound::read(&self.wav).expect("the fixtures were checked when they were made"))
    }
}

impl Spoken {
    /// Position of the channel on which this was spoken.
    pub fn channel_index(&self) -> usize {
        match self.channel {
            Speaker::Agent | Speaker::Unknown => 0,
            Speaker::Customer => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_there_and_points_at_its_own_segments() {
        let calls = Fixtures::embedded().calls();
        assert!(calls.len() >= 5);
        for call in calls {
            let evidence = call.analysis.statements.iter().flat_map(|finding| &finding.evidence);
            let promised = call.analysis.action_items.iter().flat_map(|promise| &promise.evidence);
            assert!(evidence.chain(promised).all(|index| *index < call.segments.len()), "{}", call.name);
            for segment in &call.segments {
                assert!(segment.channel_index() < call.sound().channels.len(), "{}", call.name);
                let words: Vec<_> = segment.words.iter().map(|word| word.word.as_str()).collect();
                assert_eq!(words.join(" "), segment.text);
            }
        }
        assert!(Fixtures::embedded().call("double-charge").is_some());
        assert!(Fixtures::embedded().call("nobody").is_none());
    }
}
