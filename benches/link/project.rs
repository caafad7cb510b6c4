//! Foreign sources built across the link with the real compiler: all of a C library, and a part of a C++ one; and how much
//! longer their units take over a long way (`distance`).

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::crowd::{self, Crowd, Pace};
use crate::distance;
use crate::farm::{Farm, Sandbox, milliseconds};
use crate::measure::{Compile, succeed};
use crate::objects::{self, Objects};
use crate::peers::Setting;
use crate::queue::{Conditions, MBIT};
use crate::rivals::Rival;
use crate::sources::Sources;
use crate::support::World;
use crate::units::warm;
use crate::wire::Wire;

const RATE: u64 = 100 * MBIT;
const ROUND_TRIP: Duration = Duration::from_millis(50);
const PACE: Pace = Pace {
    at_once: 8,
    spread: Duration::ZERO,
};
/// Bytes up of a round of tiny units, from which on a server learns a compiler by it; all know it where there are less.
const LEARNT: u64 = 1_000_000;
/// Rounds of tiny units, at most.
const ROUNDS_OF_LEARNING: usize = 20;

/// A language's units, and what their objects are to be.
struct Language {
    name: &'static str,
    compiles: Vec<Compile>,
    objects: Objects,
}

/// Prints a line for each client, language and build, and then the distances.
pub fn run(wire: &Wire, rivals: &[Rival]) -> Result<(), String> {
    wire.set(Conditions::new(RATE, ROUND_TRIP));
    println!(
        "\nzstd (C, -O2) and a part of RocksDB (C++, -O0), gcc, -j{}, RTT {} ms, 100 Mbit/s; {} processors for all.",
        PACE.at_once,
        ROUND_TRIP.as_millis(),
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    println!(
        "Bytes of whole packets at the link; CPU: all processes at the client's end and all that they waited for, and \
         the daemons among it; others: objects that are not what is made here."
    );
    println!(
        "{:10}{:14}{:>6}{:>8}{:>9}{:>9}{:>11}{:>13}{:>10}{:>8}{:>9}",
        "client",
        "build",
        "units",
        "s",
        "units/s",
        "up kB/u",
        "down kB/u",
        "client ms/u",
        "daemons",
        "others",
        "dropped"
    );
    let world = World::new();
    let sources = Sources::copy(&world);
    let languages = [("C", sources.library), ("C++", sources.built)].map(|(name, compiles)| {
        require_compilable(&world, &compiles)?;
        let objects = Objects::make(&world, &compiles)?;
        Ok(Language {
            name,
            compiles,
            objects,
        })
    });
    let languages = languages.into_iter().collect::<Result<Vec<_>, String>>()?;
    build_with_quicc(wire, &world, &languages)?;
    let setting = Setting {
        address: wire.farm.address,
        jobs: PACE.at_once,
        compilers: None,
    };
    for rival in rivals {
        let started = rival.start(wire, &world, &setting)?;
        build(wire, None, &started.client(), &languages)?;
    }
    distance::run(wire, rivals)
}

fn build_with_quicc(wire: &Wire, world: &World, languages: &[Language]) -> Result<(), String> {
    let farm = Farm::start(wire, &format!("slots = {}\n", PACE.at_once), Sandbox::Whole)?;
    farm.files.join(world);
    let client = Client::quicc(world)?;
    build(wire, Some(&farm), &client, languages)?;
    // Others are measured without it.
    world.stop_agent();
    Ok(())
}

/// Builds each language twice.
fn build(
    wire: &Wire,
    farm: Option<&Farm>,
    client: &Client<'_>,
    languages: &[Language],
) -> Result<(), String> {
    introduce(wire, client)?;
    for language in languages {
        for turn in ["first", "again"] {
            let compiles = &language.compiles;
            objects::remove(compiles)?;
            let crowd = Crowd::compile(wire, farm, client, compiles, compiles.len(), PACE)?;
            let others = language.objects.differing(compiles)?;
            print(client, &format!("{}, {turn}", language.name), &crowd, others);
            if client.is_quicc() && others > 0 {
                return Err(format!("{others} objects are not what the compiler makes here"));
            }
        }
    }
    Ok(())
}

/// Has all of the farm learn both compilers, and prints what that takes.
fn introduce(wire: &Wire, client: &Client<'_>) -> Result<(), String> {
    for (compiler, suffix) in [("gcc", "c"), ("g++", "cc")] {
        let tiny = |turn: usize| {
            let name = format!("tiny{turn}.{suffix}");
            client.world().write(&name, "int tiny;\n");
            Compile {
                words: [compiler, &name].map(str::to_owned).into(),
                source: client.world().at(&name),
                object: client.world().at(&format!("{name}.o")),
            }
        };
        let compiles: Vec<_> = (0..PACE.at_once * 2).map(tiny).collect();
        let (before, _) = wire.counts();
        let started = Instant::now();
        warm(client, &compiles[0])?;
        let mut is_known = false;
        for _ in 0..ROUNDS_OF_LEARNING {
            let (before, _) = wire.counts();
            crowd::run(client, &compiles, compiles.len(), PACE)?;
            is_known = wire.counts().0.since(&before).bytes < LEARNT;
            if is_known {
                break;
            }
        }
        if !is_known {
            return Err(format!("{}: the farm does not learn {compiler}", client.name()));
        }
        let (after, _) = wire.counts();
        println!(
            "{:10}the farm learns {compiler}: {:.1} MB up, {:.1} s, dropped {}",
            client.name(),
            after.since(&before).bytes as f64 / 1e6,
            started.elapsed().as_secs_f64(),
            after.since(&before).dropped
        );
    }
    Ok(())
}

/// An error of the first source says more than that of a build.
fn require_compilable(world: &World, compiles: &[Compile]) -> Result<(), String> {
    let first = compiles.first().ok_or("no sources")?;
    let mut command = world.command(&first.words[0]);
    command.args(&first.words[1..]).arg("-fsyntax-only");
    succeed(command)
}

fn print(client: &Client<'_>, build: &str, crowd: &Crowd, others: usize) {
    let kilobytes = |bytes: u64| bytes as f64 / 1e3 / crowd.units as f64;
    println!(
        "{:10}{build:14}{:6}{:8.1}{:9.2}{:9.1}{:11.1}{:13.2}{:10.2}{others:8}{:9}",
        client.name(),
        crowd.units,
        milliseconds(crowd.wall) / 1e3,
        crowd.units_per_second(),
        kilobytes(crowd.up.bytes),
        kilobytes(crowd.down.bytes),
        crowd.of_unit(crowd.spent.wrappers + crowd.spent.agent),
        crowd.of_unit(crowd.spent.agent),
        crowd.up.dropped + crowd.down.dropped
    );
}
