//! A wide farm: compilers that sleep a second, so that all that is measured is how full the slots are kept.

use std::path::Path;
use std::time::Duration;

use crate::client::Client;
use crate::crowd::{self, Crowd, Pace};
use crate::farm::{Farm, Sandbox, milliseconds};
use crate::measure::Compile;
use crate::peers::Setting;
use crate::queue::{Conditions, MBIT};
use crate::rivals::Rival;
use crate::sample::parts;
use crate::sleeper::{Habit, Sleeper};
use crate::sources;
use crate::support::World;
use crate::units::warm;
use crate::wire::Wire;

const RATE: u64 = 1000 * MBIT;
const ROUND_TRIP: Duration = Duration::from_millis(50);
const NAP: Duration = Duration::from_secs(1);
/// Sources of a language, and objects as large as they are.
#[derive(Debug, Clone, Copy)]
struct Language {
    name: &'static str,
    package: &'static str,
    habit: Habit,
}

const LANGUAGES: [Language; 2] = [
    Language {
        name: "C",
        package: "aws-lc-sys",
        habit: Habit {
            name: "c",
            nap: NAP,
            object: 20_000,
        },
    },
    Language {
        name: "C++",
        package: "librocksdb-sys",
        habit: Habit {
            name: "cxx",
            nap: NAP,
            object: 32_000,
        },
    },
];

/// How wide.
#[derive(Debug, Clone, Copy)]
struct Width {
    slots: usize,
    at_once: usize,
    /// Naps that follow each other.
    naps: usize,
    /// Units a second that are asked for.
    aim: usize,
    sandbox: Sandbox,
}

const WIDTHS: [Width; 3] = [
    Width {
        slots: 128,
        at_once: 64,
        naps: 12,
        aim: 60,
        sandbox: Sandbox::LeftOut,
    },
    Width {
        slots: 128,
        at_once: 64,
        naps: 12,
        aim: 60,
        sandbox: Sandbox::Whole,
    },
    Width {
        slots: 256,
        at_once: 256,
        naps: 8,
        aim: 230,
        sandbox: Sandbox::LeftOut,
    },
];
/// Naps that follow each other where others are measured: they take longer, and do not change as they go on.
const NAPS_OF_PEERS: usize = 4;

/// Prints a line for each width and language, and for each of the others at the first width.
pub fn run(wire: &Wire, rivals: &[Rival]) -> Result<(), String> {
    wire.set(Conditions::new(RATE, ROUND_TRIP));
    println!(
        "\nCompilers that sleep {} s, RTT {} ms, 1 Gbit/s; whole: from the first start to the last end.",
        NAP.as_secs(),
        ROUND_TRIP.as_millis(),
    );
    println!(
        "No units/s beyond -j / (1 s + RTT) can be had: the build tool waits for each. ! where it is below the aim."
    );
    println!(
        "{:10}{:7}{:5}{:8}{:5}{:>7}{:>8}{:>8}{:>7}{:>8}{:>8}  CPU ms a unit:{:>8}{:>7}{:>9}{:>10}{:>6}",
        "client",
        "slots",
        "-j",
        "sandbox",
        "",
        "units",
        "units/s",
        "whole",
        "aim",
        "up kB",
        "down kB",
        "wrapper",
        "agent",
        "builder",
        "scheduler",
        "link"
    );
    for width in WIDTHS {
        let farm = Farm::start(wire, &format!("slots = {}\n", width.slots), width.sandbox)?;
        let world = World::new();
        farm.files.join(&world);
        let client = Client::quicc(&world)?;
        for language in LANGUAGES {
            let sleeper = Sleeper::make(&world, language.habit)?;
            let compiles = units(&world, language.package, |is_cxx| sleeper.program(is_cxx));
            // Twice: what was new is looked at once more before it is proven unchanged.
            for _ in 0..2 {
                crowd::run(&client, &compiles, compiles.len(), pace(width))?;
            }
            let count = width.at_once * width.naps;
            let crowd = Crowd::compile(wire, Some(&farm), &client, &compiles, count, pace(width))?;
            print(&client, language, &crowd, width);
        }
    }
    for rival in rivals {
        for language in LANGUAGES {
            run_rival(wire, *rival, language)?;
        }
    }
    Ok(())
}

fn run_rival(wire: &Wire, rival: Rival, language: Language) -> Result<(), String> {
    let width = WIDTHS[0];
    let world = World::new();
    let sleeper = Sleeper::make(&world, language.habit)?;
    let setting = Setting {
        address: wire.farm.address,
        jobs: width.slots,
        compilers: sleeper.gcc.parent().map(Path::to_owned),
    };
    let started = rival.start(wire, &world, &setting)?;
    let client = started.client();
    let compiles = units(&world, language.package, |is_cxx| {
        if is_cxx { "g++" } else { "gcc" }.to_owned()
    });
    warm(&client, &compiles[0])?;
    let count = width.at_once * NAPS_OF_PEERS;
    let crowd = Crowd::compile(wire, None, &client, &compiles, count, pace(width))?;
    print(&client, language, &crowd, width);
    Ok(())
}

fn pace(width: Width) -> Pace {
    Pace {
        at_once: width.at_once,
        spread: NAP,
    }
}

/// The package's units, for the compilers that `program` names.
fn units(world: &World, package: &str, program: impl Fn(bool) -> String) -> Vec<Compile> {
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
        compile.words[0] = program(is_cxx);
        // What the real compiler has to say here, where one preprocesses, is of no interest.
        compile.words.insert(1, "-w".to_owned());
    }
    compiles
}

fn print(client: &Client<'_>, language: Language, crowd: &Crowd, width: Width) {
    let spent = &crowd.spent;
    let kilobytes = |bytes: u64| bytes as f64 / 1e3 / crowd.units as f64;
    let rate = crowd.steady_units_per_second();
    let is_quicc = client.is_quicc();
    let sandbox = match width.sandbox {
        _ if !is_quicc => "none",
        Sandbox::Whole => "whole",
        Sandbox::LeftOut => "left out",
    };
    let of_farm = |time| {
        let value = crowd.of_unit(time);
        if is_quicc {
            format!("{value:.2}")
        } else {
            "-".to_owned()
        }
    };
    println!(
        "{:10}{:<7}{:<5}{sandbox:9}{:4}{:7}{rate:8.1}{:8.1}{:>6}{}{:8.1}{:8.1}{:>16}{:8.2}{:7.2}{:>9}{:>10}{:6.2}",
        client.name(),
        width.slots,
        width.at_once,
        language.name,
        crowd.units,
        crowd.units_per_second(),
        width.aim,
        if rate >= width.aim as f64 { ' ' } else { '!' },
        kilobytes(crowd.up.bytes),
        kilobytes(crowd.down.bytes),
        "",
        crowd.of_unit(spent.wrappers),
        crowd.of_unit(spent.agent),
        of_farm(spent.builder),
        of_farm(spent.scheduler),
        crowd.of_unit(spent.link)
    );
    let all = spent.wrappers + spent.agent + spent.builder + spent.scheduler + spent.link;
    let [least, half, most] = [0.0, 0.5, 0.9].map(|share| milliseconds(crowd.taken_by(share)));
    println!(
        "        a unit takes {least:.0} ms at least, half of them at most {half:.0}, nine of ten {most:.0}; \
         {:.2} processors busy of {} with what is counted; dropped by the link's queue: {}",
        milliseconds(all) / milliseconds(crowd.wall),
        std::thread::available_parallelism().map_or(0, usize::from),
        crowd.up.dropped + crowd.down.dropped
    );
}
