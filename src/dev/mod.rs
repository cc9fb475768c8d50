//! Embedded PostgreSQL and the stand-ins of `goto-automation dev`.

pub mod postgres;
pub mod standins;
