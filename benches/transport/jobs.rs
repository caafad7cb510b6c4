//! Small jobs over loopback: how many a second, how long each takes, and the processor time of both ends.

use crate::ends::Ends;
use crate::figures::{below, median, microseconds};
use crate::lines::{KINDS, Kind, Lines, Load, Taken};

/// Times each is measured, in turns.
const ROUNDS: usize = 5;
const UP: usize = 1000;
const DOWN: usize = 10_000;
/// Jobs at once, and jobs that follow each other.
const LOADS: [(usize, usize); 2] = [(1, 4000), (32, 250)];

/// Prints the table.
pub async fn run() {
    println!(
        "\nJobs over loopback, {UP} bytes up, {DOWN} down: QUIC with a stream for each job on one connection, TLS 1.3 over \
         TCP with a warm connection for each at once; median of {ROUNDS} in turns:"
    );
    println!(
        "{:>8}  {:6}{:>10}{:>9}{:>9}{:>12}",
        "at once", "over", "jobs/s", "p50 µs", "p99 µs", "CPU µs/job"
    );
    let ends = Ends::new().await;
    for (at_once, times) in LOADS {
        let mut lines = Lines::new(&ends, at_once).await;
        let load = Load {
            at_once,
            times,
            up: UP,
            down: DOWN,
        };
        let mut all: [Vec<Taken>; 2] = Default::default();
        // The first round warms up.
        for round in 0..=ROUNDS {
            for (turn, kind) in KINDS.into_iter().enumerate() {
                let taken = lines.carry(kind, load).await;
                if round > 0 {
                    all[turn].push(taken);
                }
            }
        }
        let jobs = (at_once * times) as f64;
        for (kind, taken) in KINDS.into_iter().zip(&all) {
            let of = |figure: &dyn Fn(&Taken) -> f64| median(taken.iter().map(figure));
            println!(
                "{at_once:8}  {:6}{:10.0}{:9.0}{:9.0}{:12.1}",
                if kind == Kind::Quic { "QUIC" } else { "TLS" },
                of(&|taken| jobs / taken.wall.as_secs_f64()),
                of(&|taken| microseconds(below(&taken.each, 0.5))),
                of(&|taken| microseconds(below(&taken.each, 0.99))),
                of(&|taken| microseconds(taken.cpu) / jobs),
            );
        }
    }
}
