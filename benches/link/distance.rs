//! What a unit of the foreign project takes longer over a long link than over none: each by itself, again and again, on a
//! warm farm, its headers and its preprocessing real and its compiler of constant time.
//!
//! The real compilers of two busy processors differ by more from one time to the next than a round trip takes.

use std::path::Path;
use std::time::Duration;

use crate::client::Client;
use crate::farm::{Farm, Sandbox};
use crate::latency::{RATE, ROUND_TRIPS, in_round_trips};
use crate::measure::{Compile, edit};
use crate::peers::Setting;
use crate::queue::Conditions;
use crate::rivals::Rival;
use crate::sleeper::{Habit, Sleeper};
use crate::sources::Sources;
use crate::support::World;
use crate::units::{NAP, time, warm};
use crate::wire::Wire;

/// One of so many units of the C library is measured.
const STEP: usize = 3;
/// Times each unit is; the least counts.
const ROUNDS: usize = 3;
/// Jobs of a farm: one and one to spare.
const JOBS: usize = 2;
const HABIT: Habit = Habit {
    name: "project",
    nap: NAP,
    object: 32_000,
};

/// A client's units of a language, and how long each unit took at each round trip time.
struct Row {
    client: &'static str,
    name: &'static str,
    walls: Vec<Vec<Duration>>,
}

/// Prints a line for each client and language.
pub fn run(wire: &Wire, rivals: &[Rival]) -> Result<(), String> {
    let mut rows: Vec<Row> = Vec::new();
    for round_trip in ROUND_TRIPS {
        wire.set(Conditions::new(RATE, round_trip));
        let world = World::new();
        let sleeper = Sleeper::make(&world, HABIT)?;
        let sources = Sources::copy(&world);
        let library: Vec<_> = sources.library.iter().step_by(STEP).cloned().collect();
        measure_quicc(wire, &world, &sleeper, [&library, &sources.built], &mut rows)?;
        let setting = Setting {
            address: wire.farm.address,
            jobs: JOBS,
            compilers: sleeper.gcc.parent().map(Path::to_owned),
        };
        for rival in rivals {
            let started = rival.start(wire, &world, &setting)?;
            let client = started.client();
            for (compiles, name) in [(&library, "C"), (&sources.built, "C++")] {
                let compiles =
                    with_compiler(compiles, |is_cxx| if is_cxx { "g++" } else { "gcc" }.to_owned());
                warm(&client, &compiles[0])?;
                measure(&client, name, &compiles, false, &mut rows)?;
            }
        }
    }
    print(&rows);
    Ok(())
}

fn measure_quicc(
    wire: &Wire,
    world: &World,
    sleeper: &Sleeper,
    [library, built]: [&[Compile]; 2],
    rows: &mut Vec<Row>,
) -> Result<(), String> {
    let farm = Farm::start(wire, &format!("slots = {JOBS}\n"), Sandbox::Whole)?;
    farm.files.join(world);
    let client = Client::quicc(world)?;
    for (compiles, unchanged, edited) in [
        (library, "C, unchanged", "C, source edited"),
        (built, "C++, unchanged", "C++, source edited"),
    ] {
        let compiles = with_compiler(compiles, |is_cxx| sleeper.program(is_cxx));
        warm(&client, &compiles[0])?;
        // Twice: what was new is looked at once more before it is proven unchanged.
        for compile in compiles.iter().chain(&compiles) {
            time(&client, compile)?;
        }
        measure(&client, unchanged, &compiles, false, rows)?;
        measure(&client, edited, &compiles, true, rows)?;
    }
    // Others are measured without it.
    world.stop_agent();
    Ok(())
}

/// Compiles for the compilers that `program` names.
fn with_compiler(compiles: &[Compile], program: impl Fn(bool) -> String) -> Vec<Compile> {
    let renamed = |compile: &Compile| {
        let mut compile = compile.clone();
        compile.words[0] = program(compile.words[0] == "g++");
        // What the real compiler has to say where one preprocesses is of no interest.
        compile.words.insert(1, "-w".to_owned());
        compile
    };
    compiles.iter().map(renamed).collect()
}

/// Times each unit, and adds the least of its times to a row; all on the farm.
fn measure(
    client: &Client<'_>,
    name: &'static str,
    compiles: &[Compile],
    is_edited: bool,
    rows: &mut Vec<Row>,
) -> Result<(), String> {
    let counts = client.counts()?;
    let mut least = vec![Duration::MAX; compiles.len()];
    for round in 0..ROUNDS {
        for (compile, least) in compiles.iter().zip(&mut least) {
            if is_edited {
                edit(compile, &format!("/* {round} */\n"))?;
            }
            *least = time(client, compile)?.min(*least);
        }
    }
    client.require_remote(&counts, compiles.len() * ROUNDS)?;
    match rows
        .iter_mut()
        .find(|row| row.client == client.name() && row.name == name)
    {
        Some(row) => row.walls.push(least),
        None => rows.push(Row {
            client: client.name(),
            name,
            walls: vec![least],
        }),
    }
    Ok(())
}

fn print(rows: &[Row]) {
    println!(
        "\nUnits of the same one by one, each {ROUNDS} times, its least counts; 100 Mbit/s, warm farm, a compiler that \
         sleeps {} ms.",
        NAP.as_millis()
    );
    println!(
        "What the median of them takes more than at RTT 0, in ms and in round trips; ! where it is more than 1.15 RTT + \
         8 ms."
    );
    print!("{:10}{:22}{:>7}{:>11}", "client", "unit", "units", "RTT 0, ms");
    for round_trip in &ROUND_TRIPS[1..] {
        print!("{:>16} ms ", round_trip.as_millis());
    }
    println!();
    for row in rows {
        let (ground, others) = row.walls.split_at(1);
        let at_zero = ground[0].iter().map(|wall| wall.as_secs_f64()).collect();
        print!(
            "{:10}{:22}{:7}{:11.1}",
            row.client,
            row.name,
            ground[0].len(),
            median(at_zero) * 1e3
        );
        for (walls, round_trip) in others.iter().zip(&ROUND_TRIPS[1..]) {
            let pairs = walls.iter().zip(&ground[0]);
            let more = pairs.map(|(wall, ground)| wall.as_secs_f64() - ground.as_secs_f64());
            print!("{}", in_round_trips(median(more.collect()), *round_trip));
        }
        println!();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
