//! A trial at the builder's start: can this machine make sandboxes at all?
//!
//! Never leaves anything behind, and runs no program.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::mkdtemp;

use super::diagnosis::{Settings, diagnose};
use super::error::SandboxError;
use super::identity::job_uid;
use super::plan::{Bind, Limits, Plan, Step};
use super::run::run;

/// Replaced by a name of its own for every trial.
const TEMPLATE: &str = "/tmp/quicc-trial-XXXXXX";

/// Longest time the trial's job could take, if it had one.
const TRIAL_WALL: Duration = Duration::from_secs(10);

/// What a trial found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// Host user and group of jobs; none when they run as the builder's own. See [`job_uid`].
    pub job_uid: Option<(u32, u32)>,
    /// What a sandbox costs here beside the program that runs in it.
    pub overhead: Duration,
}

/// Makes one sandbox with everything in it but a program.
///
/// # Errors
/// [`SandboxError::Unsupported`] with the obstacle and its remedy where this machine forbids it.
pub async fn probe(quicc: &Path) -> Result<Support, SandboxError> {
    let directory = TrialDirectory::make().map_err(|source| SandboxError::Trial { source })?;
    let started = Instant::now();
    match run(quicc, &trial(&directory.0)).await {
        // The kernel gets to look for the absent program only after every other step has succeeded.
        Err(SandboxError::Exec { .. }) | Ok(_) => Ok(Support {
            job_uid: job_uid(),
            overhead: started.elapsed(),
        }),
        Err(error) => Err(match diagnose(&error, &Settings::of_this_machine()) {
            Some(obstacle) => SandboxError::Unsupported {
                obstacle,
                source: Box::new(error),
            },
            None => error,
        }),
    }
}

fn trial(directory: &Path) -> Plan {
    Plan {
        root: directory.join("root"),
        output_directories: Vec::new(),
        protected: Vec::new(),
        scratch: Bind {
            source: directory.join("scratch"),
            target: PathBuf::from("/scratch"),
        },
        steps: vec![Step {
            program: PathBuf::from("/absent"),
            argv: Vec::new(),
        }],
        cwd: PathBuf::from("/"),
        env: Vec::new(),
        umask: 0o022,
        terminals: [None; 3],
        limits: Limits {
            wall: TRIAL_WALL,
            cpu: TRIAL_WALL,
            memory_bytes: 1 << 30,
            processes: 8,
            file_bytes: 0,
            output_bytes: 0,
        },
    }
}

/// Removed when dropped.
struct TrialDirectory(PathBuf);

impl TrialDirectory {
    fn make() -> io::Result<Self> {
        let made = Self(mkdtemp(TEMPLATE)?);
        for name in ["root/proc", "root/dev", "root/scratch", "scratch"] {
            fs::create_dir_all(made.0.join(name))?;
        }
        // Whatever the mask of this process: the job's user is another one.
        fs::set_permissions(made.0.join("root"), Permissions::from_mode(0o755))?;
        Ok(made)
    }
}

impl Drop for TrialDirectory {
    fn drop(&mut self) {
        // An empty tree in /tmp is not worth an error.
        let _ = fs::remove_dir_all(&self.0);
    }
}
