//! Clients of the upstreams that the steps ask. Each maps what the upstream does to [`crate::model::Fault`], bounds
//! every request in time and size, and gives back the upstream's request id.

pub mod language_model;
pub mod recordings;
pub mod speech;
