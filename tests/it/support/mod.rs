//! What the stories share.

mod database;

pub use database::Database;
