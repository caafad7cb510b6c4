//! Foreign sources built across the link with the real compiler: all of a C library, and a part of a C++ one.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::crowd::{Crowd, Pace};
use crate::farm::{Farm, Sandbox, milliseconds};
use crate::measure::{Compile, succeed};
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

/// Prints a line for each client, language and build.
pub fn run(wire: &Wire, rivals: &[Rival]) -> Result<(), String> {
    wire.set(Conditions::new(RATE, ROUND_TRIP));
    println!(
        "\nzstd (C, -O2) and a part of RocksDB (C++, -O0), gcc, -j{}, RTT {} ms, 100 Mbit/s; {} processors for all.",
        PACE.at_once,
        ROUND_TRIP.as_millis(),
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    println!("Bytes of whole packets at the link; CPU: all that is the client's, wrappers and daemon.");
    println!(
        "{:10}{:16}{:>7}{:>9}{:>9}{:>10}{:>10}{:>14}{:>9}",
        "client", "build", "units", "s", "units/s", "up kB/u", "down kB/u", "client ms/u", "dropped"
    );
    let world = World::new();
    let sources = Sources::copy(&world);
    let languages = [("C", &sources.library), ("C++", &sources.built)];
    let farm = Farm::start(wire, &format!("slots = {}\n", PACE.at_once), Sandbox::Whole)?;
    farm.files.join(&world);
    let client = Client::quicc(&world)?;
    for (_, compiles) in languages {
        require_compilable(&world, compiles)?;
    }
    build(wire, Some(&farm), &client, languages)?;
    if rivals.is_empty() {
        return Ok(());
    }
    let setting = Setting {
        address: wire.farm.address,
        jobs: PACE.at_once,
        compilers: None,
    };
    for rival in rivals {
        let started = rival.start(wire, &world, &setting)?;
        build(wire, None, &started.client(), languages)?;
    }
    Ok(())
}

/// Builds each language twice.
fn build(
    wire: &Wire,
    farm: Option<&Farm>,
    client: &Client<'_>,
    languages: [(&str, &Vec<Compile>); 2],
) -> Result<(), String> {
    introduce(wire, client)?;
    for (language, compiles) in languages {
        for turn in ["first", "again"] {
            let crowd = Crowd::compile(wire, farm, client, compiles, compiles.len(), PACE)?;
            print(client, &format!("{language}, {turn}"), &crowd);
        }
    }
    Ok(())
}

/// Has the farm learn both compilers, and prints what that takes.
fn introduce(wire: &Wire, client: &Client<'_>) -> Result<(), String> {
    for (compiler, name) in [("gcc", "tiny.c"), ("g++", "tiny.cc")] {
        client.world().write(name, "int tiny;\n");
        let compile = Compile {
            words: [compiler, name].map(str::to_owned).into(),
            source: client.world().at(name),
            object: client.world().at(&format!("{name}.o")),
        };
        let (before, _) = wire.counts();
        let started = Instant::now();
        warm(client, &compile)?;
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

fn print(client: &Client<'_>, build: &str, crowd: &Crowd) {
    let kilobytes = |bytes: u64| bytes as f64 / 1e3 / crowd.units as f64;
    println!(
        "{:10}{build:16}{:7}{:9.1}{:9.2}{:10.1}{:10.1}{:14.2}{:9}",
        client.name(),
        crowd.units,
        milliseconds(crowd.wall) / 1e3,
        crowd.units_per_second(),
        kilobytes(crowd.up.bytes),
        kilobytes(crowd.down.bytes),
        crowd.of_unit(crowd.spent.wrappers + crowd.spent.agent),
        crowd.up.dropped + crowd.down.dropped
    );
}
