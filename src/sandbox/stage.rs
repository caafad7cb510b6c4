//! The steps of setting a sandbox up, and the failure of one.
//!
//! Never performs a step.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// A step of setting a sandbox up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Closing what the builder itself had inherited.
    CloseDescriptors,
    /// Making the namespaces.
    Unshare,
    /// Receiving the plan.
    ReceivePlan,
    /// Taking the mounts out of the host's sight.
    DetachMounts,
    /// Binding the mirror.
    BindRoot,
    /// Binding an output, protected or scratch path.
    Bind,
    /// Becoming the user the job runs as.
    ChangeUser,
    /// Starting process 1.
    StartSupervisor,
    /// Naming the host.
    NameHost,
    /// Mounting the process file system.
    MountProc,
    /// Making the devices.
    MountDevices,
    /// Making the mirror the root.
    ChangeRoot,
    /// Giving up every capability.
    DropPrivileges,
    /// Setting resource limits.
    SetLimits,
    /// Entering the working directory.
    EnterDirectory,
    /// Making the argument and environment strings.
    PrepareArguments,
    /// Opening a terminal for the job.
    OpenTerminal,
    /// Connecting the job's standard streams.
    ConnectStreams,
    /// Waiting for the job.
    Watch,
}

impl Stage {
    const ALL: [(Self, &str); 19] = [
        (Self::CloseDescriptors, "close inherited descriptors"),
        (Self::Unshare, "make namespaces"),
        (Self::ReceivePlan, "receive the plan"),
        (Self::DetachMounts, "detach the mounts from the host's"),
        (Self::BindRoot, "bind the root"),
        (Self::Bind, "bind"),
        (Self::ChangeUser, "become the build user"),
        (Self::StartSupervisor, "start the supervisor"),
        (Self::NameHost, "name the host"),
        (Self::MountProc, "mount the process file system"),
        (Self::MountDevices, "make the devices"),
        (Self::ChangeRoot, "change the root"),
        (Self::DropPrivileges, "drop privileges"),
        (Self::SetLimits, "set resource limits"),
        (Self::EnterDirectory, "enter the working directory"),
        (Self::PrepareArguments, "prepare the arguments"),
        (Self::OpenTerminal, "open a terminal"),
        (Self::ConnectStreams, "connect the standard streams"),
        (Self::Watch, "watch the job"),
    ];

    pub(super) fn code(self) -> u8 {
        self as u8
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).map(|(stage, _)| *stage)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, words) = Self::ALL[usize::from(self.code())];
        formatter.write_str(words)
    }
}

/// Why the job was not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A step failed on `path`, which is empty where the step has none.
    Setup { stage: Stage, errno: i32, path: PathBuf },
    /// The kernel would not execute `program`.
    Exec { errno: i32, program: PathBuf },
}

/// Says which step a failed call belongs to.
pub(super) trait AtStage<T> {
    /// Makes the error a [`Failure`] of `stage` on `path`.
    fn at(self, stage: Stage, path: impl AsRef<Path>) -> Result<T, Failure>;
}

impl<T> AtStage<T> for nix::Result<T> {
    fn at(self, stage: Stage, path: impl AsRef<Path>) -> Result<T, Failure> {
        self.map_err(|errno| Failure::Setup {
            stage,
            errno: errno as i32,
            path: path.as_ref().to_owned(),
        })
    }
}

impl<T> AtStage<T> for io::Result<T> {
    fn at(self, stage: Stage, path: impl AsRef<Path>) -> Result<T, Failure> {
        self.map_err(|error| {
            let errno = error.raw_os_error().unwrap_or(Errno::EPROTO as i32);
            Failure::Setup {
                stage,
                errno,
                path: path.as_ref().to_owned(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_codes() {
        for (position, (stage, _)) in Stage::ALL.iter().enumerate() {
            assert_eq!(usize::from(stage.code()), position);
            assert_eq!(Stage::from_code(stage.code()), Some(*stage));
        }
        assert_eq!(Stage::from_code(Stage::ALL.len() as u8), None);
    }
}
