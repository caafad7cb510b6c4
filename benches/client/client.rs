//! Who is measured: the words that stand before a compiler, the daemon behind them, and how to know that a builder
//! did the work.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::account;
use crate::support::{World, await_event};

/// The program a build runs.
const WRAPPER: &str = env!("CARGO_BIN_EXE_quicc-wrapper");

/// Something that compiles elsewhere what it is given.
pub struct Client<'a> {
    name: &'static str,
    world: &'a World,
    launcher: String,
    environment: Vec<(String, String)>,
    /// The process whose CPU time is the client's as well.
    daemon: Option<i32>,
    evidence: Evidence,
}

/// How a client shows that its units were not compiled here.
pub enum Evidence {
    /// The agent counts.
    Agent,
    /// What its two ends log.
    Logs {
        server: PathBuf,
        /// Of each compile that succeeded there, soon after its client has ended.
        compiled: &'static str,
        client: PathBuf,
        /// Any of these where something is done here that was to be done there.
        locally: &'static [&'static str],
    },
    /// The launcher counts, and tells when it is asked as sccache is.
    Statistics,
}

/// What a client counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    remote: u64,
    local: u64,
    pub up: u64,
    pub down: u64,
}

impl Counts {
    /// What was added since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            remote: self.remote.saturating_sub(before.remote),
            local: self.local.saturating_sub(before.local),
            up: self.up.saturating_sub(before.up),
            down: self.down.saturating_sub(before.down),
        }
    }
}

impl<'a> Client<'a> {
    /// quicc with the agent of `world`, which is started.
    pub fn quicc(world: &'a World) -> Result<Self, String> {
        let started = world.quicc(&["agent", "start"]);
        if !started.status.success() {
            return Err(format!("no agent: {}", world.explain(&started)));
        }
        let pid = world.status()["pid"].as_i64();
        Ok(Self {
            name: "quicc",
            world,
            launcher: WRAPPER.to_owned(),
            environment: Vec::new(),
            daemon: pid.and_then(|pid| i32::try_from(pid).ok()),
            evidence: Evidence::Agent,
        })
    }

    /// The same with another wrapper.
    pub fn with_wrapper(mut self, wrapper: &Path) -> Result<Self, String> {
        let found = wrapper.canonicalize();
        let found = found.map_err(|error| format!("{}: {error}", wrapper.display()))?;
        self.launcher = found.display().to_string();
        Ok(self)
    }

    /// Another system's client.
    pub fn peer(
        name: &'static str,
        world: &'a World,
        (launcher, environment): (&str, Vec<(String, String)>),
        daemon: Option<i32>,
        evidence: Evidence,
    ) -> Self {
        Self {
            name,
            world,
            launcher: launcher.to_owned(),
            environment,
            daemon,
            evidence,
        }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn world(&self) -> &'a World {
        self.world
    }

    /// What stands before a compiler.
    pub fn launcher(&self) -> &str {
        &self.launcher
    }

    /// A program in the client's environment.
    pub fn program(&self, program: &str) -> Command {
        let mut command = self.world.command(program);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// A compile.
    pub fn command(&self, words: &[String]) -> Command {
        let mut command = self.program(&self.launcher);
        command.args(words);
        command
    }

    /// CPU time of the daemon since it started; zero where there is none.
    pub fn daemon_cpu(&self) -> Result<Duration, String> {
        self.daemon.map_or(Ok(Duration::ZERO), account::of_process)
    }

    /// Process id of the daemon.
    pub fn daemon(&self) -> Option<i32> {
        self.daemon
    }

    /// Whether it is quicc.
    pub fn is_quicc(&self) -> bool {
        matches!(self.evidence, Evidence::Agent)
    }

    pub fn counts(&self) -> Result<Counts, String> {
        match &self.evidence {
            Evidence::Agent => self.counts_of_agent(),
            Evidence::Logs { server, compiled, .. } => Ok(Counts {
                remote: occurrences(server, compiled),
                ..Counts::default()
            }),
            Evidence::Statistics => self.counts_of_launcher(),
        }
    }

    fn counts_of_launcher(&self) -> Result<Counts, String> {
        let mut command = self.program(&self.launcher);
        let output = command.args(["--show-stats", "--stats-format", "json"]).output();
        let output = output.map_err(|error| format!("{}: {error}", self.launcher))?;
        let told: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("{}: {error}: {output:?}", self.launcher))?;
        let stats = &told["stats"];
        let number = |name: &str| stats[name].as_u64().unwrap_or(0);
        let compiled = stats["dist_compiles"].as_object();
        let remote = compiled.map_or(0, |servers| servers.values().filter_map(Value::as_u64).sum());
        Ok(Counts {
            remote,
            local: number("compilations").saturating_sub(remote) + number("dist_errors"),
            ..Counts::default()
        })
    }

    fn counts_of_agent(&self) -> Result<Counts, String> {
        let status = self.world.status();
        let number = |name: &str| {
            let number = status[name].as_u64();
            number.ok_or_else(|| format!("the agent's status has no {name}: {status:#}"))
        };
        let local = status["local"].as_object();
        Ok(Counts {
            remote: number("remote")?,
            local: local.map_or(0, |local| local.values().filter_map(Value::as_u64).sum()),
            up: number("bytes_up")?,
            down: number("bytes_down")?,
        })
    }

    /// An error unless exactly `units` units were compiled on a builder since `before`, and none here.
    pub fn require_remote(&self, before: &Counts, units: usize) -> Result<Counts, String> {
        let units = units as u64;
        let counted = || -> Result<Counts, String> { Ok(self.counts()?.since(before)) };
        let problem = match &self.evidence {
            Evidence::Agent => {
                let counted = counted()?;
                if counted.remote == units && counted.local == 0 {
                    return Ok(counted);
                }
                format!("the agent says {:#}", self.world.status())
            }
            Evidence::Logs { client, locally, .. } => {
                let counted = await_event("the server's word of each compile", || {
                    let counted = counted();
                    let is_all = counted.as_ref().map_or(true, |counted| counted.remote >= units);
                    let is_other = line_with(client, locally).is_some();
                    (is_all || is_other).then_some(counted)
                })?;
                let local = line_with(client, locally);
                if counted.remote == units && local.is_none() {
                    return Ok(counted);
                }
                local.unwrap_or_else(|| "its server logs another number".to_owned())
            }
            Evidence::Statistics => {
                let counted = await_event("the launcher's count of each compile", || {
                    let counted = counted();
                    let is_all = |counted: &Counts| counted.remote + counted.local >= units;
                    counted.as_ref().map_or(true, is_all).then_some(counted)
                })?;
                if counted.remote == units && counted.local == 0 {
                    return Ok(counted);
                }
                format!("it counts {counted:?}")
            }
        };
        Err(format!(
            "{}: not all of {units} units, each once, were compiled on the farm: {problem}",
            self.name
        ))
    }
}

/// How often `words` are in a file.
fn occurrences(path: &Path, words: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.matches(words).count() as u64
}

/// The first line of a file that has any of `words`.
fn line_with(path: &Path, words: &[&str]) -> Option<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut lines = text.lines();
    let line = lines.find(|line| words.iter().any(|words| line.contains(words)));
    line.map(str::to_owned)
}
