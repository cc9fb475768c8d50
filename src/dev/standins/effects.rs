//! What the stand-ins really did: the other side of the ledger, for those who check that nothing was done twice unseen
//! and nothing was paid for twice.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use poem::Response;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::Upstream;
use super::faults::Struck;
use crate::model::{Usage, clock, hex};

/// The oldest go.
const MOST_KEPT: usize = 20_000;

/// Something that was done: a recording handed out, an answer computed (and billed), a message posted, a mail taken.
#[derive(Debug, Clone, Serialize)]
pub struct Effect {
    /// When the request for it came.
    pub arrived_at: DateTime<Utc>,
    /// When it was done.
    pub at: DateTime<Utc>,
    /// Who did it.
    pub upstream: Upstream,
    /// To what: the recording's path and query; the SHA-256 of the audio or of the messages; the first UUID in a Slack
    /// message, which is the call's; the `Message-ID` of a mail.
    pub subject: String,
    /// What a real one would bill.
    pub usage: Usage,
    /// The fault that the request met.
    pub fault: Option<&'static str>,
    /// The client was not told.
    pub lost: bool,
}

/// What an endpoint has done, on its way to the door.
#[derive(Debug, Clone, Default)]
pub(super) struct Deed {
    pub subject: String,
    pub usage: Usage,
}

/// All effects, oldest first. Copies share one list.
#[derive(Debug, Clone, Default)]
pub(super) struct Effects {
    kept: Arc<Mutex<VecDeque<Effect>>>,
    log: Option<Log>,
}

/// A file with one JSON object a line for each effect. Nothing is taken back.
#[derive(Debug, Clone)]
struct Log(Sender<(Vec<u8>, oneshot::Sender<()>)>);

impl Deed {
    /// To something that has a name.
    pub(super) fn to(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), usage: Usage::default() }
    }

    /// To something that is known by its content.
    pub(super) fn to_content(content: &[u8], usage: Usage) -> Self {
        Self { subject: hex(&Sha256::digest(content)), usage }
    }

    /// The same, where the answer of a language model now tells another use.
    pub(super) fn billed_as(mut self, answer: &Value) -> Self {
        let tokens = |name: &str| answer["usage"][name].as_i64();
        self.usage.input_tokens = tokens("prompt_tokens").unwrap_or(self.usage.input_tokens);
        self.usage.output_tokens = tokens("completion_tokens").unwrap_or(self.usage.output_tokens);
        self
    }

    /// Lays it into an answer, where the door finds it.
    pub(super) fn on(self, mut response: Response) -> Response {
        response.set_data(self);
        response
    }
}

impl Effects {
    /// A list that is also written to a file, if one is named; it must not be there yet.
    pub(super) fn new(file: Option<&Path>) -> anyhow::Result<Self> {
        let about = || "the effects cannot be logged";
        let log = file.map(|path| File::create_new(path).map(Log::to)).transpose().with_context(about)?;
        Ok(Self { kept: Arc::default(), log })
    }

    /// Notes what was done for a request, and whether its client will learn of it. With a log, comes back when the line
    /// is on the disk: what a client has been told of can be read there, whoever is killed afterwards.
    pub(super) async fn note(
        &self,
        upstream: Upstream,
        arrived_at: DateTime<Utc>,
        deed: &Deed,
        struck: Option<&Struck>,
    ) {
        let Deed { subject, usage } = deed.clone();
        let fault = struck.map(|struck| struck.fault.name);
        let lost = struck.is_some_and(|struck| struck.fault.loses());
        let effect = Effect { arrived_at, at: clock::now(), upstream, subject, usage, fault, lost };
        let written = self.log.as_ref().map(|log| log.append(&effect));
        self.keep(effect);
        if let Some(written) = written {
            written.await.expect("the log of effects can be written");
        }
    }

    pub(super) fn all(&self) -> Vec<Effect> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn keep(&self, effect: Effect) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(effect);
        if kept.len() > MOST_KEPT {
            kept.pop_front();
        }
    }
}

impl Log {
    fn to(file: File) -> Self {
        let (lines, to_write) = mpsc::channel();
        thread::spawn(move || write_all(file, &to_write));
        Self(lines)
    }

    /// Resolves when the line is on the disk; fails when it will never be.
    fn append(&self, effect: &Effect) -> oneshot::Receiver<()> {
        let mut line = serde_json::to_vec(effect).expect("strings and numbers");
        line.push(b'\n');
        let (written, told) = oneshot::channel();
        // The thread ends when the disk refuses; the receiver then says so.
        let _ = self.0.send((line, written));
        told
    }
}

/// What has come together while the disk was busy goes there in one piece.
fn write_all(mut file: File, lines: &Receiver<(Vec<u8>, oneshot::Sender<()>)>) -> io::Result<()> {
    while let Ok(first) = lines.recv() {
        let batch: Vec<_> = std::iter::once(first).chain(lines.try_iter()).collect();
        for (line, _) in &batch {
            file.write_all(line)?;
        }
        file.sync_data()?;
        for (_, written) in batch {
            // A client that was killed meanwhile is told nothing.
            let _ = written.send(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_noted_stands_in_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("effects");
        let effects = Effects::new(Some(&path)).unwrap();
        let arrived_at = clock::now();
        for number in 0..3 {
            effects.note(Upstream::Slack, arrived_at, &Deed::to(number.to_string()), None).await;
            let written = std::fs::read_to_string(&path).unwrap();
            let last: serde_json::Value = serde_json::from_str(written.lines().last().unwrap()).unwrap();
            assert_eq!((&last["upstream"], &last["subject"]), (&"slack".into(), &number.to_string().into()));
            assert_eq!((written.lines().count(), effects.all().len()), (number + 1, number + 1));
        }
        assert!(Effects::new(Some(&path)).is_err(), "an earlier log is not overwritten");
    }
}
