//! How busy a small farm's slots are kept over a long link: compilers that sleep, 8 slots. A build tool with as many jobs
//! as there are slots leaves each slot empty for a round trip between two of them; with twice as many the next action
//! waits at the builder already.

use std::path::PathBuf;
use std::time::Duration;

use crate::client::Client;
use crate::crowd::{self, Crowd, Pace};
use crate::farm::{Farm, Sandbox};
use crate::latency::{RATE, ROUND_TRIPS};
use crate::measure::Compile;
use crate::queue::Conditions;
use crate::sleeper::{Habit, Sleeper};
use crate::support::World;
use crate::units::warm;
use crate::wire::Wire;

const SLOTS: usize = 8;
/// What a build tool runs at once.
const AT_ONCE: [usize; 2] = [SLOTS, 2 * SLOTS];
/// How long each compiles.
const HABITS: [Habit; 2] = [
    Habit {
        name: "quarter",
        nap: Duration::from_millis(250),
        object: 20_000,
    },
    Habit {
        name: "second",
        nap: Duration::from_secs(1),
        object: 20_000,
    },
];
/// How long all slots would be busy with the units of a measurement.
const LONG: Duration = Duration::from_secs(8);

/// Prints the table.
pub fn run(wire: &Wire) -> Result<(), String> {
    let farm = Farm::start(wire, &format!("slots = {SLOTS}\n"), Sandbox::LeftOut)?;
    println!(
        "\n{SLOTS} slots, compilers that sleep, 100 Mbit/s: units a second from the first end to the last start, and the \
         share of the slots' time that is spent compiling."
    );
    println!(
        "With one action at a time in each slot and nothing waiting there that share would be T / (T + RTT)."
    );
    println!(
        "{:>6}{:>8}{:>10}{:>13}{:>9}{:>13}{:>9}{:>17}",
        "T ms", "RTT ms", "all busy", "-j8 units/s", "busy %", "-j16 units/s", "busy %", "T / (T + RTT) %"
    );
    for habit in HABITS {
        for round_trip in &ROUND_TRIPS[1..] {
            wire.set(Conditions::new(RATE, *round_trip));
            let world = World::new();
            farm.files.join(&world);
            let client = Client::quicc(&world)?;
            let compiles = units(&world, habit)?;
            warm(&client, &compiles[0])?;
            let nap = habit.nap.as_secs_f64();
            let ideal = SLOTS as f64 / nap;
            print!(
                "{:6}{:8}{ideal:10.1}",
                habit.nap.as_millis(),
                round_trip.as_millis()
            );
            for at_once in AT_ONCE {
                // The first end one after the other, as those of a build do, and all that follow them.
                let spread = habit.nap * at_once as u32 / SLOTS as u32;
                let pace = Pace { at_once, spread };
                // What was new is looked at once more before it is proven unchanged.
                for _ in 0..2 {
                    crowd::run(&client, &compiles, compiles.len(), pace)?;
                }
                let count = (ideal * LONG.as_secs_f64()) as usize;
                let crowd = Crowd::compile(wire, Some(&farm), &client, &compiles, count, pace)?;
                let rate = steady(&crowd);
                print!("{rate:13.1}{:9.0}", 100.0 * rate / ideal);
            }
            println!("{:17.0}", 100.0 * nap / (nap + round_trip.as_secs_f64()));
        }
    }
    Ok(())
}

/// Units a second from the first end to the last start; between so many ends is one pause less.
fn steady(crowd: &Crowd) -> f64 {
    let ended = crowd.ends.iter().filter(|end| **end <= crowd.last_start).count();
    (ended as f64 - 1.0) / (crowd.last_start - crowd.ends[0]).as_secs_f64()
}

/// A source for each job that runs at once.
fn units(world: &World, habit: Habit) -> Result<Vec<Compile>, String> {
    let sleeper = Sleeper::make(world, habit)?;
    let unit = |number: usize| {
        let name = format!("unit{number}.c");
        world.write(&name, &format!("#include <stdio.h>\nint f{number};\n"));
        Compile {
            words: [&sleeper.program(false), "-O2", &name].map(str::to_owned).into(),
            source: world.at(&name),
            object: PathBuf::from(format!("{name}.o")),
        }
    };
    Ok((0..2 * SLOTS).map(unit).collect())
}
