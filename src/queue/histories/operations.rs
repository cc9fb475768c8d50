//! What can happen to the queue, and how likely it is. A history is a list of these; every one of them has a meaning in
//! every state, so that a history from which some are taken away is still one.

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{STEPS, WORKERS};

/// One thing that happens. A `pick` chooses among what there is at that time, counted round and round.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    /// So many new calls come in, each with its first job.
    Enqueue {
        calls: usize,
    },
    /// A job comes in that is there already.
    EnqueueAgain {
        pick: usize,
    },
    /// A worker claims for its free slots.
    Claim {
        worker: usize,
    },
    /// A worker claims, and the answer gets lost on its way.
    LoseClaim {
        worker: usize,
    },
    /// One of the jobs that a worker holds comes to its end; nothing is written yet.
    End {
        worker: usize,
        pick: usize,
        how: How,
    },
    /// All of them do.
    EndAll {
        worker: usize,
        how: How,
    },
    /// A worker writes what has ended.
    Write {
        worker: usize,
        fate: Fate,
    },
    /// A worker renews its leases.
    Renew {
        worker: usize,
    },
    /// Expired leases are looked for. A late one is a statement that a broken network delivers after its time.
    Sweep {
        late: bool,
    },
    /// Time passes.
    Clock(Jump),
    /// A worker dies with all that it holds, and is started anew.
    Crash {
        worker: usize,
    },
    /// An operator runs a job again.
    Retry {
        pick: usize,
    },
    /// An operator runs again all jobs of a step that failed.
    RetryFailed {
        step: usize,
    },
    /// An operator stops a job.
    Cancel {
        pick: usize,
    },
    /// A call begins a new run; what is open of the earlier one is cancelled.
    Rerun {
        pick: usize,
    },
    /// An operator puts a job before others, or behind.
    Prioritize {
        pick: usize,
        priority: i16,
    },
    /// An operator lets nobody begin with a step.
    Pause {
        step: usize,
    },
    Resume {
        step: usize,
    },
    /// An operator says how many jobs of a step each worker may do at a time.
    Limit {
        step: usize,
        slots: Option<usize>,
    },
}

/// How a step ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Well, with so many jobs that follow.
    Finish {
        next: usize,
    },
    Retry,
    Panic,
    Refuse,
    RetryAfter,
    Wait,
    /// Dropped before its end, as at a stop.
    GiveBack,
}

/// What becomes of a batch of ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Written,
    /// The commit's answer was lost, so the batch comes again.
    WrittenTwice,
    /// The last ones first, and one by one.
    Scattered,
}

/// How much time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Jump {
    /// Until the next job is due or the next lease has run out.
    Next,
    Minutes(i64),
}

/// A history of this length.
pub(super) fn history(random: &mut StdRng, length: usize) -> Vec<Operation> {
    (0..length).map(|_| operation(random)).collect()
}

pub(super) fn operation(random: &mut StdRng) -> Operation {
    let worker = random.random_range(0..WORKERS);
    let pick = random.random_range(0..1_000);
    let step = random.random_range(0..STEPS);
    match random.random_range(0..106) {
        0..8 => Operation::Enqueue { calls: random.random_range(1..4) },
        8..10 => Operation::EnqueueAgain { pick },
        10..28 => Operation::Claim { worker },
        28..30 => Operation::LoseClaim { worker },
        30..45 => Operation::End { worker, pick, how: how(random) },
        45..52 => Operation::EndAll { worker, how: how(random) },
        52..67 => Operation::Write { worker, fate: fate(random) },
        67..71 => Operation::Renew { worker },
        71..79 => Operation::Sweep { late: random.random_ratio(1, 8) },
        79..89 => Operation::Clock(jump(random)),
        89..92 => Operation::Crash { worker },
        92..96 => Operation::Retry { pick },
        96 => Operation::RetryFailed { step },
        97..99 => Operation::Cancel { pick },
        99..102 => Operation::Rerun { pick },
        102 => Operation::Prioritize { pick, priority: random.random_range(-1..2) },
        103 => Operation::Pause { step },
        104 => Operation::Resume { step },
        _ => Operation::Limit { step, slots: random.random_bool(0.7).then(|| random.random_range(1..6)) },
    }
}

pub(super) fn how(random: &mut StdRng) -> How {
    match random.random_range(0..20) {
        0..8 => How::Finish { next: random.random_range(0..4) },
        8..11 => How::Retry,
        11 => How::Panic,
        12 => How::Refuse,
        13..15 => How::RetryAfter,
        15..18 => How::Wait,
        _ => How::GiveBack,
    }
}

fn fate(random: &mut StdRng) -> Fate {
    match random.random_range(0..6) {
        0..4 => Fate::Written,
        4 => Fate::WrittenTwice,
        _ => Fate::Scattered,
    }
}

fn jump(random: &mut StdRng) -> Jump {
    match random.random_range(0..8) {
        0..5 => Jump::Next,
        5 => Jump::Minutes(random.random_range(1..20)),
        6 => Jump::Minutes(60),
        _ => Jump::Minutes(60 * 24 * random.random_range(1..9)),
    }
}

/// The step that follows, if any.
pub(super) fn after(step: usize) -> Option<usize> {
    (step + 1 < STEPS).then_some(step + 1)
}
