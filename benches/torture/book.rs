//! Which faults were injected when: what the checker holds against every outcome that nobody knows.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use goto_automation::model::clock;

/// What was done to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`, or SIGSTOP for longer than a lease.
    Process(i32),
    /// PostgreSQL, or the way to it, was away.
    Database,
}

/// One fault.
#[derive(Debug, Clone, Copy)]
pub struct Injected {
    pub fault: Fault,
    pub from: DateTime<Utc>,
    pub until: DateTime<Utc>,
}

/// All faults of a scenario so far.
#[derive(Debug, Default)]
pub struct Book(Mutex<Vec<Injected>>);

impl Book {
    /// Something that struck just now, in a moment.
    pub fn note(&self, fault: Fault) {
        self.note_since(fault, clock::now());
    }

    /// Something that has lasted from then until now.
    pub fn note_since(&self, fault: Fault, from: DateTime<Utc>) {
        let injected = Injected { fault, from, until: clock::now() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(injected);
    }

    /// Something that struck at that moment.
    pub fn note_at(&self, fault: Fault, at: DateTime<Utc>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Injected { fault, from: at, until: at });
    }

    pub fn all(&self) -> Vec<Injected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
