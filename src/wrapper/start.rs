//! Starting an agent: one wrapper does it, the others wait for it, and a failure is remembered for a while so that
//! a build without an agent pays for it once.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::config::env;
use crate::config::paths::Paths;
use crate::host::process;

/// How long a starting agent may take to listen; an embedded farm is up in a fraction of it.
const START: Duration = Duration::from_secs(5);
/// How long a failed start keeps others from trying.
const FAILURE_REMEMBERED: Duration = Duration::from_secs(10);

/// Connects to the agent, starting one when none listens. `None`: there is none to be had now.
pub fn connect_or_start(paths: &Paths) -> Option<UnixStream> {
    if let Ok(stream) = UnixStream::connect(&paths.socket) {
        return Some(stream);
    }
    if recently_failed(paths) {
        return None;
    }
    let _lock = lock(paths)?;
    if let Ok(stream) = UnixStream::connect(&paths.socket) {
        return Some(stream);
    }
    if recently_failed(paths) {
        return None;
    }
    let stream = start().and_then(|()| UnixStream::connect(&paths.socket).ok());
    match stream {
        Some(_) => drop(std::fs::remove_file(failure_mark(paths))),
        None => drop(File::create(failure_mark(paths))),
    }
    stream
}

fn failure_mark(paths: &Paths) -> std::path::PathBuf {
    paths.state.join("agent-start-failed")
}

fn recently_failed(paths: &Paths) -> bool {
    let modified = std::fs::metadata(failure_mark(paths)).and_then(|data| data.modified());
    // A mark from the future (a clock set back) does not count.
    modified.is_ok_and(|time| {
        SystemTime::now()
            .duration_since(time)
            .is_ok_and(|age| age < FAILURE_REMEMBERED)
    })
}

/// Creates the directories only their owner may enter, and waits for the right to start an agent.
fn lock(paths: &Paths) -> Option<Flock<File>> {
    for directory in [Some(paths.state.as_path()), paths.socket.parent()]
        .into_iter()
        .flatten()
    {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .ok()?;
    }
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(paths.state.join("agent-start.lock"))
        .ok()?;
    Flock::lock(file, FlockArg::LockExclusive).ok()
}

/// Runs `quicc agent start`, which says one line when the agent listens and leaves nothing of ours open.
fn start() -> Option<()> {
    let executable = std::fs::read_link("/proc/self/exe").ok()?;
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
