//! Many compiles at the same time, and where the processor time went meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::account;
use crate::census;
use crate::client::Client;
use crate::farm::{Farm, milliseconds};
use crate::measure::{Compile, succeed};
use crate::wire::{Count, Wire};

/// Processor time since the start of each, by what it was spent for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// Launchers, and all they waited for.
    pub wrappers: Duration,
    /// Every process that lives at the client's end, and all they waited for.
    pub agent: Duration,
    pub builder: Duration,
    pub scheduler: Duration,
    pub link: Duration,
}

impl Spent {
    fn now(wire: &Wire, farm: Option<&Farm>) -> Result<Self, String> {
        let of = |role: Option<u32>| {
            let pid = role.and_then(|pid| i32::try_from(pid).ok());
            pid.map_or(Ok(Duration::ZERO), account::of_process)
        };
        Ok(Self {
            wrappers: account::of_children(),
            agent: census::of_living(&wire.client)?,
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
    /// When the last was started.
    pub last_start: Duration,
}

/// How many at once, and when the first of them start.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub at_once: usize,
    /// The first ones start spread over this time: what is the same second of work for all would be done by all in the
    /// same moments else, as no build does it.
    pub spread: Duration,
}

impl Crowd {
    /// Compiles `units` of `compiles`, which come round again; all on the farm.
    pub fn compile(
        wire: &Wire,
        farm: Option<&Farm>,
        client: &Client<'_>,
        compiles: &[Compile],
        units: usize,
        pace: Pace,
    ) -> Result<Self, String> {
        let counts = client.counts()?;
        census::clear_away()?;
        let before = Spent::now(wire, farm)?;
        let packets = wire.counts();
        let started = Instant::now();
        let times = run(client, compiles, units, pace)?;
        let wall = started.elapsed();
        let spent = Spent::now(wire, farm)?.since(&before);
        let after = wire.counts();
        census::require_none_left(&wire.farm)?;
        client.require_remote(&counts, units)?;
        Ok(Self {
            units,
            wall,
            spent,
            up: after.0.since(&packets.0),
            down: after.1.since(&packets.1),
            last_start: times.iter().map(|(start, _)| *start).max().unwrap_or_default(),
            ends: sorted(times.iter().map(|(_, end)| *end)),
            takes: sorted(times.iter().map(|(start, end)| *end - *start)),
        })
    }

    pub fn units_per_second(&self) -> f64 {
        self.units as f64 / self.wall.as_secs_f64()
    }

    /// The same from the first that ended to the last that was started.
    pub fn steady_units_per_second(&self) -> f64 {
        let first = self.ends.first().copied().unwrap_or_default();
        let ended = self.ends.iter().filter(|end| **end <= self.last_start).count();
        ended as f64 / self.last_start.saturating_sub(first).as_secs_f64()
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
}

fn sorted(times: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut times: Vec<_> = times.collect();
    times.sort();
    times
}

/// The same, whoever compiles them: when each was started and when it ended, since the first was started.
pub fn run(
    client: &Client<'_>,
    compiles: &[Compile],
    units: usize,
    pace: Pace,
) -> Result<Vec<(Duration, Duration)>, String> {
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    let one_after_another = |delay: Duration| -> Result<Vec<_>, String> {
        std::thread::sleep(delay);
        let mut times = Vec::new();
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            if turn >= units {
                return Ok(times);
            }
            let compile = &compiles[turn % compiles.len()];
            let start = began.elapsed();
            succeed(client.command(&compile.command_line()))?;
            times.push((start, began.elapsed()));
        }
    };
    let one_after_another = &one_after_another;
    std::thread::scope(|scope| {
        let delays = (0..pace.at_once).map(|turn| pace.spread * turn as u32 / pace.at_once as u32);
        let threads: Vec<_> = delays
            .map(|delay| scope.spawn(move || one_after_another(delay)))
            .collect();
        let results: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        Ok(results.into_iter().collect::<Result<Vec<_>, String>>()?.concat())
    })
}
