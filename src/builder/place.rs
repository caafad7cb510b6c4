//! Puts things at a name so that a running compiler sees the old or the new, never nothing in between: staged
//! beside the visible tree, then renamed. Knows nothing of views.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmodat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use quicc_protocol::message::table::{FileTime, PoisonKind};

use crate::host::files::{FileError, PathContext};
use crate::store::discard::discard;

/// Mode of a poisoned directory: its owner may list it, nobody may look inside.
pub(super) const POISON_DIRECTORY_MODE: u32 = 0o444;

/// A directory, on the file system of the tree and private to this process, in which things are made.
#[derive(Debug)]
pub(super) struct Staging {
    directory: PathBuf,
    sequence: AtomicU64,
}

impl Staging {
    /// Uses a directory that exists.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            sequence: AtomicU64::new(0),
        }
    }

    /// A fresh name.
    pub(super) fn name(&self) -> PathBuf {
        let number = self.sequence.fetch_add(1, Ordering::Relaxed);
        self.directory.join(number.to_string())
    }

    /// Puts the staged thing at `target`, in place of whatever is there; nothing staged is left either way.
    pub(super) fn put(&self, staged: &Path, target: &Path) -> Result<(), FileError> {
        let put = match fs::rename(staged, target).map_err(errno) {
            Err(Errno::EISDIR | Errno::ENOTDIR | Errno::ENOTEMPTY | Errno::EEXIST) => {
                self.exchange(staged, target)
            }
            renamed => renamed,
        };
        // The thing it replaced, or itself after a failure or when both are one inode already.
        let left = discard(staged);
        put.map_err(io::Error::from).context("place", target)?;
        left
    }

    fn exchange(&self, staged: &Path, target: &Path) -> Result<(), Errno> {
        let swap = || renameat2(AT_FDCWD, staged, AT_FDCWD, target, RenameFlags::RENAME_EXCHANGE);
        match swap() {
            // Moving a directory elsewhere takes write permission on it, which a poisoned one lacks.
            Err(Errno::EACCES) => {
                fchmodat(
                    AT_FDCWD,
                    target,
                    Mode::S_IRUSR | Mode::S_IWUSR,
                    FchmodatFlags::NoFollowSymlink,
                )?;
                swap()
            }
            // File systems without the exchange: the name is gone for a moment.
            Err(Errno::EINVAL | Errno::ENOSYS) => self
                .remove(target)
                .map_err(|error| errno(error.source))
                .and_then(|()| fs::rename(staged, target).map_err(errno)),
            swapped => swapped,
        }
    }

    /// Removes what is at `target`, with all below it, in one step for who looks; nothing there is success.
    pub(super) fn remove(&self, target: &Path) -> Result<(), FileError> {
        let removed = match fs::remove_file(target) {
            Err(error) if matches!(errno_of(&error), Some(Errno::EISDIR | Errno::EPERM)) => {
                fs::remove_dir(target)
            }
            removed => removed,
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                let staged = self.name();
                fs::rename(target, &staged).context("move", target)?;
                discard(&staged)
            }
            removed => removed.context("remove", target),
        }
    }

    /// Puts a symbolic link at `target`.
    pub(super) fn put_link(&self, points_to: &Path, target: &Path) -> Result<(), FileError> {
        let staged = self.name();
        symlink(points_to, &staged).context("create", &staged)?;
        self.put(&staged, target)
    }

    /// Puts an empty directory of mode 0755 at `target`.
    pub(super) fn put_directory(&self, target: &Path) -> Result<(), FileError> {
        let staged = self.name();
        fs::create_dir(&staged).context("create", &staged)?;
        fs::set_permissions(&staged, fs::Permissions::from_mode(0o755))
            .context("set the mode of", &staged)?;
        self.put(&staged, target)
    }

    /// Puts poison at `target`: a link to its own name, or a directory nobody can search at any moment.
    pub(super) fn put_poison(&self, kind: PoisonKind, target: &Path) -> Result<(), FileError> {
        match kind {
            PoisonKind::Link => self.put_link(Path::new(target.file_name().unwrap_or_default()), target),
            PoisonKind::Directory => {
                let staged = self.name();
                fs::create_dir(&staged).context("create", &staged)?;
                // Writable while it is moved, never searchable.
                fs::set_permissions(&staged, fs::Permissions::from_mode(0o644))
                    .context("set the mode of", &staged)?;
                self.put(&staged, target)?;
                fs::set_permissions(target, fs::Permissions::from_mode(POISON_DIRECTORY_MODE))
                    .context("set the mode of", target)
            }
        }
    }
}

/// Gives an open file its mode and modification time.
pub(super) fn stamp_file(file: &File, mode: u32, modified: FileTime) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    let time = time_spec(modified);
    futimens(file, &time, &time).map_err(io::Error::from)
}

/// Sets a modification time without following a link.
pub(super) fn stamp_path(path: &Path, modified: FileTime) -> io::Result<()> {
    let time = time_spec(modified);
    utimensat(AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink).map_err(io::Error::from)
}

fn time_spec(time: FileTime) -> TimeSpec {
    TimeSpec::new(time.seconds, i64::from(time.nanoseconds))
}

fn errno_of(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

fn errno(error: io::Error) -> Errno {
    errno_of(&error).unwrap_or(Errno::EIO)
}
