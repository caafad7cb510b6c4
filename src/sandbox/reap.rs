//! The children of process 1: the job, and every orphan of its namespace.
//!
//! Never waits for one that still runs.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::plan::End;

/// Reported for a job that a real-time signal ended: nix has no names for these and keeps the number back.
const UNNAMED_SIGNAL: i32 = 0;

/// What has become of them.
#[derive(Debug)]
pub(super) struct Children {
    job: Pid,
    end: Option<End>,
    gone: bool,
}

impl Children {
    pub(super) fn new(job: Pid) -> Self {
        Self {
            job,
            end: None,
            gone: false,
        }
    }

    /// Waits for `job` from here on: the next step, started after the last look.
    pub(super) fn follow(&mut self, job: Pid) {
        self.job = job;
        self.end = None;
    }

    /// How the job ended, once it has.
    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// Whether the last look found no child, running or ended.
    pub(super) fn are_gone(&self) -> bool {
        self.gone
    }

    /// Takes note of every child that has ended.
    pub(super) fn reap(&mut self) -> io::Result<()> {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return Ok(()),
                Ok(status) => self.note(status),
                Err(Errno::EINTR) => {}
                Err(Errno::EINVAL) => self.note_unnamed(),
                Err(Errno::ECHILD) => {
                    self.gone = true;
                    return Ok(());
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn note(&mut self, status: WaitStatus) {
        match status {
            WaitStatus::Exited(child, code) if child == self.job => {
                // wait(2) gives the low eight bits only.
                self.end = Some(End::Exited(code as u8));
            }
            WaitStatus::Signaled(child, signal, _) if child == self.job => {
                self.end = Some(End::Signaled(signal as i32));
            }
            _ => {}
        }
    }

    /// nix reaps a child that a real-time signal ended, but does not say which.
    fn note_unnamed(&mut self) {
        if self.end.is_none() && kill(self.job, None) == Err(Errno::ESRCH) {
            self.end = Some(End::Signaled(UNNAMED_SIGNAL));
        }
    }
}
