//! The job's tree: the mirror read-only, the output directories and protected paths bound over it.
//!
//! Never follows a symbolic link of the mirror out of the mirror: its content is the client's.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::plan::{Bind, Plan};
use super::stage::{AtStage, Failure, Stage};

const NOTHING: Option<&str> = None;

/// Makes the tree of `plan` in this process's mount namespace and opens its root.
pub(super) fn assemble(plan: &Plan) -> Result<OwnedFd, Failure> {
    mount(
        NOTHING,
        "/",
        NOTHING,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        NOTHING,
    )
    .at(Stage::DetachMounts, "/")?;
    let mirror = mount_root(&plan.root).at(Stage::BindRoot, &plan.root)?;
    bind(&mirror, &mirror).at(Stage::BindRoot, &plan.root)?;
    let root = open_host(&plan.root).at(Stage::BindRoot, &plan.root)?;

    let tree = Tree { plan, mirror, root };
    for output in plan.output_directories.iter().chain([&plan.scratch]) {
        tree.bind(output, confined())?;
    }
    for protected in &plan.protected {
        tree.bind(protected, confined() | MsFlags::MS_RDONLY)?;
    }
    Ok(tree.root)
}

fn mount_root(path: &Path) -> nix::Result<OwnedFd> {
    let host = open_host(path)?;
    bind(&host, &host)?;
    let mounted = open_host(path)?;
    restrict(&mounted, confined() | MsFlags::MS_RDONLY)?;
    Ok(mounted)
}

/// `mirror` is the tree before anything was bound over it, so that a protected path is the mirror's own
/// inode; `root` is the same mounted once more on top, the tree as the job will see it. Both are restricted,
/// and so is what is bound out of `mirror`, without a remount for each of many protected files.
struct Tree<'a> {
    plan: &'a Plan,
    mirror: OwnedFd,
    root: OwnedFd,
}

impl Tree<'_> {
    fn bind(&self, paths: &Bind, flags: MsFlags) -> Result<(), Failure> {
        let source = self.open_source(&paths.source).at(Stage::Bind, &paths.source)?;
        let target = open_inside(&self.root, &paths.target).at(Stage::Bind, &paths.target)?;
        bind(&source, &target).at(Stage::Bind, &paths.target)?;
        let mounted = open_inside(&self.root, &paths.target).at(Stage::Bind, &paths.target)?;
        restrict(&mounted, flags).at(Stage::Bind, &paths.target)
    }

    fn open_source(&self, source: &Path) -> nix::Result<OwnedFd> {
        match source.strip_prefix(&self.plan.root) {
            Ok(inside) if !inside.as_os_str().is_empty() => open_inside(&self.mirror, inside),
            _ => open_host(source),
        }
    }
}

fn confined() -> MsFlags {
    MsFlags::MS_NOSUID | MsFlags::MS_NODEV
}

fn open_host(path: &Path) -> nix::Result<OwnedFd> {
    open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}

/// Opens `path` as a process whose root directory is `root` would find it.
pub(super) fn open_inside(root: impl AsFd, path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, path, how)
}

/// Opens the directory `name` of `root`; none if that is absent or something else.
pub(super) fn open_directory(root: impl AsFd, name: &Path) -> nix::Result<Option<OwnedFd>> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(root, name, how) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// A path that names what `descriptor` is open on, mount included, to calls that take only paths.
pub(super) fn path_of(descriptor: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd()))
}

/// Mounts what `source` is open on over what `target` is open on.
pub(super) fn bind(source: &impl AsFd, target: &impl AsFd) -> nix::Result<()> {
    mount(
        Some(&path_of(source)),
        &path_of(target),
        NOTHING,
        MsFlags::MS_BIND,
        NOTHING,
    )
}

/// Adds `flags` to the mount whose root `mounted` is open on. Flags that came from the host are locked in a
/// user namespace: a remount without them is refused (mount_namespaces(7)).
pub(super) fn restrict(mounted: &impl AsFd, flags: MsFlags) -> nix::Result<()> {
    let present = present_flags(mounted.as_fd())?;
    if present.contains(flags) {
        return Ok(());
    }
    let remount = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    mount(
        NOTHING,
        &path_of(mounted),
        NOTHING,
        remount | present | flags,
        NOTHING,
    )
}

/// Those of the lockable flags that a remount must name; it keeps the access time flags by itself.
fn present_flags(mounted: BorrowedFd<'_>) -> nix::Result<MsFlags> {
    let present = fstatvfs(mounted)?.flags();
    let table = [
        (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    ];
    Ok(table
        .into_iter()
        .filter(|(flag, _)| present.contains(*flag))
        .map(|(_, flag)| flag)
        .collect())
}
