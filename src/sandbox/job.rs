//! The job as a child process: its arguments, its streams, its start.
//!
//! Started with `posix_spawn` instead of a `Command`: it alone resets the signal dispositions that the
//! builder inherited (a `nohup` in front of it would reach every compiler), keeps the environment's order, and
//! tells a program that cannot be executed from one that ran.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, chdir, pipe2};

use super::plan::Plan;
use super::stage::{AtStage, Failure, Stage};
use super::terminal::Pair;

/// File permission bits that a creation mask can take away.
const MASK_BITS: u32 = 0o777;

/// A running job.
#[derive(Debug)]
pub(super) struct Job {
    /// Its id in the namespace.
    pub(super) process: Pid,
    /// What it writes to standard output.
    pub(super) stdout: File,
    /// What it writes to standard error.
    pub(super) stderr: File,
    /// Keeps the terminal on its standard input from hanging up.
    pub(super) stdin: Option<File>,
}

impl Job {
    /// Starts the program of `plan`, as a child of this process, which takes on its working directory and its mask.
    /// `terminals` become its standard streams; where there is none, `null` or a pipe does.
    pub(super) fn start(plan: &Plan, null: &File, terminals: [Option<Pair>; 3]) -> Result<Self, Failure> {
        let argv = strings(plan.argv.iter().cloned())?;
        let env = strings(
            plan.env
                .iter()
                .map(|(name, value)| [name, &b"="[..], value].concat()),
        )?;
        let [stdin, stdout, stderr] = terminals;
        let (stdin, child_stdin) = stdin.map(|pair| (pair.ours, pair.jobs)).unzip();
        let (stdout, child_stdout) = output(stdout).at(Stage::ConnectStreams, "")?;
        let (stderr, child_stderr) = output(stderr).at(Stage::ConnectStreams, "")?;
        let child_stdin = child_stdin.as_ref().map_or(null.as_fd(), AsFd::as_fd);
        let actions = connect([child_stdin, child_stdout.as_fd(), child_stderr.as_fd()])
            .at(Stage::ConnectStreams, "")?;
        let attributes = default_signals().at(Stage::ConnectStreams, "")?;
        chdir(&plan.cwd).at(Stage::EnterDirectory, &plan.cwd)?;
        umask(Mode::from_bits_truncate(plan.umask & MASK_BITS));
        let process = posix_spawn(&plan.program, &actions, &attributes, &argv, &env)
            .map_err(|errno| Failure::Exec { errno: errno as i32 })?;
        Ok(Self {
            process,
            stdout,
            stderr,
            stdin,
        })
    }
}

/// The end an output is read from and the end it is written to.
fn output(terminal: Option<Pair>) -> nix::Result<(File, OwnedFd)> {
    if let Some(pair) = terminal {
        return Ok((pair.ours, pair.jobs));
    }
    let (read, written) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((read.into(), written))
}

fn strings(bytes: impl Iterator<Item = Vec<u8>>) -> Result<Vec<CString>, Failure> {
    bytes
        .map(|each| CString::new(each).map_err(|_| Errno::EINVAL))
        .collect::<nix::Result<_>>()
        .at(Stage::PrepareArguments, "")
}

fn connect(streams: [BorrowedFd<'_>; 3]) -> nix::Result<PosixSpawnFileActions> {
    let mut actions = PosixSpawnFileActions::init()?;
    for (number, stream) in (0..).zip(streams) {
        actions.add_dup2(stream.as_raw_fd(), number)?;
    }
    Ok(actions)
}

fn default_signals() -> nix::Result<PosixSpawnAttr> {
    let mut every = SigSet::all();
    every.remove(Signal::SIGKILL);
    every.remove(Signal::SIGSTOP);
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK
            | PosixSpawnFlags::POSIX_SPAWN_SETPGROUP,
    )?;
    attributes.set_sigdefault(&every)?;
    attributes.set_sigmask(&SigSet::empty())?;
    attributes.set_pgroup(Pid::from_raw(0))?;
    Ok(attributes)
}
