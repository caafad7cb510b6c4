//! What is measured, in this order: a first build leaves all that the rest needs.

use std::time::Duration;

use crate::build;
use crate::client::Client;
use crate::measure::{Compile, Cost, compile, compile_again, compile_edited};
use crate::report::Table;
use crate::sources::{CUT, Sources};

/// How often each set of units is compiled.
#[derive(Debug, Clone, Copy)]
pub struct Rounds {
    pub light: usize,
    pub heavy: usize,
    /// C++ units that leave a compiler nothing to do.
    pub cut: usize,
}

/// Measures a first build of many C++ units, before anything of them was seen.
pub fn run_first(client: &Client<'_>, sources: &Sources, table: &mut Table) -> Result<(), String> {
    let cost = build::build(client, &with(&sources.first, CUT))?;
    table.add(client.name(), "C++ cut, first build, make", cost);
    Ok(())
}

/// Measures what every client can be measured by, and prints each row as it is there.
pub fn run(client: &Client<'_>, sources: &Sources, rounds: Rounds, table: &mut Table) -> Result<(), String> {
    let mut add = |name: &'static str, cost: Cost| table.add(client.name(), name, cost);
    add("C, first build, make", build::build(client, &sources.library)?);
    add("C++, build, make", build::build(client, &sources.built)?);
    for (name, units, rounds) in [
        ("C, unchanged", &sources.light, rounds.light),
        ("C -g, unchanged", &with(&sources.light, "-g"), rounds.light),
        ("C++, unchanged", &sources.heavy, rounds.heavy),
        ("C++ -g, unchanged", &with(&sources.heavy, "-g"), rounds.heavy),
    ] {
        if client.daemon().is_some() {
            // What was new is looked at once more before it is proven unchanged.
            compile(client, units)?;
        }
        add(name, compile_again(client, units, rounds)?);
    }
    Ok(())
}

/// Measures what matters to a client that remembers. A compiler has no work with the C++ units: while it works, what
/// the agent does anyway would be more than what it does for them.
pub fn run_cut(
    client: &Client<'_>,
    sources: &Sources,
    rounds: Rounds,
    table: &mut Table,
) -> Result<(), String> {
    let mut add = |name: &'static str, cost: Cost| table.add(client.name(), name, cost);
    let light = &sources.light;
    add("C, edited", compile_edited(client, light, rounds.light)?);
    let heavy = with(&sources.heavy, CUT);
    compile(client, &heavy)?;
    compile(client, &heavy)?;
    add("C++ cut, unchanged", compile_again(client, &heavy, rounds.cut)?);
    add("C++ cut, edited", compile_edited(client, &heavy, rounds.cut)?);
    add(
        "C++ cut, first sight",
        compile(client, &with(&sources.sights, CUT))?,
    );
    Ok(())
}

fn with(compiles: &[Compile], flag: &str) -> Vec<Compile> {
    compiles.iter().map(|compile| compile.with(flag)).collect()
}

/// The daemon's CPU time while nobody asks anything of it, for each second.
pub fn upkeep(client: &Client<'_>, length: Duration) -> Result<f64, String> {
    let before = client.daemon_cpu()?;
    std::thread::sleep(length);
    let spent = client.daemon_cpu()?.saturating_sub(before);
    Ok(spent.as_secs_f64() / length.as_secs_f64())
}
