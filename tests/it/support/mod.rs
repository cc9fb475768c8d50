//! What the stories share.

mod database;
mod product;

pub use database::Database;
pub use product::Product;
