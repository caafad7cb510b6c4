//! What a whole compile through the embedded farm costs beside the plain one: overhead in wall time, and CPU time
//! of wrapper and farm. On one machine, so the numbers hold everything but the link.
//!
//! The two alternate, so that what else the machine does falls on both. Fails when a unit was compiled here or
//! its bytes differ: then the numbers would mean nothing.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark prints, and ends when its ground is missing"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};
use serde_json::Value;

use support::{QUICC, World};

/// Pairs of compiles of one unit, plain and through quicc.
const PAIRS: usize = 25;
/// The same when the benchmark is only tried, by `cargo test --benches`.
const PAIRS_WHEN_TRIED: usize = 1;
/// Compiles before the first that counts: the toolchain, the mirror and the trial of the compiler.
const WARM_UPS: usize = 3;

/// A compiler and the source it compiles.
struct Unit {
    compiler: &'static str,
    source: &'static str,
    text: &'static str,
}

const UNITS: [Unit; 2] = [
    Unit {
        compiler: "gcc",
        source: "small.c",
        text: "#include <stdio.h>\n#include <string.h>\n\
               int f(const char *text) { puts(text); return (int)strlen(text); }\n",
    },
    Unit {
        compiler: "g++",
        source: "containers.cc",
        text: "#include <map>\n#include <string>\n#include <vector>\n\
               int f(const std::string &text) {\n\
               std::map<std::string, std::vector<int>> map; map[text].push_back(1); return (int)map.size(); }\n",
    },
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let is_measured = arguments.iter().any(|argument| argument == "--bench");
    let pairs = if is_measured { PAIRS } else { PAIRS_WHEN_TRIED };
    match measure_all(pairs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn measure_all(pairs: usize) -> Result<(), String> {
    let world = World::new();
    let started = world.quicc(&["agent", "start"]);
    if !started.status.success() {
        return Err(format!("no agent: {}", world.explain(&started)));
    }
    for unit in &UNITS {
        world.write(unit.source, unit.text);
        let measured = measure(&world, unit, pairs)?;
        print(unit, &measured);
    }
    Ok(())
}

/// What one compile took.
#[derive(Debug, Clone, Copy)]
struct Cost {
    wall: Duration,
    /// User and system time of the process started and of those it waited for.
    cpu: Duration,
}

/// What all compiles of one unit took.
struct Measured {
    plain: Vec<Cost>,
    wrapped: Vec<Cost>,
    /// CPU time of agent, scheduler, builder and sandboxes for the wrapped ones.
    farm: Duration,
}

fn measure(world: &World, unit: &Unit, pairs: usize) -> Result<Measured, String> {
    for _ in 0..WARM_UPS {
        compile(world, unit, true)?;
    }
    let before = status(world)?;
    let farm_before = cpu_of_process(&before)?;
    let (mut plain, mut wrapped) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        // Whoever comes second finds the files in the caches of the processor.
        for is_wrapped in [pair % 2 == 0, pair % 2 != 0] {
            let costs = if is_wrapped { &mut wrapped } else { &mut plain };
            costs.push(compile(world, unit, is_wrapped)?);
        }
    }
    let after = status(world)?;
    require_remote(unit, &before, &after, pairs)?;
    if world.read("plain.o") != world.read("wrapped.o") {
        return Err(format!("{}: the farm's object differs", unit.source));
    }
    Ok(Measured {
        plain,
        wrapped,
        farm: cpu_of_process(&after)?.saturating_sub(farm_before),
    })
}

fn compile(world: &World, unit: &Unit, is_wrapped: bool) -> Result<Cost, String> {
    let (mut command, object) = if is_wrapped {
        let mut command = world.command(QUICC);
        command.arg(unit.compiler);
        (command, "wrapped.o")
    } else {
        (world.command(unit.compiler), "plain.o")
    };
    command.args(["-O2", "-c", unit.source, "-o", object]);
    let cpu_before = cpu_of_children();
    let start = Instant::now();
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let cost = Cost {
        wall: start.elapsed(),
        cpu: cpu_of_children().saturating_sub(cpu_before),
    };
    if !output.status.success() {
        return Err(format!("{command:?}: {}", world.explain(&output)));
    }
    Ok(cost)
}

fn status(world: &World) -> Result<Value, String> {
    let output = world.quicc(&["agent", "status"]);
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("no status of the agent: {error}: {}", world.explain(&output)))
}

/// Every wrapped compile between the two went to a builder.
fn require_remote(unit: &Unit, before: &Value, after: &Value, pairs: usize) -> Result<(), String> {
    let remote = |status: &Value| status["remote"].as_u64().unwrap_or(0);
    let went = remote(after).saturating_sub(remote(before));
    if went == pairs as u64 {
        return Ok(());
    }
    Err(format!(
        "{}: {went} of {pairs} units were compiled on the farm; the agent says: {after:#}",
        unit.source
    ))
}

/// User and system time of all processes this one started and waited for.
fn cpu_of_children() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(microseconds.unsigned_abs())
}

/// User and system time of the agent and of the processes it waited for: `utime`, `stime`, `cutime` and `cstime`
/// of proc_pid_stat(5), fields 14 to 17.
fn cpu_of_process(status: &Value) -> Result<Duration, String> {
    let path = format!("/proc/{}/stat", status["pid"]);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    // The second field is a name in parentheses that may hold anything.
    let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    Ok(Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64))
}

fn print(unit: &Unit, measured: &Measured) {
    let wall = |costs: &[Cost]| costs.iter().map(|cost| milliseconds(cost.wall)).collect();
    let cpu = |costs: &[Cost]| mean(costs.iter().map(|cost| milliseconds(cost.cpu)));
    let pairs = measured.wrapped.len();
    let overheads = measured
        .wrapped
        .iter()
        .zip(&measured.plain)
        .map(|(wrapped, plain)| milliseconds(wrapped.wall) - milliseconds(plain.wall))
        .collect();
    let [low, overhead, high] = quartiles(overheads);
    let [_, plain, _] = quartiles(wall(&measured.plain));
    let [_, wrapped, _] = quartiles(wall(&measured.wrapped));
    println!("{} {}, {pairs} pairs", unit.compiler, unit.source);
    println!("  wall, median:     plain {plain:.1} ms, quicc {wrapped:.1} ms");
    println!("  overhead a unit:  {overhead:+.1} ms (quartiles {low:+.1} to {high:+.1})");
    println!(
        "  CPU, mean a unit: plain {:.1} ms, wrapper {:.1} ms, agent and builder with the compiler {:.1} ms",
        cpu(&measured.plain),
        cpu(&measured.wrapped),
        milliseconds(measured.farm) / pairs as f64
    );
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

/// Lower quartile, median and upper quartile.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| {
        let index = values.len().saturating_sub(1) * quarter / 4;
        values.get(index).copied().unwrap_or(0.0)
    })
}
