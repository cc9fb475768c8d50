//! Stories through the front door, one file each, on real PostgreSQL.

mod analysis;
mod api;
mod audio;
mod commands;
mod costs;
mod dev;
mod faults;
mod layers;
mod long_recording;
mod operators;
mod outage;
mod pipeline;
mod postgres;
mod providers;
mod queue;
mod support;
mod takeover;
mod upstreams;
mod webhook;
mod webhook_groups;
