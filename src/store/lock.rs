//! The lock that keeps two processes from one cache directory. Holds a file open; never reads or writes it.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::cas::CasError;
use crate::host::files::{FileError, PathContext};

/// Held for as long as the directory is used. The kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    _file: Flock<File>,
}

impl DirectoryLock {
    /// Locks `directory` through the file `lock` in it, or says that another process has it.
    pub(super) fn acquire(directory: &Path) -> Result<Self, CasError> {
        let path = directory.join("lock");
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .context("open", &path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { _file: file }),
            Err((_, Errno::EWOULDBLOCK)) => Err(CasError::InUse {
                directory: directory.to_owned(),
            }),
            Err((_, errno)) => Err(CasError::File(FileError {
                action: "lock",
                path,
                source: errno.into(),
            })),
        }
    }
}
