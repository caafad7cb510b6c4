//! An upload of ours and one flow of the kernel's TCP on one link: what share of it each has.

use std::time::Duration;

use crate::kernel_flow::{KernelFlow, controls};
use crate::latency::RATE;
use crate::queue::{Conditions, MBIT};
use crate::upload::{Ends, Flow, goodput};
use crate::wire::Wire;

/// The queue of such a link holds what it carries in as long.
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// How long one has the link for itself.
const ALONE: Duration = Duration::from_secs(5);
/// Share of the link that each should have.
const AIM: f64 = 0.2;

/// Prints a line for each congestion control of the kernel's and each order, from `time` of both together.
pub fn run(wire: &Wire, time: Duration) -> Result<(), String> {
    let conditions = Conditions::new(RATE, ROUND_TRIP);
    wire.set(conditions);
    let megabits = (conditions.rate / MBIT) as f64;
    println!(
        "\nAn upload of ours beside one of the kernel's TCP for {} s, {megabits} Mbit/s, RTT {} ms, a queue of {} kB; who \
         comes first is alone for {} s. ! where one has less than {} % of the link.",
        time.as_secs(),
        ROUND_TRIP.as_millis(),
        conditions.queue / 1000,
        ALONE.as_secs(),
        AIM * 100.0
    );
    println!(
        "{:8}{:>8}{:>14}{:>8}{:>14}{:>8}{:>12}{:>12}",
        "TCP", "first", "quicc Mbit/s", "%", "TCP Mbit/s", "%", "our lost %", "dropped %"
    );
    let controls = controls();
    for control in &controls {
        for is_ours_first in [false, true] {
            let ends = Ends::new(wire)?;
            let (ours, theirs);
            if is_ours_first {
                ours = ends.upload()?;
                std::thread::sleep(ALONE);
                theirs = KernelFlow::start(wire, control)?;
            } else {
                theirs = KernelFlow::start(wire, control)?;
                std::thread::sleep(ALONE);
                ours = ends.upload()?;
            }
            let (before, packets) = (wire.counts().0, ours.packets());
            let both: [&dyn Flow; 2] = [&ours, &theirs];
            let found = goodput(both, time);
            let after = wire.counts().0.since(&before);
            let (sent, lost) = ours.packets();
            let percent = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
            let is_fair = found.iter().all(|rate| *rate >= AIM * megabits);
            println!(
                "{control:8}{:>8}{:14.1}{:8.0}{:14.1}{:8.0}{:12.2}{:12.2} {}",
                if is_ours_first { "quicc" } else { "TCP" },
                found[0],
                100.0 * found[0] / megabits,
                found[1],
                100.0 * found[1] / megabits,
                percent(lost - packets.1, sent - packets.0),
                percent(after.dropped, after.packets),
                if is_fair { ' ' } else { '!' }
            );
        }
    }
    if let [one, other] = controls[..] {
        let one_flow = KernelFlow::start(wire, one)?;
        std::thread::sleep(ALONE);
        let other_flow = KernelFlow::start(wire, other)?;
        let [first, second] = goodput([&one_flow, &other_flow], time);
        println!(
            "For comparison, both the kernel's: {one}, first, {first:.1} Mbit/s; {other} {second:.1} Mbit/s."
        );
    }
    Ok(())
}
