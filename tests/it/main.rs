//! Stories through the front door, one file each, on real PostgreSQL.

mod postgres;
mod support;
