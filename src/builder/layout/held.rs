//! A directory of a job's own, held open. Whatever the job renames or links, the descriptor stays on the directory
//! that was made for it; names are looked up in it one component at a time and links are never followed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};

use crate::host::files::{FileError, PathContext};

/// An open directory.
#[derive(Debug)]
pub(in crate::builder) struct Held {
    handle: File,
    /// Where it was made: for messages, never to reach it.
    made_at: PathBuf,
}

/// What tells whether a name still stands for the same thing: inode numbers alone are given out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::builder) struct Occupant {
    inode: u64,
    /// `None` on file systems whose listings do not tell.
    kind: Option<Type>,
}

/// What a name of a directory was opened as.
#[derive(Debug)]
pub(in crate::builder) enum Opened {
    /// Nothing has the name.
    Absent,
    /// Something that is no regular file, or cannot be read.
    Odd,
    /// A regular file.
    File(File, fs::Metadata),
}

impl Held {
    /// Opens a directory no job has had yet.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let handle = fs::OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits())
            .open(path)
            .context("open", path)?;
        Ok(Self {
            handle,
            made_at: path.to_owned(),
        })
    }

    /// Lets its owner in again, whatever mode a job gave it.
    pub(in crate::builder) fn open_up(&self) -> Result<(), FileError> {
        self.handle
            .set_permissions(fs::Permissions::from_mode(0o700))
            .context("make accessible", &self.made_at)
    }

    /// Whether it stands in `parent` under `name`.
    pub(in crate::builder) fn is_at(&self, parent: &Self, name: &OsStr) -> Result<bool, FileError> {
        let own = self.handle.metadata().context("inspect", &self.made_at)?;
        match fstatat(&parent.handle, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(there) => Ok((there.st_dev, there.st_ino) == (own.dev(), own.ino())
                && SFlag::from_bits_truncate(there.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(io::Error::from(errno)).context("inspect", &parent.made_at.join(name)),
        }
    }

    /// Shows `visit` every name and its occupant until that has seen enough.
    pub(in crate::builder) fn list(
        &self,
        mut visit: impl FnMut(OsString, Occupant) -> ControlFlow<()>,
    ) -> Result<(), FileError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut list = || -> nix::Result<()> {
            for entry in Dir::openat(&self.handle, ".", flags, Mode::empty())? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                let occupant = Occupant {
                    inode: entry.ino(),
                    kind: entry.file_type(),
                };
                if name != b"."
                    && name != b".."
                    && visit(OsStr::from_bytes(name).to_owned(), occupant).is_break()
                {
                    break;
                }
            }
            Ok(())
        };
        list().map_err(io::Error::from).context("list", &self.made_at)
    }

    /// Opens what has `name` for reading. Waits for nothing, whatever it is.
    pub(in crate::builder) fn open_file(&self, name: &OsStr) -> Result<Opened, FileError> {
        let path = || self.made_at.join(name);
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(&self.handle, name, flags, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(Errno::ENOENT) => return Ok(Opened::Absent),
            // A link, a socket, a file of mode 000.
            Err(Errno::ELOOP | Errno::ENXIO | Errno::ENODEV | Errno::EACCES | Errno::EPERM) => {
                return Ok(Opened::Odd);
            }
            Err(errno) => return Err(io::Error::from(errno)).context("open", &path()),
        };
        let metadata = file.metadata().context("inspect", &path())?;
        Ok(if metadata.is_file() {
            Opened::File(file, metadata)
        } else {
            Opened::Odd
        })
    }

    /// Where it was made, for messages.
    pub(in crate::builder) fn made_at(&self) -> &Path {
        &self.made_at
    }
}
