//! What a unit costs the client's machine: CPU time of wrapper and agent, bytes, and on request the agent's memory,
//! with a farm on loopback that has seen the compilers before.
//!
//! Scheduler and builder are processes of their own and not counted. `cargo bench --bench client -- --peers
//! distcc,pump` measures others with the same units; `-- --wrapper PATH` a wrapper that was linked otherwise; `--
//! --memory`, or `-- --memory=UNITS`, the memory instead. Fails when a unit was compiled here: then the numbers would
//! mean nothing.

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

#[path = "../../tests/foreign/packages.rs"]
mod packages;
#[path = "../../tests/foreign/sample.rs"]
#[allow(dead_code, reason = "the sample is not compiled")]
mod sample;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../../tests/foreign/unit.rs"]
#[allow(dead_code, reason = "not run by a shell")]
mod unit;

mod account;
mod build;
#[allow(dead_code, reason = "shared with the link bench")]
mod client;
mod measure;
mod memory;
mod peers;
mod report;
mod scenarios;
mod sources;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use client::Client;
use measure::{AT_ONCE, Compile, compile, run_all, succeed};
use peers::{DistccClient, Distccd, Peer, Setting};
use quicc::transport::frame;
use report::{Table, milliseconds};
use scenarios::Rounds;
use sources::Sources;
use support::{FarmFiles, World};

/// Rounds of quicc. A peer does the same again and again, whatever changed: one is enough.
const ROUNDS: Rounds = Rounds {
    light: 20,
    heavy: 1,
    cut: 50,
};
const ROUNDS_OF_PEER: Rounds = Rounds {
    light: 3,
    heavy: 1,
    cut: 0,
};
/// How long nothing is asked of the agent while its upkeep is measured.
const UPKEEP: Duration = Duration::from_secs(10);
/// Processes started to know what starting one costs.
const STARTS: usize = 400;

/// What is asked for.
#[derive(Debug, Default)]
struct Options {
    is_measured: bool,
    is_listed: bool,
    /// Units of the project by which memory is measured, in place of all else.
    memory: Option<usize>,
    /// The wrapper, if not that of this build.
    wrapper: Option<PathBuf>,
    peers: Vec<Peer>,
}

impl Options {
    fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => options.is_measured = true,
                "--list" => options.is_listed = true,
                "--memory" => options.memory = Some(memory::UNITS),
                other if other.starts_with("--memory=") => {
                    let number = other.trim_start_matches("--memory=").parse();
                    options.memory = Some(number.map_err(|_| format!("{other}: no number"))?);
                }
                "--wrapper" => options.wrapper = Some(arguments.next().ok_or("--wrapper PATH")?.into()),
                "--peers" => {
                    let list = arguments.next().ok_or("--peers LIST: distcc,pump")?;
                    options.peers = Peer::parse(&list)?;
                }
                // What cargo passes to every benchmark is no concern of this one.
                _ => {}
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let options = Options::parse(std::env::args().skip(1));
    match options.and_then(|options| measure(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), String> {
    if options.is_listed {
        return Ok(());
    }
    let farm = FarmFiles::new();
    let _scheduler = farm.start("scheduler");
    let _builder = farm.start("builder");
    let world = World::new();
    farm.join(&world);
    let mut quicc = Client::quicc(&world)?;
    if let Some(wrapper) = &options.wrapper {
        quicc = quicc.with_wrapper(wrapper)?;
    }
    let tiny = tiny(&world);
    compile(&quicc, &tiny)?;
    println!(
        "a new agent and its first unit with each of gcc and g++: {:.1} ms of CPU in the agent",
        milliseconds(quicc.daemon_cpu()?)
    );
    if let Some(units) = options.memory {
        return memory::run(&quicc, units);
    }
    if !options.is_measured {
        return Ok(());
    }
    measure_start(&world)?;
    let sources = Sources::copy(&world);
    let upkeep = scenarios::upkeep(&quicc, UPKEEP)?;
    println!("the agent's upkeep: {:.2} ms of CPU a second", upkeep * 1e3);
    measure_make(&world, &sources)?;
    println!(
        "the sources that are edited, as they are sent: C {:.1} kB, C++ {:.1} kB",
        packed(&sources.light),
        packed(&sources.heavy)
    );
    println!("{AT_ONCE} units at once; C at -O2, C++ at -O0; cut: the same inputs, and nothing to compile");
    let mut table = Table::new(upkeep);
    scenarios::run_first(&quicc, &sources, &mut table)?;
    scenarios::run(&quicc, &sources, ROUNDS, &mut table)?;
    scenarios::run_cut(&quicc, &sources, ROUNDS, &mut table)?;
    if options.peers.is_empty() {
        return Ok(());
    }
    let distccd = Distccd::start(&world, Setting::local());
    for peer in &options.peers {
        let started = DistccClient::start(&world, *peer, &distccd)?;
        scenarios::run(&started.client(), &sources, ROUNDS_OF_PEER, &mut table)?;
    }
    table.print_ratios();
    Ok(())
}

/// One unit for each compiler, which includes nothing.
fn tiny(world: &World) -> [Compile; 2] {
    [("gcc", "tiny.c"), ("g++", "tiny.cc")].map(|(compiler, name)| {
        world.write(name, "int tiny;\n");
        Compile {
            words: vec![compiler.to_owned(), name.to_owned()],
            source: world.at(name),
            object: world.at(&format!("{name}.o")),
        }
    })
}

/// Kilobytes of a source, compressed, on average.
fn packed(compiles: &[Compile]) -> f64 {
    let sizes = compiles.iter().map(|compile| {
        let text = std::fs::read(&compile.source).unwrap();
        frame::pack(&text).0.wire_size
    });
    sizes.sum::<u64>() as f64 / compiles.len() as f64 / 1e3
}

fn measure_start(world: &World) -> Result<(), String> {
    let before = account::of_children();
    run_all(STARTS, &|_| world.command("/bin/true"))?;
    let spent = account::of_children().saturating_sub(before);
    println!("/bin/true: {:.2} ms of CPU", milliseconds(spent) / STARTS as f64);
    Ok(())
}

fn measure_make(world: &World, sources: &Sources) -> Result<(), String> {
    let before = account::of_children();
    succeed(build::nothing(world, &sources.library))?;
    let spent = account::of_children().saturating_sub(before);
    println!(
        "make with /bin/true for each unit of the C library: {:.2} ms of CPU a unit",
        milliseconds(spent) / sources.library.len() as f64
    );
    Ok(())
}
