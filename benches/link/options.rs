//! What is asked for on the command line.

use std::time::Duration;

use crate::rivals::Rival;

const USAGE: &str = "cargo bench --bench link -- [SCENARIO…] [--peers distcc,pump,icecream,sccache-dist] [--loss PERCENT] [--seed N]
[--trace]
scenarios: --check the link by itself, --bulk uploads that lose packets, --beside-tcp SECONDS an upload beside the kernel's
TCP, --latency network time a unit, --first units that find little ready, --slots how
busy 8 slots are kept, --wide a farm of sleeping compilers, --project a foreign project; without any: --check --latency --first";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    Check,
    Bulk,
    /// For how long.
    BesideTcp(Duration),
    Latency,
    First,
    Slots,
    Wide,
    Project,
}

const SCENARIOS: [(&str, Scenario); 7] = [
    ("--check", Scenario::Check),
    ("--bulk", Scenario::Bulk),
    ("--latency", Scenario::Latency),
    ("--first", Scenario::First),
    ("--slots", Scenario::Slots),
    ("--wide", Scenario::Wide),
    ("--project", Scenario::Project),
];

/// What is asked for.
#[derive(Debug, Default)]
pub struct Options {
    pub scenarios: Vec<Scenario>,
    /// Other systems to be measured beside quicc.
    pub peers: Vec<Rival>,
    /// Share of the packets that are lost by chance.
    pub loss: f64,
    /// Decides which they are.
    pub seed: u64,
    /// Whether the packets of a unit are printed.
    pub is_traced: bool,
    /// `--list` and `cargo test`: nothing is measured.
    pub is_idle: bool,
}

impl Options {
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            seed: 1,
            is_idle: true,
            ..Self::default()
        };
        let mut is_listed = false;
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| format!("{argument} of what?\n{USAGE}"))
            };
            match argument.as_str() {
                "--bench" => options.is_idle = false,
                "--list" => is_listed = true,
                "--help" => {
                    println!("{USAGE}");
                    is_listed = true;
                }
                "--trace" => options.is_traced = true,
                "--peers" => options.peers = Rival::parse(&value()?)?,
                "--beside-tcp" => {
                    let seconds = value()?;
                    let number = seconds.parse().ok().filter(|seconds| *seconds > 0);
                    let number = number.ok_or_else(|| format!("--beside-tcp {seconds}: no seconds"))?;
                    let scenario = Scenario::BesideTcp(Duration::from_secs(number));
                    options.scenarios.push(scenario);
                }
                "--seed" => {
                    let number = value()?;
                    options.seed = number
                        .parse()
                        .map_err(|_| format!("--seed {number}: no number"))?;
                }
                "--loss" => {
                    let percent = value()?;
                    let number = percent
                        .parse::<f64>()
                        .ok()
                        .filter(|percent| (0.0..100.0).contains(percent));
                    options.loss = number.ok_or_else(|| format!("--loss {percent}: no percentage"))? / 100.0;
                }
                other => {
                    let known = SCENARIOS.iter().find(|(name, _)| *name == other);
                    let (_, scenario) = known.ok_or_else(|| format!("what is {other}?\n{USAGE}"))?;
                    options.scenarios.push(*scenario);
                }
            }
        }
        if options.scenarios.is_empty() {
            options.scenarios = vec![Scenario::Check, Scenario::Latency, Scenario::First];
        }
        let with_own = [Scenario::Check, Scenario::Bulk];
        if options.loss > 0.0
            && with_own
                .iter()
                .any(|scenario| options.scenarios.contains(scenario))
        {
            return Err(format!(
                "--check and --bulk have losses of their own: name other scenarios\n{USAGE}"
            ));
        }
        if options.scenarios.contains(&Scenario::Wide) && options.peers.contains(&Rival::Sccache) {
            let problem = "its servers take hardly more jobs at once than there are processors";
            return Err(format!(
                "not supported by this bench: --wide of sccache-dist: {problem}"
            ));
        }
        options.is_idle |= is_listed;
        Ok(options)
    }
}
