//! Following one job from its start until nothing of it is left.
//!
//! Reads its output, samples what it uses, ends it at a limit. Never waits without a deadline.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::job::Job;
use super::judge::{self, Aftermath};
use super::plan::{End, Limit, Limits, Report};
use super::procfs::Procfs;
use super::reap::Children;
use super::stage::Failure;
use super::streams::{Streams, is_ready};
use super::usage::{self, Units, Usage};

/// How long killed processes may take to be gone before they are left to the end of the namespace. A process
/// that waits for a disk dies only when that answers.
const REAP_BOUND: Duration = Duration::from_secs(2);

/// How the watch ended.
#[derive(Debug)]
pub(super) enum Watched {
    /// Nothing of the job is left.
    Ended(Report),
    /// Nobody wants the job any more.
    Abandoned,
    /// A step after the first could not be started.
    Stopped(Failure),
}

/// A watch set up before the job starts, so that it misses nothing.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    procfs: &'a Procfs,
    limits: &'a Limits,
    units: Units,
    child_ended: SignalFd,
    kills_before: u64,
}

/// A job being watched.
#[derive(Debug)]
struct Running {
    children: Children,
    streams: Streams,
    _stdin: Option<File>,
    started: Instant,
    next_sample: Instant,
    peak_memory_bytes: u64,
}

/// Why a wait ended.
#[derive(Debug, Default)]
struct Woken {
    abandoned: bool,
    child_ended: bool,
    readable: Vec<usize>,
}

impl<'a> Watch<'a> {
    pub(super) fn begin(procfs: &'a Procfs, limits: &'a Limits) -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGCHLD);
        signals.thread_block()?;
        Ok(Self {
            procfs,
            limits,
            units: Units::of_this_machine(),
            child_ended: SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?,
            kills_before: usage::kills_for_memory(procfs),
        })
    }

    /// Returns when the last step of the job has ended, one has failed or was ended, or `lifeline` hangs up. In the last case whatever runs is
    /// left to the end of this process, which ends it.
    pub(super) fn follow(&self, job: Job<'_>, lifeline: BorrowedFd<'_>) -> io::Result<Watched> {
        let mut further = job.further;
        let started = Instant::now();
        let mut running = Running {
            children: Children::new(job.process),
            streams: Streams::new(job.stdout, job.stderr, judge::output_bytes(self.limits)),
            _stdin: job.stdin,
            started,
            next_sample: started + judge::interval(&Usage::default(), self.limits),
            peak_memory_bytes: 0,
        };
        loop {
            let woken = self.wait(&running, lifeline)?;
            if woken.abandoned {
                return Ok(Watched::Abandoned);
            }
            for index in woken.readable {
                running.streams.read(index)?;
            }
            if woken.child_ended {
                self.reap(&mut running.children)?;
            }
            if running.children.end() == Some(End::Exited(0)) {
                match further.start_next() {
                    Ok(Some(process)) => running.children.follow(process),
                    Ok(None) => {}
                    Err(failure) => return Ok(Watched::Stopped(failure)),
                }
            }
            if let Some(end) = running.children.end() {
                return self.conclude(running, end, true).map(Watched::Ended);
            }
            if let Some(limit) = self.exceeded(&mut running)? {
                return self
                    .conclude(running, End::LimitExceeded(limit), false)
                    .map(Watched::Ended);
            }
        }
    }

    fn wait(&self, running: &Running, lifeline: BorrowedFd<'_>) -> io::Result<Woken> {
        let deadline = running.next_sample.min(self.deadline(running));
        // Only its hanging up counts, which is reported unasked.
        let mut polled = vec![
            PollFd::new(lifeline, PollFlags::empty()),
            PollFd::new(self.child_ended.as_fd(), PollFlags::POLLIN),
        ];
        let mut streams = Vec::new();
        for (index, pipe) in running.streams.open() {
            polled.push(PollFd::new(pipe, PollFlags::POLLIN));
            streams.push(index);
        }
        match poll(&mut polled, timeout(deadline)) {
            Err(Errno::EINTR) => return Ok(Woken::default()),
            result => result?,
        };
        Ok(Woken {
            abandoned: is_ready(&polled[0]),
            child_ended: is_ready(&polled[1]),
            readable: streams
                .into_iter()
                .zip(&polled[2..])
                .filter(|(_, each)| is_ready(each))
                .map(|(index, _)| index)
                .collect(),
        })
    }

    fn deadline(&self, running: &Running) -> Instant {
        // A limit beyond the clock's range is none.
        running
            .started
            .checked_add(self.limits.wall)
            .unwrap_or(running.next_sample)
    }

    fn reap(&self, children: &mut Children) -> io::Result<()> {
        while self.child_ended.read_signal()?.is_some() {}
        children.reap()
    }

    fn exceeded(&self, running: &mut Running) -> io::Result<Option<Limit>> {
        let now = Instant::now();
        if running.streams.overflowed() {
            return Ok(Some(Limit::Output));
        }
        if now.duration_since(running.started) >= self.limits.wall {
            return Ok(Some(Limit::Wall));
        }
        if now < running.next_sample {
            return Ok(None);
        }
        let usage = usage::sample(self.procfs, self.units)?;
        running.peak_memory_bytes = running.peak_memory_bytes.max(usage.memory_bytes);
        running.next_sample = now + judge::interval(&usage, self.limits);
        Ok(judge::of_sample(&usage, self.limits))
    }

    /// Ends what is left and reports. `by_itself` tells an end that is still to be judged from one that is
    /// our own doing.
    fn conclude(&self, mut running: Running, end: End, by_itself: bool) -> io::Result<Report> {
        let wall = running.started.elapsed();
        self.end_all(&mut running.children)?;
        running.streams.drain()?;
        let ended = usage::ended()?;
        let end = if by_itself {
            self.judge(&running, end, ended.cpu)
        } else {
            end
        };
        let (stdout, stderr) = running.streams.into_bytes();
        let peak_memory_bytes = running.peak_memory_bytes.max(ended.memory_bytes);
        Ok(Report {
            end,
            stdout,
            stderr,
            cpu: ended.cpu,
            wall,
            peak_memory_bytes,
        })
    }

    fn judge(&self, running: &Running, end: End, cpu: Duration) -> End {
        let aftermath = Aftermath {
            end,
            cpu,
            too_much_output: running.streams.overflowed(),
            memory_ran_out: usage::kills_for_memory(self.procfs) != self.kills_before,
        };
        judge::of_aftermath(&aftermath, self.limits)
    }

    /// Process 1 may signal all of its namespace at once, and a process that is being forked meanwhile gets
    /// the signal too (kill(2), fork(2)).
    fn end_all(&self, children: &mut Children) -> io::Result<()> {
        match kill(Pid::from_raw(-1), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
        let deadline = Instant::now() + REAP_BOUND;
        loop {
            self.reap(children)?;
            if children.are_gone() || Instant::now() >= deadline {
                return Ok(());
            }
            let mut polled = [PollFd::new(self.child_ended.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, timeout(deadline)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Whole milliseconds until `deadline`, rounded up so that nothing is polled before its time.
fn timeout(deadline: Instant) -> PollTimeout {
    let left = deadline.saturating_duration_since(Instant::now());
    PollTimeout::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX)
}
