//! File operations whose errors name their file, and the one way to write or replace a whole file.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::OFlag;

/// An I/O error together with what was attempted on which path.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    /// What was attempted, as a verb: "read", "create".
    pub action: &'static str,
    /// The file or directory it was attempted on.
    pub path: PathBuf,
    /// What the kernel answered.
    pub source: io::Error,
}

/// Attaches an action and a path to an `io::Result`.
pub trait PathContext<T> {
    /// Turns the error into a [`FileError`] naming `action` and `path`.
    fn context(self, action: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T> PathContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|source| FileError {
            action,
            path: path.to_owned(),
            source,
        })
    }
}

static SEQUENCE: AtomicU64 = AtomicU64::new(0);

/// A name beside `path` that no other thread or process of this machine picks at the same time.
pub fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".quicc-");
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    name.push(format!("{}-{sequence}-", std::process::id()));
    name.push(
        path.file_name()
            .unwrap_or_default()
            .as_encoded_bytes()
            .get(..64)
            .map_or_else(
                || path.file_name().unwrap_or_default().to_owned(),
                |head| OsString::from(String::from_utf8_lossy(head).into_owned()),
            ),
    );
    name.push(".tmp");
    path.with_file_name(name)
}

/// Whether `directory` is one (no link to one), ours, and closed to everybody else.
pub fn is_private(directory: &Path) -> io::Result<bool> {
    let data = std::fs::symlink_metadata(directory)?;
    let ours = data.uid() == nix::unistd::geteuid().as_raw();
    Ok(ours && data.is_dir() && data.mode() & 0o7777 == 0o700)
}

/// Makes a directory only we may enter, unless it is there already; one of that name that is not so is an error.
pub fn create_private(directory: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if is_private(directory)? {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is another user's, or others may enter it",
        ))
    }
}

/// Closes a file that was written. Some file systems (NFS, FUSE, those with quotas) report only here that bytes
/// could not be stored; dropping a file loses that error.
pub fn close(file: File) -> io::Result<()> {
    // Whatever the answer, the descriptor is gone. An interrupted close has not said that all is stored.
    Ok(nix::unistd::close(file)?)
}

/// Makes `path` a new file of `bytes` with `mode` (less the umask); it must not exist. On an error a part of it may
/// be left.
pub fn create_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    close(file)
}

/// Writes `bytes` into the file at `path` in place of what is in it; its links, mode and owner stay. It must exist and be
/// no symlink. On an error a part may be written.
pub fn write_into(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)?;
    file.write_all(bytes)?;
    close(file)
}

/// Replaces `path` by a file of `bytes` with `mode` (less the umask), so that a reader sees the old
/// content or the new, never a part; nothing is left beside it on failure.
pub fn write_then_rename(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = temporary_beside(path);
    let written = create_whole(&temporary, bytes, mode).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written.context("write", path)
}

#[cfg(test)]
mod full_at_close;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_at_close_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        full_at_close::within(directory.path(), || {
            let path = directory.path().join("a.o");
            let full = Some(nix::libc::ENOSPC);
            let created = create_whole(&path, b"object", 0o644);
            assert_eq!(created.unwrap_err().raw_os_error(), full);
            let replaced = write_then_rename(&path, b"object", 0o644);
            assert_eq!(replaced.unwrap_err().source.raw_os_error(), full);
        });
    }
}
