//! What the stories share.

mod database;
mod gate;
mod process;
mod product;

pub use database::Database;
pub use gate::{Gate, GatedUpstream};
pub use process::Process;
pub use product::Product;
