//! What an upload of ours carries over the link alone, by how much of it is lost by chance, beside the kernel's TCP.

use std::time::Duration;

use crate::kernel_flow::{KernelFlow, controls};
use crate::queue::{Conditions, MBIT};
use crate::upload::{Ends, goodput};
use crate::wire::Wire;

const ROUND_TRIP: Duration = Duration::from_millis(50);
/// Megabits a second, and shares that are lost.
const LINKS: [(u64, f64); 6] = [
    (100, 0.0),
    (100, 0.005),
    (100, 0.02),
    (1000, 0.0),
    (1000, 0.005),
    (1000, 0.02),
];
/// How long each is measured, from when it is connected.
const TIME: Duration = Duration::from_secs(10);

/// Prints a line for each link.
pub fn run(wire: &Wire) -> Result<(), String> {
    let controls = controls();
    println!(
        "\nUploads over a link of RTT {} ms, Mbit/s that arrive in the first {} s of a connection: of ours to a builder it \
         does not know, of the next one to the same, and of the kernel's TCP. Link busy: processor time of the program \
         that is the link, of a second, both ways.",
        ROUND_TRIP.as_millis(),
        TIME.as_secs(),
    );
    print!("{:>8}{:>8}{:>9}{:>9}", "Mbit/s", "loss %", "first", "second");
    for control in &controls {
        print!("{control:>9}");
    }
    println!("{:>12}{:>11}", "dropped %", "link busy");
    for (rate, loss) in LINKS {
        wire.set(Conditions {
            loss,
            ..Conditions::new(rate * MBIT, ROUND_TRIP)
        });
        print!("{rate:8}{:8.1}", loss * 100.0);
        let ends = Ends::new(wire)?;
        let (before, busy) = (wire.counts().0, wire.processor_time());
        for _ in 0..2 {
            let ours = ends.upload()?;
            print!("{:9.1}", goodput([&ours], TIME)[0]);
        }
        let ours = wire.counts().0.since(&before);
        let busy = (wire.processor_time() - busy).as_secs_f64() / (2 * TIME).as_secs_f64();
        for control in &controls {
            let theirs = KernelFlow::start(wire, control)?;
            print!("{:9.1}", goodput([&theirs], TIME)[0]);
        }
        let dropped = 100.0 * ours.dropped as f64 / ours.packets.max(1) as f64;
        println!("{dropped:12.2}{busy:11.2}");
    }
    Ok(())
}
