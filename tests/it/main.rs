//! Stories through the front door, one file each, on real PostgreSQL.

mod layers;
mod postgres;
mod queue;
mod support;
