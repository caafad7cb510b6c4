//! Sources no one here wrote, compiled both ways: every object, dep file and message equal, nearly all units remote.
//!
//! By default a fixed sample; `tests/foreign/all` runs every unit, or whatever else it is given.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

#[path = "../support/mod.rs"]
mod support;

mod both_ways;
mod corpus;
mod packages;
mod sample;
mod unit;

/// Share of the units that compile which must be compiled on builders.
const REMOTE_SHARE: f64 = 0.95;
/// Share of the units, of those that neither their command line nor their text keeps here, that must be remote.
const REMOTE_SHARE_OF_ALL: f64 = 0.98;
/// Share of the units of the sample that compile at all.
const COMPILING_SHARE: f64 = 0.9;

#[test]
fn foreign_sources_compile_alike() {
    let all = std::env::var_os("QUICC_FOREIGN").is_some_and(|value| value == "all");
    let units = if all { corpus::units() } else { sample::units() };
    let jobs = corpus::option("JOBS", std::thread::available_parallelism().unwrap().get());
    let report = both_ways::compile(&units, jobs);
    println!("{report}");
    assert!(report.is_alike(), "units differ");
    assert!(
        report.remote_share() >= REMOTE_SHARE_OF_ALL,
        "too few of those that could be are remote"
    );
    if !all {
        let share = |part: u64, whole: u64| part as f64 / whole as f64;
        assert!(
            share(report.compiling, report.total) >= COMPILING_SHARE,
            "too few compile"
        );
        assert!(
            share(report.remote, report.compiling) >= REMOTE_SHARE,
            "too few are remote"
        );
    }
}
