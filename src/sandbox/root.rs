//! The step from the host's tree into the job's.
//!
//! Never leaves a way back: the old root is detached before anything of the client's runs.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, pivot_root, sethostname};

use super::devices;
use super::mounts;
use super::procfs::Procfs;
use super::stage::{AtStage, Failure, Stage};

/// What every job is told its machine is called.
const HOST_NAME: &str = "quicc";

/// What the supervisor keeps of the world outside the job's tree.
#[derive(Debug)]
pub(super) struct Kept {
    /// The processes of the namespace.
    pub(super) procfs: Procfs,
    /// The host's `/dev/null`, open for reading.
    pub(super) null: File,
}

/// Makes the current directory, the root of a mount, the root of this process and its namespace.
pub(super) fn enter() -> Result<Kept, Failure> {
    sethostname(HOST_NAME).at(Stage::NameHost, HOST_NAME)?;
    let null = File::open("/dev/null").at(Stage::ConnectStreams, "/dev/null")?;
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let root = open(".", flags, Mode::empty()).at(Stage::ChangeRoot, ".")?;
    let procfs = Procfs::mount()?;
    mount_procfs_in(&root)?;
    devices::mount_in(&root)?;
    pivot()?;
    Ok(Kept { procfs, null })
}

/// The job's own view of its processes is read-only: nothing it could write there is a compiler's business.
fn mount_procfs_in(root: &impl AsFd) -> Result<(), Failure> {
    let directory = Path::new("proc");
    let Some(covered) = mounts::open_directory(root, directory).at(Stage::MountProc, directory)? else {
        return Ok(());
    };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    mount(
        Some("proc"),
        &mounts::path_of(&covered),
        Some("proc"),
        flags,
        None::<&str>,
    )
    .at(Stage::MountProc, directory)
}

/// With both arguments `.` the old root ends up on top of the new one, from where it is detached
/// (pivot_root(2), "pivot_root(\".\", \".\")").
fn pivot() -> Result<(), Failure> {
    pivot_root(".", ".")
        .and_then(|()| umount2(".", MntFlags::MNT_DETACH))
        .and_then(|()| chdir("/"))
        .at(Stage::ChangeRoot, "/")
}
