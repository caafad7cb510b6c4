//! Many compiles at the same time, and where the processor time went meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::account;
use crate::client::Client;
use crate::farm::{Farm, milliseconds};
use crate::measure::{Compile, succeed};
use crate::wire::{Count, Wire};

/// Processor time since the start of each, by what it was spent for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    pub wrappers: Duration,
    pub agent: Duration,
    pub builder: Duration,
    pub scheduler: Duration,
    pub link: Duration,
}

impl Spent {
    fn now(wire: &Wire, farm: Option<&Farm>, client: &Client<'_>) -> Result<Self, String> {
        let of = |role: Option<u32>| {
            let pid = role.and_then(|pid| i32::try_from(pid).ok());
            pid.map_or(Ok(Duration::ZERO), account::of_process)
        };
        Ok(Self {
            wrappers: account::of_children(),
            agent: client.daemon_cpu()?,
            builder: of(farm.map(|farm| farm.builder.id()))?,
            scheduler: of(farm.map(|farm| farm.scheduler.id()))?,
            link: wire.processor_time(),
        })
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            wrappers: self.wrappers.saturating_sub(before.wrappers),
            agent: self.agent.saturating_sub(before.agent),
            builder: self.builder.saturating_sub(before.builder),
            scheduler: self.scheduler.saturating_sub(before.scheduler),
            link: self.link.saturating_sub(before.link),
        }
    }
}

/// What a crowd of compiles took.
#[derive(Debug, Clone)]
pub struct Crowd {
    pub units: usize,
    pub wall: Duration,
    pub spent: Spent,
    pub up: Count,
    pub down: Count,
    /// When each ended, sorted, since the first was started.
    pub ends: Vec<Duration>,
    /// How long each took, sorted.
    pub takes: Vec<Duration>,
}

impl Crowd {
    /// Compiles `units` of `compiles`, which come round again, `at_once` at the same time; all on the farm.
    pub fn compile(
        wire: &Wire,
        farm: Option<&Farm>,
        client: &Client<'_>,
        compiles: &[Compile],
        (units, at_once): (usize, usize),
    ) -> Result<Self, String> {
        let counts = client.counts()?;
        let before = Spent::now(wire, farm, client)?;
        let packets = wire.counts();
        let started = Instant::now();
        let (ends, takes) = run(client, compiles, units, at_once)?;
        let wall = started.elapsed();
        let spent = Spent::now(wire, farm, client)?.since(&before);
        let after = wire.counts();
        client.require_remote(&counts, units)?;
        Ok(Self {
            units,
            wall,
            spent,
            up: after.0.since(&packets.0),
            down: after.1.since(&packets.1),
            ends,
            takes,
        })
    }

    pub fn units_per_second(&self) -> f64 {
        self.units as f64 / self.wall.as_secs_f64()
    }

    /// Milliseconds of `time` for each unit.
    pub fn of_unit(&self, time: Duration) -> f64 {
        milliseconds(time) / self.units as f64
    }

    /// The time that a share of the units kept below.
    pub fn taken_by(&self, share: f64) -> Duration {
        let last = self.takes.len().saturating_sub(1);
        self.takes[(last as f64 * share) as usize]
    }

    /// How many ended in each second.
    pub fn by_second(&self) -> Vec<usize> {
        let mut seconds = Vec::new();
        for end in &self.ends {
            let second = end.as_secs() as usize;
            seconds.resize(seconds.len().max(second + 1), 0);
            seconds[second] += 1;
        }
        seconds
    }
}

/// The same, whoever compiles them: when each ended since the first was started, and how long each took, sorted.
pub fn run(
    client: &Client<'_>,
    compiles: &[Compile],
    units: usize,
    at_once: usize,
) -> Result<(Vec<Duration>, Vec<Duration>), String> {
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let one_after_another = || -> Result<Vec<(Duration, Duration)>, String> {
        let mut ends = Vec::new();
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            if turn >= units {
                return Ok(ends);
            }
            let compile = &compiles[turn % compiles.len()];
            let begun = Instant::now();
            succeed(client.command(&compile.command_line()))?;
            ends.push((started.elapsed(), begun.elapsed()));
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(one_after_another)).collect();
        let results: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let pairs = results.into_iter().collect::<Result<Vec<_>, String>>()?.concat();
        let (mut ends, mut takes): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        ends.sort();
        takes.sort();
        Ok((ends, takes))
    })
}
