//! `/dev` of a sandbox: the devices a compiler may ask for and the names of its own descriptors.
//!
//! Never makes a device node, which no user namespace may: the host's own are bound.

use std::fs::{File, Permissions, set_permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;

use super::mounts;
use super::stage::{AtStage, Failure, Stage};

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Covers `/dev` of the tree whose root is `root`, if it has that directory, from the host's `/dev`. The
/// cover ends up read-only, because the job has the user id that owns it.
pub(super) fn mount_in(root: &impl AsFd) -> Result<(), Failure> {
    let directory = Path::new("dev");
    let Some(covered) = mounts::open_directory(root, directory).at(Stage::MountDevices, directory)? else {
        return Ok(());
    };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(
        Some("tmpfs"),
        &mounts::path_of(&covered),
        Some("tmpfs"),
        flags,
        Some("size=64k,nr_inodes=32"),
    )
    .at(Stage::MountDevices, directory)?;
    let cover = mounts::open_inside(root, directory).at(Stage::MountDevices, directory)?;
    let path = mounts::path_of(&cover);
    for device in DEVICES {
        bind_device(device, &path.join(device))?;
    }
    for (name, target) in LINKS {
        symlink(target, path.join(name)).at(Stage::MountDevices, name)?;
    }
    set_permissions(&path, Permissions::from_mode(0o755)).at(Stage::MountDevices, directory)?;
    mounts::restrict(&cover, flags | MsFlags::MS_RDONLY).at(Stage::MountDevices, directory)
}

fn bind_device(device: &str, target: &Path) -> Result<(), Failure> {
    let host = Path::new("/dev").join(device);
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let source = open(&host, flags, Mode::empty()).at(Stage::MountDevices, &host)?;
    let file = File::create(target).at(Stage::MountDevices, &host)?;
    mounts::bind(&source, &file).at(Stage::MountDevices, &host)
}
