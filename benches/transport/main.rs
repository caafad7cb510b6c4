//! What the transport carries and what that costs: over loopback beside plain TCP with TLS 1.3, in real time; over long
//! links in virtual time, beside quinn's own Cubic.
//!
//! `cargo bench --bench transport` prints all tables within three minutes; `-- --loopback` or `-- --simulated` one half.
//! Real time is that of a machine that does other things too: what is compared takes turns, and the median counts.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark prints, and ends when its ground is missing"
)]

#[path = "../client/account.rs"]
#[allow(dead_code, reason = "memory and children are not measured")]
mod account;
#[path = "../../tests/wan/net.rs"]
#[allow(dead_code, reason = "nothing breaks")]
mod net;
#[path = "../../tests/wan/world.rs"]
#[allow(dead_code, reason = "nobody restarts")]
mod world;

mod ends;
mod figures;
mod handshakes;
mod jobs;
mod lines;
mod simulated;
mod throughput;

use std::process::ExitCode;

const USAGE: &str = "cargo bench --bench transport -- [--loopback] [--simulated]; without any: both";

fn main() -> ExitCode {
    let mut halves = Vec::new();
    let mut is_idle = true;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // What is not run by `cargo bench` measures nothing.
            "--bench" => is_idle = false,
            "--loopback" => halves.push(loopback as fn()),
            "--simulated" => halves.push(simulated::run as fn()),
            "--list" => return ExitCode::SUCCESS,
            other => {
                eprintln!("what is {other}?\n{USAGE}");
                return ExitCode::FAILURE;
            }
        }
    }
    if is_idle {
        return ExitCode::SUCCESS;
    }
    if halves.is_empty() {
        halves = vec![loopback, simulated::run];
    }
    for half in halves {
        half();
    }
    ExitCode::SUCCESS
}

/// Real sockets, both ends in this process.
fn loopback() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        throughput::run().await;
        jobs::run().await;
        handshakes::run().await;
    });
}
