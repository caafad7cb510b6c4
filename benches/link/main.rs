//! stub
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark starts real processes, prints, and ends when its ground is missing"
)]

#[path = "../client/account.rs"]
#[allow(dead_code, reason = "memory is not measured")]
mod account;
#[path = "../client/client.rs"]
#[allow(dead_code, reason = "shared")]
mod client;
#[path = "../client/measure.rs"]
#[allow(dead_code, reason = "shared")]
mod measure;
#[path = "../../tests/support/mod.rs"]
mod support;

mod cage;
mod check;
mod farm;
mod latency;
mod queue;
mod side;
mod sleeper;
mod wire;

use queue::{Conditions, MBIT};
use std::process::ExitCode;
use std::time::Duration;
use wire::Wire;

fn main() -> ExitCode {
    let outcome = if cage::is_inside() {
        inside().map(|()| ExitCode::SUCCESS)
    } else {
        cage::run_inside()
    };
    outcome.unwrap_or_else(|problem| {
        eprintln!("{problem}");
        ExitCode::FAILURE
    })
}

fn inside() -> Result<(), String> {
    cage::furnish()?;
    let wire = Wire::lay(Conditions::new(100 * MBIT, Duration::ZERO), 1)?;
    wire.client.enter();
    let asked: Vec<_> = std::env::args().collect();
    if asked.iter().any(|x| x == "--check") {
        check::run(&wire)?;
    }
    latency::run(&wire, asked.iter().any(|x| x == "--trace"))
}
