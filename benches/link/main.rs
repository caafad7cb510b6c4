//! quicc over a link as between a desk and a farm far away: client and farm in two network namespaces, joined by a
//! program that gives delay, rate, loss and a queue to whatever they send, TCP and UDP alike.
//!
//! Run it as root: `cargo bench --bench link -- --help` says what there is. Fails when a unit was compiled here that
//! should not be: then the numbers would mean nothing. Nothing is left of a run, however it ends (`cage`).

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
#[path = "../client/peers.rs"]
#[allow(dead_code, reason = "shared")]
mod peers;
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

mod beside;
mod bulk;
mod cage;
mod census;
mod check;
mod crowd;
mod daemon;
mod distance;
mod farm;
mod first;
mod icecream;
mod kernel_flow;
mod latency;
mod objects;
mod open_box;
mod options;
mod project;
mod queue;
mod rivals;
mod sccache;
mod side;
mod sleeper;
mod slots;
mod units;
mod upload;
mod wide;
mod wire;

use std::process::ExitCode;

use latency::{RATE, ROUND_TRIPS};
use options::{Options, Scenario};
use queue::Conditions;
use wire::Wire;

fn main() -> ExitCode {
    run().unwrap_or_else(|problem| {
        eprintln!("{problem}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode, String> {
    if let Some(program) = open_box::program() {
        return open_box::serve(&program).map(|()| ExitCode::SUCCESS);
    }
    let options = Options::parse(std::env::args().skip(1))?;
    if options.is_idle {
        return Ok(ExitCode::SUCCESS);
    }
    if !cage::is_inside() {
        return cage::run_inside();
    }
    cage::furnish()?;
    measure(&options).map(|()| ExitCode::SUCCESS)
}

fn measure(options: &Options) -> Result<(), String> {
    let wire = Wire::lay(Conditions::new(RATE, ROUND_TRIPS[0]), options.loss, options.seed)?;
    wire.client.enter();
    if options.loss > 0.0 {
        println!(
            "Of the packets each way {} % are lost by chance, seed {}.",
            options.loss * 100.0,
            options.seed
        );
    }
    for scenario in &options.scenarios {
        match scenario {
            Scenario::Check => check::run(&wire)?,
            Scenario::Bulk => bulk::run(&wire)?,
            Scenario::BesideTcp(time) => beside::run(&wire, *time)?,
            Scenario::Latency => latency::run(&wire, &options.peers, options.is_traced)?,
            Scenario::First => first::run(&wire, options.is_traced)?,
            Scenario::Slots => slots::run(&wire)?,
            Scenario::Wide => wide::run(&wire, &options.peers)?,
            Scenario::Project => project::run(&wire, &options.peers)?,
        }
    }
    Ok(())
}
