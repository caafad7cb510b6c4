//! Starting an agent: one wrapper does it, the others wait for it, and a failure is remembered for a while so that
//! a build without an agent, or with one that was stopped, pays for it once.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::mark::Mark;
use super::socket::{self, ConnectError};
use crate::compile::{self, Cause};
use crate::config::env;
use crate::config::paths::Paths;
use crate::host::{limits, process};

/// How long a starting agent may take to listen; an embedded farm is up in a fraction of it.
const START: Duration = Duration::from_secs(5);
/// How long others wait for whoever starts it, who may be stopped; and how often they look.
const START_AWAITED: Duration = Duration::from_secs(6);
const START_LOOK: Duration = Duration::from_millis(20);
/// How long a failed start keeps others from trying.
const FAILURE_REMEMBERED: Duration = Duration::from_secs(10);
/// How long an agent that said nothing is not asked; then one unit asks again.
const LOST_REMEMBERED: Duration = Duration::from_secs(30);

/// Why there is no agent to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAgent {
    /// None listens, and none could be started lately.
    Absent,
    /// It listens and does not answer, or did not lately.
    Lost,
    /// Another user has the place of its socket.
    Foreign,
    /// None listens, and one that were started here would live under the limits of this call, long after it.
    Limited,
}

impl NoAgent {
    /// Stable reason code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Absent => "no-agent",
            Self::Lost => "agent-lost",
            Self::Foreign => "foreign-socket",
            Self::Limited => Cause::ResourceLimits.code(),
        }
    }
}

/// Connects to the agent, starting one when none listens.
pub fn connect_or_start(paths: &Paths) -> Result<UnixStream, NoAgent> {
    if let Some(connected) = try_connect(paths) {
        return connected;
    }
    if compile::restriction(&limits::own()).is_some() {
        return Err(NoAgent::Limited);
    }
    let failure = start_failed(paths);
    let failed_once = failure.is_there();
    if failure.counts_or_renews() {
        return Err(NoAgent::Absent);
    }
    let Some(_lock) = lock(paths) else {
        failure.set();
        return Err(NoAgent::Absent);
    };
    if let Some(connected) = try_connect(paths) {
        return connected;
    }
    // Those who waited here believe whoever tried meanwhile.
    if !failed_once && failure.counts() {
        return Err(NoAgent::Absent);
    }
    let connected = start().and_then(|()| try_connect(paths));
    match connected {
        Some(Ok(_)) => failure.clear(),
        _ => failure.set(),
    }
    connected.unwrap_or(Err(NoAgent::Absent))
}

/// `None`: nobody listens.
fn try_connect(paths: &Paths) -> Option<Result<UnixStream, NoAgent>> {
    match socket::connect(paths) {
        Ok(stream) => Some(Ok(stream)),
        Err(ConnectError::Absent) => None,
        Err(ConnectError::Foreign) => Some(Err(NoAgent::Foreign)),
        Err(ConnectError::Silent) => {
            lost(paths).set();
            Some(Err(NoAgent::Lost))
        }
    }
}

/// An agent listened and said nothing: it was stopped, say.
pub fn lost(paths: &Paths) -> Mark {
    Mark::new(paths.state.join("agent-lost"), LOST_REMEMBERED)
}

fn start_failed(paths: &Paths) -> Mark {
    Mark::new(paths.state.join("agent-start-failed"), FAILURE_REMEMBERED)
}

/// Creates the directory of our files, which only its owner may enter, and waits for the right to start an agent.
fn lock(paths: &Paths) -> Option<Flock<File>> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&paths.state)
        .ok()?;
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(paths.state.join("agent-start.lock"))
        .ok()?;
    let until = Instant::now() + START_AWAITED;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Some(lock),
            Err((file, _)) => file,
        };
        if Instant::now() >= until {
            return None;
        }
        std::thread::sleep(START_LOOK);
    }
}

/// Runs `quicc agent start`, which says one line when the agent listens and leaves nothing of ours open.
fn start() -> Option<()> {
    let executable = super::name::quicc_beside(Path::new("/proc/self/exe"))?;
    let mut command = process::command(&executable, Path::new("/"));
    command.arg("agent").arg("start").envs(env::all());
    command.env_remove(env::QUICC_LEDGER).env_remove(env::QUICC_LOCAL);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut output = child.stdout.take()?;
    let ready = readable_within(&output, START) && output.read(&mut [0; 1]).is_ok_and(|read| read == 1);
    if !ready {
        let _ = child.kill();
    }
    let status = child.wait().ok()?;
    (ready && status.success()).then_some(())
}

fn readable_within(output: &impl std::os::fd::AsFd, bound: Duration) -> bool {
    let timeout = PollTimeout::try_from(bound).unwrap_or(PollTimeout::MAX);
    let mut poll = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
    nix::poll::poll(&mut poll, timeout).is_ok_and(|ready| ready > 0)
}
