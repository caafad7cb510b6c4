//! Real processes, real compilers, real QUIC: what a user sees.

#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

#[path = "../support/mod.rs"]
mod support;

mod builds;
mod bytes;
mod chains;
mod changes;
mod diagnostics;
mod explain;
mod farm;
mod faults;
mod flags;
mod isolation;
mod limits;
mod local;
mod locales;
mod moves;
mod native;
mod peers;
mod places;
mod reconnect;
mod terminals;
mod traps;
mod units;
mod versions;
