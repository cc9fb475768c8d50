//! What the stories share.

mod browser;
mod database;
pub mod failures;
mod front_door;
mod prices;
mod process;
mod product;
mod scripted;

pub use goto_automation::dev::gate::{Gate, GatedUpstream};

pub use browser::Browser;
pub use database::Database;
pub use front_door::{FrontDoor, answer, fixture, read, sign};
pub use prices::{PRICES, charged, price_list};
pub use process::Process;
pub use product::{Product, SECRET, body};
pub use scripted::{Answer, ScriptedUpstream};
