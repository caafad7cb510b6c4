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
#[path = "../../tests/foreign/packages.rs"]
mod packages;
#[path = "../../tests/foreign/sample.rs"]
#[allow(dead_code, reason = "the sample is not compiled")]
mod sample;
#[path = "../client/sources.rs"]
#[allow(dead_code, reason = "the units are others")]
mod sources;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../../tests/foreign/unit.rs"]
#[allow(dead_code, reason = "not run by a shell")]
mod unit;

mod cage;
mod check;
mod crowd;
mod farm;
mod latency;
mod open_box;
mod queue;
mod side;
mod sleeper;
mod wide;
mod wire;

use queue::{Conditions, MBIT};
use std::process::ExitCode;
use std::time::Duration;
use wire::Wire;

fn main() -> ExitCode {
    if let Some(program) = open_box::program() {
        return match open_box::serve(&program) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                eprintln!("{problem}");
                ExitCode::FAILURE
            }
        };
    }
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
    let shut = if asked.iter().any(|x| x == "--open") {
        farm::Box::Open
    } else {
        farm::Box::Closed
    };
    if asked.iter().any(|x| x == "--wide") {
        return wide::run(&wire, wide::WIDTHS[0], shut);
    }
    if asked.iter().any(|x| x == "--wider") {
        return wide::run(&wire, wide::WIDTHS[1], shut);
    }
    latency::run(&wire, asked.iter().any(|x| x == "--trace"))
}
