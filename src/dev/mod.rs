//! `goto-automation dev`: an embedded PostgreSQL, the product, and stand-ins for what has no settings, in one process.

mod door;
pub mod gate;
pub mod postgres;
pub mod process;
pub mod running;
pub mod standins;
mod state;
