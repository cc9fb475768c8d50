//! THE list of scenarios. Adding one: a new file here, and one line in [`SCENARIOS`].

mod t00_calm;
mod t01_kills;
mod t02_outage;
mod t03_frozen;
mod t04_lost_answers;
mod t05_provider_down;
mod t06_bad_steps;
mod t07_deaf;
mod t08_locks;
mod t09_long_step;
mod t10_full_disk;
mod t11_clocks;
mod t12_restarts;
mod t13_slow_clients;
mod t14_operators;
mod t15_everything;

use std::pin::Pin;

use crate::ground::Ground;
use crate::report::Report;

type Played<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Report>> + 'a>>;

/// One scenario.
pub struct Scenario {
    /// Its line begins with this.
    pub name: &'static str,
    /// What happens, in half a sentence.
    pub about: &'static str,
    /// Part of the short form.
    pub short: bool,
    pub run: for<'a> fn(&'a Ground) -> Played<'a>,
}

/// Every scenario, in the order in which they are played.
pub static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "T0",
        about: "duplicates and bodies out of order on a calm day",
        short: true,
        run: |ground| Box::pin(t00_calm::run(ground)),
    },
    Scenario {
        name: "T1",
        about: "workers, server and database are killed again and again",
        short: true,
        run: |ground| Box::pin(t01_kills::run(ground)),
    },
    Scenario {
        name: "T2",
        about: "PostgreSQL is stopped for 30 seconds",
        short: false,
        run: |ground| Box::pin(t02_outage::run(ground)),
    },
    Scenario {
        name: "T3",
        about: "all workers but one are frozen in the middle of a step",
        short: true,
        run: |ground| Box::pin(t03_frozen::run(ground)),
    },
    Scenario {
        name: "T4",
        about: "upstreams do what they are asked and nobody hears of it",
        short: false,
        run: |ground| Box::pin(t04_lost_answers::run(ground)),
    },
    Scenario {
        name: "T5",
        about: "a provider limits its callers, then fails for everybody, while 300 calls wait",
        short: false,
        run: |ground| Box::pin(t05_provider_down::run(ground)),
    },
    Scenario {
        name: "T6",
        about: "steps that abort their process, never return, burn a thread, or panic",
        short: true,
        run: |ground| Box::pin(t06_bad_steps::run(ground)),
    },
    Scenario {
        name: "T7",
        about: "the connections that listen for notices go into a black hole",
        short: false,
        run: |ground| Box::pin(t07_deaf::run(ground)),
    },
    Scenario {
        name: "T8",
        about: "thirty sessions hold locks, and a deadlock",
        short: false,
        run: |ground| Box::pin(t08_locks::run(ground)),
    },
    Scenario {
        name: "T9",
        about: "a step longer than its lease, without the database in its middle",
        short: false,
        run: |ground| Box::pin(t09_long_step::run(ground)),
    },
    Scenario {
        name: "T10",
        about: "the recordings' file system is full",
        short: false,
        run: |ground| Box::pin(t10_full_disk::run(ground)),
    },
    Scenario {
        name: "T11",
        about: "workers whose clocks are a day wrong",
        short: false,
        run: |ground| Box::pin(t11_clocks::run(ground)),
    },
    Scenario {
        name: "T12",
        about: "twenty graceful restarts of server and workers",
        short: false,
        run: |ground| Box::pin(t12_restarts::run(ground)),
    },
    Scenario {
        name: "T13",
        about: "slow clients, bad signatures and large bodies",
        short: false,
        run: |ground| Box::pin(t13_slow_clients::run(ground)),
    },
    Scenario {
        name: "T14",
        about: "two operators retry everything at once",
        short: false,
        run: |ground| Box::pin(t14_operators::run(ground)),
    },
    Scenario {
        name: "T15",
        about: "everything at once",
        short: false,
        run: |ground| Box::pin(t15_everything::run(ground)),
    },
];
