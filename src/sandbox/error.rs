//! Why a sandboxed run has no report.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::codec::CodecError;
use super::diagnosis::Obstacle;
use super::stage::Stage;

/// Why a sandboxed run has no report. None of it says anything about the source that was compiled.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Our own executable would not start.
    #[error("cannot start {} for a sandbox", quicc.display())]
    Start {
        /// The executable.
        quicc: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A user or group map was refused.
    #[error("cannot map the build user in {}", file.display())]
    MapUser {
        /// The map.
        file: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A step inside failed.
    #[error("cannot {stage}{} in a sandbox", on(path))]
    Setup {
        /// The step.
        stage: Stage,
        /// What it was done to; empty where the step has no path.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The program would not start: it or its interpreter is absent, not executable, or for another machine.
    #[error("cannot execute {} in a sandbox", program.display())]
    Exec {
        /// Its path inside.
        program: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The plan is larger than a sandbox accepts.
    #[error("plan of {bytes} bytes exceeds {bound}")]
    PlanTooLong {
        /// Its encoded size.
        bytes: u64,
        /// The largest accepted size.
        bound: u64,
    },
    /// The pipe from the sandbox failed.
    #[error("cannot hear from a sandbox")]
    Channel {
        /// What the kernel answered.
        source: io::Error,
    },
    /// The sandbox said something that is not a message.
    #[error("cannot understand a sandbox")]
    Garbled {
        /// What is wrong with it.
        source: CodecError,
    },
    /// The sandbox ended without a report: killed from outside, most likely for want of memory.
    #[error("sandbox ended without a report: {said}")]
    Vanished {
        /// The end of what it wrote to standard error.
        said: String,
    },
    /// It was ended because nobody wants its report any more.
    #[error("the run was cancelled")]
    Cancelled,
    /// The sandbox did not end when it should have.
    #[error("sandbox gave no report within {} seconds", bound.as_secs())]
    Stuck {
        /// How long it had.
        bound: Duration,
    },
    /// The directory for a trial could not be made.
    #[error("cannot make a directory for a trial sandbox")]
    Trial {
        /// What the kernel answered.
        source: io::Error,
    },
    /// This machine does not let us make sandboxes.
    #[error("this machine allows no sandbox: {obstacle}")]
    Unsupported {
        /// What is in the way; its own text names the remedy.
        obstacle: Obstacle,
        /// The step that failed.
        source: Box<Self>,
    },
}

fn on(path: &std::path::Path) -> String {
    if path.as_os_str().is_empty() {
        String::new()
    } else {
        format!(" {}", path.display())
    }
}
