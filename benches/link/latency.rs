//! What a unit takes longer over a long link than over none, in round trips: a warm farm, a compiler of constant time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::farm::{Box, Farm, milliseconds};
use crate::measure::{Compile, edit, succeed};
use crate::queue::{Conditions, MBIT};
use crate::sleeper::{Habit, Sleeper};
use crate::support::World;
use crate::wire::{Sighting, Wire};

const RATE: u64 = 100 * MBIT;
/// The first is what the others are compared with.
const ROUND_TRIPS: [u64; 4] = [0, 25, 50, 100];
/// Times each case is measured; the median counts.
const ROUNDS: usize = 10;
/// Of the project's own headers, which each unit includes.
const HEADERS: usize = 60;
const SMALL: Habit = Habit {
    name: "small",
    nap: Duration::from_millis(50),
    object: 20_000,
};
const LARGE: Habit = Habit {
    name: "large",
    nap: Duration::from_millis(50),
    object: 200_000,
};
/// Compiles of everything before it is measured.
const WARMING: usize = 3;

/// What is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Unchanged,
    Edited,
    New,
    Large,
    CxxUnchanged,
    CxxEdited,
    CxxNew,
}

const CASES: [(Case, &str); 7] = [
    (Case::Unchanged, "C, unchanged"),
    (Case::Edited, "C, source edited"),
    (Case::New, "C, new unit, headers known"),
    (Case::Large, "C, object of 200 kB"),
    (Case::CxxUnchanged, "C++, unchanged"),
    (Case::CxxEdited, "C++, source edited"),
    (Case::CxxNew, "C++, new unit, headers known"),
];

/// The units of one world.
struct Units<'a> {
    world: &'a World,
    small: Sleeper,
    large: Sleeper,
    made: usize,
}

const C_HEADERS: &str = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n";
const CXX_HEADERS: &str = "#include <vector>\n#include <string>\n#include <map>\n#include <memory>\n#include <iostream>\n#include <algorithm>\n";

impl<'a> Units<'a> {
    fn new(world: &'a World) -> Result<Self, String> {
        for header in 0..HEADERS {
            world.write(
                &format!("include/h{header}.h"),
                &format!("#pragma once\nstruct s{header} {{ int x; }};\n"),
            );
        }
        Ok(Self {
            world,
            small: Sleeper::make(world, SMALL)?,
            large: Sleeper::make(world, LARGE)?,
            made: 0,
        })
    }

    /// A source nobody has seen.
    fn make(&mut self, case: Case) -> Compile {
        let is_cxx = matches!(case, Case::CxxUnchanged | Case::CxxEdited | Case::CxxNew);
        let sleeper = if case == Case::Large {
            &self.large
        } else {
            &self.small
        };
        let (compiler, standard, suffix) = if is_cxx {
            (&sleeper.gxx, CXX_HEADERS, "cc")
        } else {
            (&sleeper.gcc, C_HEADERS, "c")
        };
        let own = (0..HEADERS).map(|header| format!("#include \"h{header}.h\"\n"));
        let body =
            (0..50).map(|line| format!("int f{line}_{0}(int a) {{ return a + {line}; }}\n", self.made));
        let text: String = own.chain([standard.to_owned()]).chain(body).collect();
        let name = format!("unit{}.{suffix}", self.made);
        self.made += 1;
        self.world.write(&name, &text);
        let include = format!("-I{}", self.world.at("include").display());
        let words = [compiler.to_str().unwrap(), "-O2", &include, &name];
        Compile {
            words: words.map(str::to_owned).into(),
            source: self.world.at(&name),
            object: PathBuf::from(format!("{name}.o")),
        }
    }
}

/// What one round trip time gave, by case.
struct Column {
    round_trip: Duration,
    walls: Vec<Duration>,
}

/// Prints the table.
pub fn run(wire: &Wire, is_traced: bool) -> Result<(), String> {
    wire.set(Conditions::new(RATE, Duration::ZERO));
    let farm = Farm::start(wire, "", Box::Closed)?;
    let mut columns = Vec::new();
    for round_trip in ROUND_TRIPS.map(Duration::from_millis) {
        wire.set(Conditions::new(RATE, round_trip));
        let walls = measure(wire, &farm, is_traced)?;
        columns.push(Column { round_trip, walls });
    }
    print(&columns);
    Ok(())
}

fn measure(wire: &Wire, farm: &Farm, is_traced: bool) -> Result<Vec<Duration>, String> {
    let world = World::new();
    farm.files.join(&world);
    let client = Client::quicc(&world)?;
    let mut units = Units::new(&world)?;
    let mut walls = Vec::new();
    for (case, name) in CASES {
        let mut compile = units.make(case);
        for _ in 0..WARMING {
            time(&client, &compile)?;
        }
        let counts = client.counts()?;
        let mut times = Vec::new();
        for round in 0..ROUNDS {
            match case {
                Case::New | Case::CxxNew => compile = units.make(case),
                Case::Edited | Case::CxxEdited => edit(&compile, &format!("/* {round} */\n"))?,
                _ => {}
            }
            let (taken, seen) = wire.watch(|| {
                let started = Instant::now();
                time(&client, &compile).map(|taken| (started, taken))
            });
            let (started, taken) = taken?;
            times.push(taken);
            if is_traced && round == ROUNDS - 1 {
                trace(name, wire.conditions(), started, taken, &seen);
            }
        }
        let counted = client.require_remote(&counts, ROUNDS);
        counted.map_err(|problem| format!("{name}: {problem}\n{}", world.agent_log()))?;
        times.sort();
        walls.push(times[ROUNDS / 2]);
    }
    Ok(walls)
}

fn time(client: &Client<'_>, compile: &Compile) -> Result<Duration, String> {
    let started = Instant::now();
    succeed(client.command(&compile.command_line()))?;
    Ok(started.elapsed())
}

/// When which packets came to the link while a unit was compiled.
fn trace(name: &str, conditions: Conditions, started: Instant, taken: Duration, seen: &[Sighting]) {
    println!(
        "\n{name}, RTT {} ms: {:.1} ms; packets as they come to the link, ms since the wrapper was started:",
        milliseconds(conditions.delay * 2),
        milliseconds(taken)
    );
    for packet in seen {
        let way = if packet.is_up { "up  " } else { "down" };
        let at = packet.at.saturating_duration_since(started);
        println!("{:9.2} {way} {:5}", milliseconds(at), packet.bytes);
    }
}

fn print(columns: &[Column]) {
    println!(
        "\nA unit over a link of 100 Mbit/s, warm farm, compiler that sleeps {} ms; median of {ROUNDS}, alone.",
        SMALL.nap.as_millis()
    );
    println!("What it takes more than at RTT 0: ms, and round trips. Aim: at most 1.15 RTT + 8 ms.");
    print!("{:32}{:>12}", "unit", "RTT 0: ms");
    for column in &columns[1..] {
        print!("{:>10} ms{:>10}", column.round_trip.as_millis(), "");
    }
    println!();
    for (turn, (_, name)) in CASES.iter().enumerate() {
        let ground = columns[0].walls[turn];
        print!("{name:32}{:12.1}", milliseconds(ground));
        for column in &columns[1..] {
            let more = column.walls[turn].as_secs_f64() - ground.as_secs_f64();
            let round_trip = column.round_trip.as_secs_f64();
            let mark = if more <= round_trip * 1.15 + 0.008 {
                ' '
            } else {
                '!'
            };
            print!("{:+10.1}{:9.2} RTT{mark}", more * 1e3, more / round_trip);
        }
        println!();
    }
}
