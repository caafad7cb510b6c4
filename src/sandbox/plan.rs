//! What one sandboxed run is asked to do and what it reports, as plain data.
//!
//! Never opens, checks or starts anything.

use std::path::PathBuf;
use std::time::Duration;

pub use crate::host::terminal::Terminal;

/// Most bytes of standard output and error together that a run keeps, whatever [`Limits::output_bytes`] says.
pub const MAX_OUTPUT_BYTES: u64 = 256 << 20;

/// A host file or directory that appears inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Path on the host. Below [`Plan::root`] its symbolic links are followed as the job would follow them.
    pub source: PathBuf,
    /// Absolute path inside; it exists there, as a directory or a file like the source. Symbolic links are
    /// followed as the job would follow them, so that none leads out of the root.
    pub target: PathBuf,
}

/// One program of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Path of the program inside.
    pub program: PathBuf,
    /// Arguments with `argv[0]`, which need not be the program's path. None contains a zero byte.
    pub argv: Vec<Vec<u8>>,
}

/// One run: which tree it sees, what it may write, which programs it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Tree on the host that becomes `/`: read-only, no set-user-id, no devices. Where it has directories
    /// `/proc` and `/dev`, they get a process file system of the sandbox's own and the harmless devices. The
    /// job reads it with the rights of [`job_uid`](super::job_uid); the directories above it do not matter.
    pub root: PathBuf,
    /// Directories the job may write, bound in this order: parents before children.
    pub output_directories: Vec<Bind>,
    /// Files or directories bound read-only in this order, after the output directories and over them.
    pub protected: Vec<Bind>,
    /// Directory for temporary files; its target is an empty directory of the root.
    pub scratch: Bind,
    /// What to run, at least one, one after the other; the first that does not exit with 0 is the last. They share
    /// limits, streams, scratch directory and environment.
    pub steps: Vec<Step>,
    /// Working directory inside.
    pub cwd: PathBuf,
    /// The whole environment, in order. No name contains `=`, nothing a zero byte.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// File mode creation mask, of which the low nine bits count.
    pub umask: u32,
    /// Which of standard input, output and error are terminals. An input that is none is empty; outputs that are
    /// none are pipes.
    pub terminals: [Option<Terminal>; 3],
    /// What the run may use.
    pub limits: Limits,
}

/// What a run may use before it is ended. Sampled limits can be overshot by what is used between two samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the start of the first program to the end of the last.
    pub wall: Duration,
    /// User and system time of all processes together; sampled.
    pub cpu: Duration,
    /// Resident memory of all processes together; sampled. Pages that processes share count for each.
    pub memory_bytes: u64,
    /// Processes alive at once; sampled. Threads are bounded too, by a multiple of this.
    pub processes: u32,
    /// Largest file a process may write (`RLIMIT_FSIZE`). A compiler driver reports a tool that ran into it
    /// as a failed compile, so the reader of the outputs treats a file of this size as exceeded.
    pub file_bytes: u64,
    /// Standard output and standard error together, at most [`MAX_OUTPUT_BYTES`].
    pub output_bytes: u64,
}

/// What a run left, once every process of it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How the last program that was started ended.
    pub end: End,
    /// Everything written to standard output, up to the limit.
    pub stdout: Vec<u8>,
    /// Everything written to standard error, up to the limit.
    pub stderr: Vec<u8>,
    /// User and system time of all processes.
    pub cpu: Duration,
    /// From the start of the first program to the end of the last.
    pub wall: Duration,
    /// Highest sample of the memory of all processes, or the largest single process if that was more.
    pub peak_memory_bytes: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The program exited with this code.
    Exited(u8),
    /// This signal ended the program; 0 stands for a real-time signal.
    Signaled(i32),
    /// The sandbox ended the run, or a process of it was ended for want of something. Says nothing about the
    /// source that was compiled.
    LimitExceeded(Limit),
}

/// What ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`Limits::wall`].
    Wall,
    /// [`Limits::cpu`].
    Cpu,
    /// [`Limits::memory_bytes`], or the machine's memory.
    Memory,
    /// [`Limits::processes`].
    Processes,
    /// [`Limits::file_bytes`], where the program itself ran into it.
    File,
    /// [`Limits::output_bytes`].
    Output,
}
