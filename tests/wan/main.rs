//! Long links in virtual time: the product's endpoints, tuning and congestion control over a simulated network. What a
//! link costs is asserted in round trips and bytes; no clock of this machine is involved, so the numbers repeat.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

mod bulk;
mod faults;
mod jobs;
mod net;
mod reconnect;
mod world;
