//! Bytes a second over loopback, and the processor time a gigabyte takes at both ends together.

use crate::ends::Ends;
use crate::figures::median;
use crate::lines::{KINDS, Lines, Load};

/// Times each is measured, in turns.
const ROUNDS: usize = 5;
const MEBIBYTE: usize = 1 << 20;
/// Streams of QUIC or connections of TLS, transfers on each, and bytes of a transfer: 256 MiB in all.
const LOADS: [(usize, usize, usize); 4] = [
    (1, 256, MEBIBYTE),
    (8, 32, MEBIBYTE),
    (1, 1, 256 * MEBIBYTE),
    (8, 1, 32 * MEBIBYTE),
];

/// Prints the table.
pub async fn run() {
    println!(
        "\nUploads over loopback, 256 MiB in all, QUIC in datagrams of 1472 bytes at most beside TCP and TLS 1.3; CPU of \
         both ends; median of {ROUNDS} in turns:"
    );
    println!(
        "{:>8}{:>9}{:>12}{:>10}{:>8}{:>14}{:>10}{:>8}",
        "at once", "MiB each", "QUIC MB/s", "TLS MB/s", "ratio", "QUIC CPU s/GB", "TLS", "ratio"
    );
    let ends = Ends::new().await;
    for (at_once, times, size) in LOADS {
        let mut lines = Lines::new(&ends, at_once).await;
        let load = Load {
            at_once,
            times,
            up: size,
            down: 1,
        };
        let gigabytes = (at_once * times * size) as f64 / 1e9;
        let (mut speeds, mut costs) = ([vec![], vec![]], [vec![], vec![]]);
        // The first round warms up.
        for round in 0..=ROUNDS {
            for (turn, kind) in KINDS.into_iter().enumerate() {
                let taken = lines.carry(kind, load).await;
                if round > 0 {
                    speeds[turn].push(gigabytes * 1e3 / taken.wall.as_secs_f64());
                    costs[turn].push(taken.cpu.as_secs_f64() / gigabytes);
                }
            }
        }
        let [quic, tls] = speeds.map(median);
        let [quic_cost, tls_cost] = costs.map(median);
        println!(
            "{at_once:8}{:9}{quic:12.0}{tls:10.0}{:8.2}{quic_cost:14.2}{tls_cost:10.2}{:8.2}",
            size / MEBIBYTE,
            quic / tls,
            quic_cost / tls_cost
        );
    }
}
