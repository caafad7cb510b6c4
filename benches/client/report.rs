//! The figures, as lines of a table and as ratios.

use std::time::Duration;

use crate::measure::Cost;

/// What was measured so far.
pub struct Table {
    /// Share of a second of CPU that quicc's agent takes in a second without units.
    upkeep: f64,
    rows: Vec<Row>,
}

struct Row {
    client: &'static str,
    name: &'static str,
    cost: Cost,
}

impl Table {
    pub fn new(upkeep: f64) -> Self {
        println!("\nCPU in ms a unit (processes: wrapper, build tool; daemon: agent, include server),");
        println!("of it what quicc's agent takes meanwhile without any unit, and bytes in kB a unit:");
        println!(
            "{:8}{:28}{:>6}{:>10}{:>8}{:>8}{:>8}{:>8}{:>8}{:>11}{:>12}",
            "client",
            "units",
            "number",
            "processes",
            "daemon",
            "CPU",
            "upkeep",
            "up",
            "down",
            "object kB",
            "CPU ms / MB"
        );
        Self {
            upkeep,
            rows: Vec::new(),
        }
    }

    pub fn add(&mut self, client: &'static str, name: &'static str, cost: Cost) {
        let a_unit = |value: f64| value / cost.units as f64;
        let bytes = |bytes: u64| a_unit(bytes as f64 / 1e3);
        let upkeep = if client == "quicc" {
            self.upkeep * milliseconds(cost.wall)
        } else {
            0.0
        };
        // An object with debug information is most of what its unit costs; any other is little of it.
        let a_megabyte = name.contains("-g").then(|| {
            let megabytes = cost.objects as f64 / 1e6;
            format!("{:.1}", milliseconds(cost.cpu()) / megabytes)
        });
        println!(
            "{client:8}{name:28}{:6}{:10.2}{:8.2}{:8.2}{:8.2}{:8.1}{:8.1}{:11.1}{:>12}",
            cost.units,
            a_unit(milliseconds(cost.processes)),
            a_unit(milliseconds(cost.daemon)),
            a_unit(milliseconds(cost.cpu())),
            a_unit(upkeep),
            bytes(cost.up),
            bytes(cost.down),
            bytes(cost.objects),
            a_megabyte.unwrap_or_default(),
        );
        self.rows.push(Row { client, name, cost });
    }

    /// How many times quicc's CPU time each peer takes.
    pub fn print_ratios(&self) {
        println!("\nCPU a unit, as a multiple of quicc's:");
        for peer in self.rows.iter().filter(|row| row.client != "quicc") {
            let is_same = |row: &&Row| row.client == "quicc" && row.name == peer.name;
            if let Some(own) = self.rows.iter().find(is_same) {
                let ratio = cpu_of_unit(&peer.cost) / cpu_of_unit(&own.cost);
                println!("{:8}{:28}{ratio:6.1}", peer.client, peer.name);
            }
        }
    }
}

fn cpu_of_unit(cost: &Cost) -> f64 {
    milliseconds(cost.cpu()) / cost.units as f64
}

pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
