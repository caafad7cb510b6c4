//! What an agent holds of a large project: a made-up one, whose units cost a compiler next to nothing.

use std::path::Path;

use crate::account;
use crate::client::Client;
use crate::measure::{Compile, compile};
use crate::report::milliseconds;

const HEADERS: usize = 5000;
/// Units unless another number is given.
pub const UNITS: usize = 5000;
/// Headers a unit includes, at least and less than.
const INCLUDES: std::ops::Range<usize> = 50..600;
/// Megabytes an agent may hold at most with [`UNITS`] units.
const MOST: f64 = 300.0;
/// Units between two lines of progress.
const REPORTED: usize = 500;

/// Compiles a project of so many units once and prints what the agent then holds.
pub fn run(client: &Client<'_>, units: usize) -> Result<(), String> {
    let root = client.world().at("large");
    for directory in ["include", "src", "objects"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    for header in 0..HEADERS {
        let text = format!("#pragma once\nstruct s{header};\n");
        std::fs::write(root.join(format!("include/h{header}.h")), text).unwrap();
    }
    let compiles: Vec<_> = (0..units).map(|unit| write_unit(&root, unit)).collect();
    println!("\n{HEADERS} headers, {units} units that include {INCLUDES:?} of them, each compiled once:");
    let mut most = 0.0;
    for (turn, batch) in compiles.chunks(REPORTED).enumerate() {
        let cost = compile(client, batch)?;
        let held = |field| -> Result<f64, String> {
            let pid = client.daemon().ok_or("no daemon")?;
            Ok(account::memory(pid, field)? as f64 / 1e6)
        };
        most = held("VmHWM")?;
        println!(
            "{:5} units: agent {:.0} MB, at most {most:.0} MB; CPU {:.2} ms a unit",
            turn * REPORTED + batch.len(),
            held("VmRSS")?,
            milliseconds(cost.cpu()) / cost.units as f64
        );
    }
    if most > MOST {
        return Err(format!(
            "the agent held {most:.0} MB, {MOST:.0} MB are the most it may"
        ));
    }
    Ok(())
}

/// A unit that includes neighbouring headers: how many, and from which one on, differs from unit to unit.
fn write_unit(root: &Path, unit: usize) -> Compile {
    // Strides without a common divisor with what they go around in.
    let count = INCLUDES.start + unit * 7919 % INCLUDES.len();
    let first = unit * 4127 % HEADERS;
    let headers = (first..first + count).map(|header| format!("#include \"h{}.h\"\n", header % HEADERS));
    let source = root.join(format!("src/u{unit}.c"));
    std::fs::write(&source, headers.collect::<String>() + &format!("int u{unit};\n")).unwrap();
    let include = format!("-I{}", root.join("include").display());
    let words = ["gcc", "-O0", &include, source.to_str().unwrap()];
    Compile {
        words: words.map(str::to_owned).into(),
        object: root.join(format!("objects/u{unit}.o")),
        source,
    }
}
