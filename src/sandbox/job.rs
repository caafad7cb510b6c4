//! The job as child processes, one after the other: arguments, streams, start.
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

use crate::host::terminal::Pair;

use super::plan::{Plan, Step};
use super::stage::{AtStage, Failure, Stage};

/// File permission bits that a creation mask can take away.
const MASK_BITS: u32 = 0o777;

/// A running job.
#[derive(Debug)]
pub(super) struct Job<'a> {
    /// The id in the namespace of the step that was started last.
    pub(super) process: Pid,
    /// What the steps write to standard output.
    pub(super) stdout: File,
    /// What the steps write to standard error.
    pub(super) stderr: File,
    /// Keeps the terminal on their standard input from hanging up.
    pub(super) stdin: Option<File>,
    /// The steps that were not started yet.
    pub(super) further: Further<'a>,
}

/// The steps of a job that were not started yet, and what all its steps share.
#[derive(Debug)]
pub(super) struct Further<'a> {
    steps: std::slice::Iter<'a, Step>,
    env: Vec<CString>,
    null: &'a File,
    /// A terminal, in the place of `null`.
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl<'a> Job<'a> {
    /// Starts the first step of `plan`, as a child of this process, which takes on its working directory and its mask.
    /// `terminals` become the standard streams of all steps; where there is none, `null` or a pipe does.
    pub(super) fn start(
        plan: &'a Plan,
        null: &'a File,
        terminals: [Option<Pair>; 3],
    ) -> Result<Self, Failure> {
        let env = strings(
            plan.env
                .iter()
                .map(|(name, value)| [name, &b"="[..], value].concat()),
        )?;
        let [stdin, stdout, stderr] = terminals;
        let (stdin, child_stdin) = stdin.map(|pair| (pair.ours, pair.programs)).unzip();
        let (stdout, child_stdout) = output(stdout).at(Stage::ConnectStreams, "")?;
        let (stderr, child_stderr) = output(stderr).at(Stage::ConnectStreams, "")?;
        chdir(&plan.cwd).at(Stage::EnterDirectory, &plan.cwd)?;
        umask(Mode::from_bits_truncate(plan.umask & MASK_BITS));
        let mut further = Further {
            steps: plan.steps.iter(),
            env,
            null,
            stdin: child_stdin,
            stdout: child_stdout,
            stderr: child_stderr,
        };
        let process = further
            .start_next()?
            .ok_or(Errno::EINVAL)
            .at(Stage::PrepareArguments, "")?;
        Ok(Self {
            process,
            stdin,
            stdout,
            stderr,
            further,
        })
    }
}

impl Further<'_> {
    /// Starts the next step; `None` when there is none.
    pub(super) fn start_next(&mut self) -> Result<Option<Pid>, Failure> {
        let Some(step) = self.steps.next() else {
            return Ok(None);
        };
        let argv = strings(step.argv.iter().cloned())?;
        let stdin = self.stdin.as_ref().map_or(self.null.as_fd(), AsFd::as_fd);
        let actions =
            connect([stdin, self.stdout.as_fd(), self.stderr.as_fd()]).at(Stage::ConnectStreams, "")?;
        let attributes = default_signals().at(Stage::ConnectStreams, "")?;
        posix_spawn(&step.program, &actions, &attributes, &argv, &self.env)
            .map(Some)
            .map_err(|errno| Failure::Exec {
                errno: errno as i32,
                program: step.program.clone(),
            })
    }
}

/// The end an output is read from and the end it is written to.
fn output(terminal: Option<Pair>) -> nix::Result<(File, OwnedFd)> {
    if let Some(pair) = terminal {
        return Ok((pair.ours, pair.programs));
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
