//! What the stories share.

mod database;
pub mod failures;
mod front_door;
mod gate;
mod prices;
mod process;
mod product;
mod scripted;

pub use database::Database;
pub use front_door::{FrontDoor, answer, fixture, read, sign};
pub use gate::{Gate, GatedUpstream};
pub use prices::{PRICES, charged, price_list};
pub use process::Process;
pub use product::{Product, SECRET, body};
pub use scripted::{Answer, ScriptedUpstream};
