//! Runs compiles, several at once, and accounts for what they cost the client.

use std::ops::AddAssign;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::account;
use crate::client::Client;

/// Compiles running at the same time, so that what a daemon does anyway is shared among them.
pub const AT_ONCE: usize = 4;

/// One compile to `object`.
#[derive(Debug, Clone)]
pub struct Compile {
    /// Compiler, flags and source.
    pub words: Vec<String>,
    pub source: PathBuf,
    pub object: PathBuf,
}

impl Compile {
    /// The whole command line behind a launcher.
    pub fn command_line(&self) -> Vec<String> {
        let mut words = self.words.clone();
        words.extend(["-c", "-o"].map(str::to_owned));
        words.push(self.object.display().to_string());
        words
    }

    /// The same with a further flag, and an object named by it.
    pub fn with(&self, flag: &str) -> Self {
        let mut other = self.clone();
        other.words.push(flag.to_owned());
        other.object = self.object.with_extension(format!("{flag}.o"));
        other
    }
}

/// What a number of compiles cost the client.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    pub units: usize,
    /// CPU time of the processes started, and of those they waited for.
    pub processes: Duration,
    /// CPU time of the client's daemon meanwhile.
    pub daemon: Duration,
    pub wall: Duration,
    /// Bytes sent and received, where the client counts them.
    pub up: u64,
    pub down: u64,
    /// Bytes of the objects.
    pub objects: u64,
}

impl Cost {
    pub fn cpu(&self) -> Duration {
        self.processes + self.daemon
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.units += other.units;
        self.processes += other.processes;
        self.daemon += other.daemon;
        self.wall += other.wall;
        self.up += other.up;
        self.down += other.down;
        self.objects += other.objects;
    }
}

/// What `work` costs, which must compile `compiles` on the farm, each once.
pub fn account_for(
    client: &Client<'_>,
    compiles: &[Compile],
    work: impl FnOnce() -> Result<(), String>,
) -> Result<Cost, String> {
    let counts = client.counts()?;
    let daemon = client.daemon_cpu()?;
    let processes = account::of_children();
    let started = Instant::now();
    work()?;
    let wall = started.elapsed();
    let processes = account::of_children().saturating_sub(processes);
    let daemon = client.daemon_cpu()?.saturating_sub(daemon);
    let counted = client.require_remote(&counts, compiles.len())?;
    let sizes = compiles.iter().map(|compile| size(&compile.object));
    Ok(Cost {
        units: compiles.len(),
        processes,
        daemon,
        wall,
        up: counted.up,
        down: counted.down,
        objects: sizes.sum::<Result<u64, String>>()?,
    })
}

fn size(object: &PathBuf) -> Result<u64, String> {
    let metadata = std::fs::metadata(object).map_err(|error| format!("{}: {error}", object.display()))?;
    Ok(metadata.len())
}

/// Compiles each once, and nothing else.
pub fn compile(client: &Client<'_>, compiles: &[Compile]) -> Result<Cost, String> {
    account_for(client, compiles, || {
        run_all(compiles.len(), &|turn| {
            client.command(&compiles[turn].command_line())
        })
    })
}

/// Compiles each `rounds` times.
pub fn compile_again(client: &Client<'_>, compiles: &[Compile], rounds: usize) -> Result<Cost, String> {
    let mut cost = Cost::default();
    for _ in 0..rounds {
        cost += compile(client, compiles)?;
    }
    Ok(cost)
}

/// Compiles each `rounds` times, every time with another line at the end of its source.
pub fn compile_edited(client: &Client<'_>, compiles: &[Compile], rounds: usize) -> Result<Cost, String> {
    let mut cost = Cost::default();
    for round in 0..rounds {
        // The agent learns of the edit before its next unit, and that is a cost of the edit.
        cost += account_for(client, compiles, || {
            for compile in compiles {
                edit(compile, &format!("/* {} {round} */\n", client.name()))?;
            }
            run_all(compiles.len(), &|turn| {
                client.command(&compiles[turn].command_line())
            })
        })?;
    }
    Ok(cost)
}

/// Adds a line to its source.
pub fn edit(compile: &Compile, line: &str) -> Result<(), String> {
    let path = &compile.source;
    let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = [&text, line.as_bytes()].concat();
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Runs `count` commands, `AT_ONCE` at the same time; all must exit with 0.
pub fn run_all(count: usize, command: &(dyn Fn(usize) -> Command + Sync)) -> Result<(), String> {
    let next = AtomicUsize::new(0);
    let one_after_another = || -> Result<(), String> {
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            if turn >= count {
                return Ok(());
            }
            succeed(command(turn))?;
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(one_after_another)).collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        // All are joined before the first failure is told.
        results.collect::<Vec<_>>().into_iter().collect()
    })
}

/// Runs one command, which tells its own problems.
pub fn succeed(mut command: Command) -> Result<(), String> {
    let status = command.stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?}: {status}")),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
