//! Stories through the front door, one file each, on real PostgreSQL.

mod api;
mod audio;
mod commands;
mod dev;
mod layers;
mod long_recording;
mod outage;
mod pipeline;
mod postgres;
mod queue;
mod support;
mod takeover;
mod upstreams;
mod webhook;
