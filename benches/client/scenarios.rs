//! What is measured of each client, in this order: a first build leaves all that the rest needs.

use std::time::Duration;

use crate::build;
use crate::client::Client;
use crate::measure::{Compile, Cost, compile, compile_again, compile_edited};
use crate::report::Table;
use crate::sources::Sources;

/// How often each set of units is compiled.
#[derive(Debug, Clone, Copy)]
pub struct Rounds {
    pub light: usize,
    pub heavy: usize,
}

/// Measures all, and prints each row as it is there.
pub fn run(client: &Client<'_>, sources: &Sources, rounds: Rounds, table: &mut Table) -> Result<(), String> {
    let mut add = |name: &'static str, cost: Cost| table.add(client.name(), name, cost);
    add("C, first build, make", build::build(client, &sources.library)?);
    add("C++, first build, make", build::build(client, &sources.built)?);
    let light = &sources.light;
    // What the builds left is looked at once more before it is proven unchanged.
    compile(client, light)?;
    add("C, unchanged", compile_again(client, light, rounds.light)?);
    add("C, edited", compile_edited(client, light, rounds.light)?);
    let light = with_debug_information(light);
    compile(client, &light)?;
    add("C -g, unchanged", compile_again(client, &light, rounds.light)?);
    let heavy = &sources.heavy;
    compile(client, heavy)?;
    add("C++, unchanged", compile_again(client, heavy, rounds.heavy)?);
    add("C++, edited", compile_edited(client, heavy, rounds.heavy)?);
    add("C++, first sight", compile(client, &sources.sights)?);
    let heavy = with_debug_information(heavy);
    compile(client, &heavy)?;
    add("C++ -g, unchanged", compile_again(client, &heavy, rounds.heavy)?);
    Ok(())
}

fn with_debug_information(compiles: &[Compile]) -> Vec<Compile> {
    compiles.iter().map(|compile| compile.with(&["-g"])).collect()
}

/// The daemon's CPU time while nobody asks anything of it, for each second.
pub fn upkeep(client: &Client<'_>, length: Duration) -> Result<f64, String> {
    let before = client.daemon_cpu()?;
    std::thread::sleep(length);
    let spent = client.daemon_cpu()?.saturating_sub(before);
    Ok(spent.as_secs_f64() / length.as_secs_f64())
}
