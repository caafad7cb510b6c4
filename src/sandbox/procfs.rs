//! A process file system of the new pid namespace, held open beside the job's tree.
//!
//! Works whether or not the job can see one. Never names a process by its host id.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use nix::dir::Dir;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;

use super::stage::{AtStage, Failure, Stage};

const MOUNT_POINT: &str = "/proc";

/// Largest file read from it in bytes; `vmstat` has about 5 kB.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// The open root of a process file system.
#[derive(Debug)]
pub(super) struct Procfs(OwnedFd);

impl Procfs {
    /// Covers the host's in this mount namespace. The descriptor stays good when the old root is detached.
    pub(super) fn mount() -> Result<Self, Failure> {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), MOUNT_POINT, Some("proc"), flags, None::<&str>)
            .at(Stage::MountProc, MOUNT_POINT)?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        open(MOUNT_POINT, flags, Mode::empty())
            .map(Self)
            .at(Stage::MountProc, MOUNT_POINT)
    }

    /// Replaces the content of `file`, a path below the root.
    pub(super) fn write(&self, file: &str, content: &str) -> io::Result<()> {
        let descriptor = openat(&self.0, file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        File::from(descriptor).write_all(content.as_bytes())
    }

    /// Reads `file`, a path below the root.
    pub(super) fn read(&self, file: &str) -> io::Result<Vec<u8>> {
        let descriptor = openat(&self.0, file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut content = Vec::new();
        File::from(descriptor)
            .take(MAX_FILE_BYTES)
            .read_to_end(&mut content)?;
        Ok(content)
    }

    /// The ids of all processes of the namespace.
    pub(super) fn processes(&self) -> io::Result<Vec<u32>> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut directory = Dir::openat(&self.0, ".", flags, Mode::empty())?;
        Ok(directory
            .iter()
            .filter_map(|entry| process_id(entry.ok()?.file_name()))
            .collect())
    }
}

fn process_id(name: &CStr) -> Option<u32> {
    name.to_str().ok()?.parse().ok()
}
