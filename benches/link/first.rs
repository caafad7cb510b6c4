//! What the first unit takes that finds less ready than the one before it did: after a pause, after the network was
//! away, and of a new agent. In round trips more than an ordinary unit at RTT 0.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::farm::{Farm, Sandbox, milliseconds};
use crate::latency::{RATE, ROUND_TRIPS, in_round_trips, trace};
use crate::queue::Conditions;
use crate::support::{World, await_event};
use crate::units::{Case, Units, time, warm};
use crate::wire::Wire;

/// Longer than an agent keeps leases nobody uses.
const PAUSE: Duration = Duration::from_secs(15);
/// Longer than both ends take to notice that nothing is heard.
const CUT: Duration = Duration::from_secs(8);
/// What a unit took, and whether on the farm.
struct First {
    wall: Duration,
    is_remote: bool,
}

const NAMES: [&str; 4] = [
    "ordinary",
    "after a pause of 15 s",
    "after 8 s without network",
    "of a new agent",
];

/// Prints the table.
pub fn run(wire: &Wire, is_traced: bool) -> Result<(), String> {
    wire.set(Conditions::new(RATE, ROUND_TRIPS[0]));
    let farm = Farm::start(wire, "", Sandbox::Whole)?;
    let mut columns = Vec::new();
    for round_trip in ROUND_TRIPS {
        let conditions = Conditions::new(RATE, round_trip);
        wire.set(conditions);
        columns.push(measure(wire, &farm, conditions, is_traced)?);
    }
    println!(
        "\nA first C unit over a link of 100 Mbit/s, once each; what it takes more than the same at RTT 0:"
    );
    print!("{:38}{:>10}", "unit", "RTT 0, ms");
    for round_trip in &ROUND_TRIPS[1..] {
        print!("{:>16} ms ", round_trip.as_millis());
    }
    println!();
    for (turn, name) in NAMES.iter().enumerate() {
        let ground = &columns[0][turn];
        print!("{name:38}{:10.1}", milliseconds(ground.wall));
        for (column, round_trip) in columns.iter().zip(ROUND_TRIPS).skip(1) {
            let first = &column[turn];
            let more = first.wall.as_secs_f64() - ground.wall.as_secs_f64();
            print!("{}", in_round_trips(more, round_trip));
            if !first.is_remote {
                print!(" (compiled here)");
            }
        }
        println!();
    }
    Ok(())
}

fn measure(wire: &Wire, farm: &Farm, conditions: Conditions, is_traced: bool) -> Result<Vec<First>, String> {
    let world = World::new();
    farm.files.join(&world);
    let mut units = Units::new(&world)?;
    let compile = units.make(Case::Unchanged);
    let first = |client: &Client<'_>, name: &str| -> Result<First, String> {
        let before = client.counts()?;
        let started = Instant::now();
        let (wall, seen) = wire.watch(|| time(client, &compile));
        let wall = wall?;
        let is_remote = client.require_remote(&before, 1).is_ok();
        if is_traced {
            trace(name, conditions, started, wall, &seen);
        }
        Ok(First { wall, is_remote })
    };
    let client = Client::quicc(&world)?;
    warm(&client, &compile)?;
    let mut firsts = vec![first(&client, NAMES[0])?];
    std::thread::sleep(PAUSE);
    firsts.push(first(&client, NAMES[1])?);
    warm(&client, &compile)?;
    wire.set(Conditions {
        loss: 1.0,
        ..conditions
    });
    std::thread::sleep(CUT);
    wire.set(conditions);
    await_scheduler(&world);
    firsts.push(first(&client, NAMES[2])?);
    world.stop_agent();
    let client = Client::quicc(&world)?;
    await_scheduler(&world);
    firsts.push(first(&client, NAMES[3])?);
    Ok(firsts)
}

/// Until the agent says that nothing is wrong, and has gone on saying so for longer than it takes to find out.
fn await_scheduler(world: &World) {
    let settled = Duration::from_secs(1);
    let mut since = None;
    await_event("the scheduler", || {
        if !world.status()["problem"].is_null() {
            since = None;
            return None;
        }
        let since = *since.get_or_insert_with(Instant::now);
        (since.elapsed() >= settled).then_some(())
    });
}
