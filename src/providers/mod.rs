//! Clients of the upstreams that the steps ask. Each maps what the upstream does to [`crate::model::Fault`], bounds
//! every request in time and size, and gives back the upstream's request id.

pub mod http_client;
pub mod language_model;
#[cfg(test)]
mod loopback;
mod openai_errors;
mod openai_server;
pub mod recordings;
pub mod speech;
