//! `goto-automation` turns finished GoTo Connect calls into transcripts, summaries and messages, durably.
//!
//! The modules in the order in which a call travels:
//!
//! | module | room |
//! |---|---|
//! | [`http`] | the doors: signed webhooks come in, people and integrators read |
//! | [`pipeline`] | THE list of steps: download, transcribe, analyze, notify |
//! | [`providers`] | clients of the upstreams that the steps ask: recordings, speech, language model |
//! | [`channels`] | THE list of ways in which a summary reaches people: Slack, e-mail |
//! | [`queue`] | durable jobs in PostgreSQL under apalis workers: claim, lease, complete, rescue |
//! | [`store`] | all other SQL: one file per table, one function per query |
//! | [`model`] | plain data that the rooms hand to one another, no I/O |
//! | [`config`] | settings, read once at start |
//! | [`app`] | composition root: the only place where real clients are built |
//! | [`dev`] | embedded PostgreSQL and the stand-ins of `goto-automation dev` |
//! | [`cli`] | one file per command |
//!
//! Import rule, held by `tests/it/layers.rs`:
//! `main -> cli -> dev -> app -> {http} -> pipeline -> {channels, providers, queue, store} -> {model, config}`.
//! The four adapters never import one another, and `queue` does not know the steps.

// What unit tests share with the stories names the crate as these do.
#[cfg(test)]
extern crate self as goto_automation;

pub mod app;
pub mod channels;
pub mod cli;
pub mod config;
pub mod dev;
pub mod http;
pub mod model;
pub mod pipeline;
pub mod providers;
pub mod queue;
pub mod shutdown;
pub mod store;
pub mod telemetry;
