//! File operations whose errors name their file, and the one way to replace a file.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

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

/// Replaces `path` by a file of `bytes` with `mode` (less the umask), so that a reader sees the old
/// content or the new, never a part; nothing is left beside it on failure.
pub fn write_then_rename(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = temporary_beside(path);
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written.context("write", path)
}
