//! Stories through the front door, one file each, on real PostgreSQL.

mod analysis;
mod api;
mod audio;
mod commands;
mod costs;
mod dev;
mod doors;
mod failures;
mod faults;
mod layers;
mod long_recording;
mod operator_commands;
mod operators;
mod outage;
mod pipeline;
mod postgres;
mod providers;
mod queue;
mod restarts;
mod support;
mod takeover;
mod upstreams;
mod webhook;
mod webhook_groups;
