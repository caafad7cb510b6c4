//! A wide farm: compilers that sleep a second, so that all that is measured is how full the slots are kept.

use std::time::Duration;

use crate::client::Client;
use crate::crowd::{self, Crowd, Pace};
use crate::farm::{Box, Farm, milliseconds};
use crate::measure::Compile;
use crate::queue::{Conditions, MBIT};
use crate::sample::parts;
use crate::sleeper::{Habit, Sleeper};
use crate::sources;
use crate::support::World;
use crate::wire::Wire;

const RATE: u64 = 1000 * MBIT;
const ROUND_TRIP: Duration = Duration::from_millis(50);
const NAP: Duration = Duration::from_secs(1);
const C: Habit = Habit {
    name: "c",
    nap: NAP,
    object: 20_000,
};
const CXX: Habit = Habit {
    name: "cxx",
    nap: NAP,
    object: 32_000,
};

/// How wide.
#[derive(Debug, Clone, Copy)]
pub struct Width {
    pub slots: usize,
    pub at_once: usize,
    /// Naps that follow each other.
    pub naps: usize,
    /// Units a second that are asked for.
    pub aim: usize,
}

pub const WIDTHS: [Width; 2] = [
    Width {
        slots: 128,
        at_once: 64,
        naps: 12,
        aim: 60,
    },
    Width {
        slots: 256,
        at_once: 256,
        naps: 8,
        aim: 230,
    },
];

/// Prints a line for each language.
pub fn run(wire: &Wire, width: Width, shut: Box) -> Result<(), String> {
    wire.set(Conditions::new(RATE, ROUND_TRIP));
    let farm = Farm::start(wire, &format!("slots = {}\n", width.slots), shut)?;
    let world = World::new();
    farm.files.join(&world);
    let client = Client::quicc(&world)?;
    println!(
        "\n{} slots whose compilers sleep {} s, {} units at once (ideal: {} units/s, aim: {}), RTT {} ms, 1 Gbit/s, {}:",
        width.slots,
        NAP.as_secs(),
        width.at_once,
        width.at_once,
        width.aim,
        ROUND_TRIP.as_millis(),
        match shut {
            Box::Closed => "in the builder's sandbox",
            Box::Open => "the sandbox's namespaces left out",
        }
    );
    println!(
        "{:6}{:>8}{:>9}{:>9}{:>9}{:>9}  CPU ms a unit:{:>9}{:>9}{:>9}{:>11}{:>7}",
        "",
        "units/s",
        "overall",
        "units",
        "up kB",
        "down kB",
        "wrapper",
        "agent",
        "builder",
        "scheduler",
        "link"
    );
    for (name, habit, package) in [("C", C, "aws-lc-sys"), ("C++", CXX, "librocksdb-sys")] {
        let sleeper = Sleeper::make(&world, habit)?;
        let compiles = units(&world, &sleeper, package);
        let pace = Pace {
            at_once: width.at_once,
            spread: NAP,
        };
        // Twice: what was new is looked at once more before it is proven unchanged.
        for _ in 0..2 {
            let count = compiles.len();
            crowd::run(&client, &compiles, count, pace)?;
        }
        let count = width.at_once * width.naps;
        let crowd = Crowd::compile(wire, Some(&farm), &client, &compiles, count, pace)?;
        print(name, &crowd, width);
    }
    Ok(())
}

/// The package's units, for a compiler that sleeps.
fn units(world: &World, sleeper: &Sleeper, package: &str) -> Vec<Compile> {
    let parts = parts();
    let part = parts.iter().find(|part| part.package == package).unwrap();
    let mut compiles = sources::compiles(world, part, "-O0", "gcc");
    // Assembler, and sources that miss a header.
    compiles.retain(|compile| {
        let is_assembler = compile
            .source
            .extension()
            .is_some_and(|extension| extension == "S");
        !is_assembler && !compile.source.to_string_lossy().contains("jitterentropy")
    });
    for compile in &mut compiles {
        let is_cxx = compile
            .source
            .extension()
            .is_some_and(|extension| extension == "cc");
        let compiler = if is_cxx { &sleeper.gxx } else { &sleeper.gcc };
        compile.words[0] = compiler.display().to_string();
    }
    compiles
}

fn print(name: &str, crowd: &Crowd, width: Width) {
    let spent = &crowd.spent;
    let kilobytes = |bytes: u64| bytes as f64 / 1e3 / crowd.units as f64;
    let rate = crowd.steady_units_per_second();
    println!(
        "{name:6}{rate:7.1}{}{:9.1}{:9}{:9.1}{:9.1}{:>16}{:9.2}{:9.2}{:9.2}{:11.2}{:7.2}",
        if rate >= width.aim as f64 { ' ' } else { '!' },
        crowd.units_per_second(),
        crowd.units,
        kilobytes(crowd.up.bytes),
        kilobytes(crowd.down.bytes),
        "",
        crowd.of_unit(spent.wrappers),
        crowd.of_unit(spent.agent),
        crowd.of_unit(spent.builder),
        crowd.of_unit(spent.scheduler),
        crowd.of_unit(spent.link)
    );
    let all = spent.wrappers + spent.agent + spent.builder + spent.scheduler + spent.link;
    let [least, half, most] = [0.0, 0.5, 0.9].map(|share| milliseconds(crowd.taken_by(share)));
    println!("       a unit takes {least:.0} ms at least, half of them {half:.0}, nine of ten {most:.0}");
    println!(
        "       {:.2} processors busy of {}; ended in each second: {:?}; dropped by the link's queue: {}",
        milliseconds(all) / milliseconds(crowd.wall),
        std::thread::available_parallelism().map_or(0, usize::from),
        crowd.by_second(),
        crowd.up.dropped + crowd.down.dropped
    );
}
