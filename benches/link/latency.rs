//! What a unit takes longer over a long link than over none, in round trips: a warm farm, a compiler of constant time.
//!
//! What is subtracted, the unit's wall time at RTT 0 over the same link, has the nap, the processes, and the time its
//! bytes take at the link's rate.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::farm::{Farm, Sandbox, milliseconds};
use crate::measure::{AT_ONCE, edit};
use crate::peers::Setting;
use crate::queue::{Conditions, MBIT};
use crate::rivals::Rival;
use crate::support::World;
use crate::units::{Case, NAP, Units, time, warm};
use crate::wire::{Sighting, Wire};

pub const RATE: u64 = 100 * MBIT;
/// The first is what the others are compared with.
pub const ROUND_TRIPS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
];
/// Times each case is measured; the median counts. And where packets are lost by chance.
const ROUNDS: usize = 10;
const ROUNDS_WITH_LOSS: usize = 40;
const CASES: [(Case, &str); 10] = [
    (Case::Unchanged, "C, unchanged"),
    (Case::Edited, "C, source edited"),
    (Case::New, "C, new unit, headers known"),
    (Case::Header, "C, a header edited"),
    (Case::Large, "C, object of 200 kB"),
    (Case::Both64, "C, 64 kB each way"),
    (Case::Both200, "C, 200 kB each way"),
    (Case::CxxUnchanged, "C++, unchanged"),
    (Case::CxxEdited, "C++, source edited"),
    (Case::CxxNew, "C++, new unit, headers known"),
];

/// A unit of one client, and how long it took at each round trip time.
struct Row {
    client: &'static str,
    name: &'static str,
    walls: Vec<Walls>,
}

/// Of several compiles of one unit.
#[derive(Debug, Clone, Copy)]
struct Walls {
    median: Duration,
    least: Duration,
    /// Nine of ten took no longer.
    most: Duration,
}

/// What is measured of other systems: they do the same again whatever changed.
const CASES_OF_PEERS: [Case; 2] = [Case::Unchanged, Case::CxxUnchanged];

/// Prints the table.
pub fn run(wire: &Wire, rivals: &[Rival], is_traced: bool) -> Result<(), String> {
    wire.set(Conditions::new(RATE, ROUND_TRIPS[0]));
    let farm = Farm::start(wire, "", Sandbox::Whole)?;
    let mut rows: Vec<Row> = Vec::new();
    for round_trip in ROUND_TRIPS {
        wire.set(Conditions::new(RATE, round_trip));
        let world = World::new();
        farm.files.join(&world);
        let mut units = Units::new(&world)?;
        let client = Client::quicc(&world)?;
        measure(
            wire,
            &client,
            &mut units,
            &CASES.map(|(case, _)| case),
            is_traced,
            &mut rows,
        )?;
        if rivals.is_empty() {
            continue;
        }
        let setting = Setting {
            address: wire.farm.address,
            jobs: AT_ONCE,
            compilers: units.compilers(),
        };
        units.name_by_path();
        for rival in rivals {
            let started = rival.start(wire, &world, &setting)?;
            measure(
                wire,
                &started.client(),
                &mut units,
                &CASES_OF_PEERS,
                is_traced,
                &mut rows,
            )?;
        }
    }
    print(&rows, rounds(wire));
    Ok(())
}

fn measure(
    wire: &Wire,
    client: &Client<'_>,
    units: &mut Units<'_>,
    cases: &[Case],
    is_traced: bool,
    rows: &mut Vec<Row>,
) -> Result<(), String> {
    for (case, name) in CASES.iter().filter(|(case, _)| cases.contains(case)) {
        let mut compile = units.make(*case);
        warm(client, &compile)?;
        let counts = client.counts()?;
        let rounds = rounds(wire);
        let mut times = Vec::new();
        for round in 0..rounds {
            match case {
                Case::New | Case::CxxNew => compile = units.make(*case),
                Case::Edited | Case::CxxEdited => edit(&compile, &format!("/* {round} */\n"))?,
                Case::Both64 | Case::Both200 => units.replace_comment(*case, &compile, round),
                Case::Header => units.edit_header(&format!("/* {round} */\n")),
                _ => {}
            }
            let (taken, seen) = wire.watch(|| {
                let started = Instant::now();
                time(client, &compile).map(|taken| (started, taken))
            });
            let (started, taken) = taken?;
            times.push(taken);
            if is_traced && round == rounds - 1 {
                trace(
                    &format!("{}: {name}", client.name()),
                    wire.conditions(),
                    started,
                    taken,
                    &seen,
                );
            }
        }
        client.require_remote(&counts, rounds)?;
        times.sort();
        let walls = Walls {
            median: times[rounds / 2],
            least: times[0],
            most: times[rounds * 9 / 10 - 1],
        };
        let is_it = |row: &&mut Row| row.client == client.name() && row.name == *name;
        match rows.iter_mut().find(is_it) {
            Some(row) => row.walls.push(walls),
            None => rows.push(Row {
                client: client.name(),
                name,
                walls: vec![walls],
            }),
        }
    }
    Ok(())
}

/// When which packets came to the link while a unit was compiled.
pub fn trace(name: &str, conditions: Conditions, started: Instant, taken: Duration, seen: &[Sighting]) {
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

fn rounds(wire: &Wire) -> usize {
    if wire.conditions().loss > 0.0 {
        ROUNDS_WITH_LOSS
    } else {
        ROUNDS
    }
}

fn print(rows: &[Row], rounds: usize) {
    println!(
        "\nA unit over a link of 100 Mbit/s, warm farm, compiler that sleeps {} ms; {rounds} times each, alone.",
        NAP.as_millis()
    );
    println!(
        "What it takes more than at RTT 0, in ms and in round trips; ! where it is more than 1.15 RTT + 8 ms."
    );
    print_by("median", rows, |walls| walls.median);
    print_by("least (a busy machine disturbs it less)", rows, |walls| {
        walls.least
    });
    if rounds == ROUNDS_WITH_LOSS {
        print_by("longest of the quickest nine of ten", rows, |walls| walls.most);
    }
}

fn print_by(what: &str, rows: &[Row], of: impl Fn(&Walls) -> Duration) {
    println!("By the {what}:");
    print!("{:10}{:30}{:>10}", "client", "unit", "RTT 0, ms");
    for round_trip in &ROUND_TRIPS[1..] {
        print!("{:>16} ms ", round_trip.as_millis());
    }
    println!();
    for row in rows {
        let ground = of(&row.walls[0]);
        print!("{:10}{:30}{:10.1}", row.client, row.name, milliseconds(ground));
        for (walls, round_trip) in row.walls.iter().zip(ROUND_TRIPS).skip(1) {
            let more = of(walls).as_secs_f64() - ground.as_secs_f64();
            print!("{}", in_round_trips(more, round_trip));
        }
        println!();
    }
}

/// Seconds as milliseconds and round trips, and whether they are more than is aimed at.
pub fn in_round_trips(seconds: f64, round_trip: Duration) -> String {
    let round_trip = round_trip.as_secs_f64();
    let mark = if seconds <= round_trip * 1.15 + 0.008 {
        ' '
    } else {
        '!'
    };
    format!("{:+9.1}{:6.2} RTT{mark}", seconds * 1e3, seconds / round_trip)
}
