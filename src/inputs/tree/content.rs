//! Reading one file so that the digest belongs to the stat tuple.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::{ContentDigest, FILE_BYTES, READ_ATTEMPTS, StatTuple, TreeError, as_path};
use crate::host::clock;
use crate::host::files::PathContext;

/// Bytes read at a time where they are only hashed.
const CHUNK: usize = 256 * 1024;

/// What the bytes are wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Their digest only: they are not kept.
    Digest,
    /// The bytes themselves.
    Scan,
}

/// One consistent reading.
pub(super) struct Reading {
    pub(super) stat: StatTuple,
    pub(super) digest: ContentDigest,
    /// Empty for [`Purpose::Digest`].
    pub(super) bytes: Vec<u8>,
    /// When it began, by the wall clock, in nanoseconds since the epoch.
    pub(super) read_at: i128,
}

/// Reads the regular file at `path`, which may not be a symlink, until its stat tuple is the same before
/// and after, at most [`READ_ATTEMPTS`] times.
pub(super) fn read(path: &[u8], purpose: Purpose) -> Result<Reading, TreeError> {
    let path = as_path(path);
    for _ in 0..READ_ATTEMPTS {
        if let Some(reading) = attempt(path, purpose)? {
            return Ok(reading);
        }
    }
    Err(TreeError::Raced {
        path: path.to_owned(),
    })
}

/// What the kernel says of the regular file at `path` once it is open, if it can be opened.
pub(super) fn stat_of_opened(path: &[u8]) -> Option<StatTuple> {
    let path = as_path(path);
    let file = open(path).ok()?;
    stat_of(&file, path).ok().filter(StatTuple::is_file)
}

fn open(path: &Path) -> Result<File, TreeError> {
    // A FIFO put in the file's place must not block us, nor a symlink lead elsewhere.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
        .context("open", path)?;
    Ok(file)
}

fn attempt(path: &Path, purpose: Purpose) -> Result<Option<Reading>, TreeError> {
    let read_at = clock::unix_nanos();
    let mut file = open(path)?;
    let before = stat_of(&file, path)?;
    if !before.is_file() {
        return Err(TreeError::NotRegular {
            path: path.to_owned(),
        });
    }
    if purpose == Purpose::Scan && before.size > FILE_BYTES {
        return Err(TreeError::FileTooLarge {
            path: path.to_owned(),
        });
    }
    let (digest, bytes, length) = read_bytes(&mut file, before.size, purpose).context("read", path)?;
    let after = stat_of(&file, path)?;
    if before != after {
        return Ok(None);
    }
    if length != before.size {
        return Err(TreeError::NotRegular {
            path: path.to_owned(),
        });
    }
    Ok(Some(Reading {
        stat: before,
        digest,
        bytes,
        read_at,
    }))
}

fn stat_of(file: &File, path: &Path) -> Result<StatTuple, TreeError> {
    Ok(StatTuple::from(&file.metadata().context("examine", path)?))
}

/// Reads one byte more than `size` at most: a file that grows is read again, not followed.
fn read_bytes(
    file: &mut File,
    size: u64,
    purpose: Purpose,
) -> std::io::Result<(ContentDigest, Vec<u8>, u64)> {
    let size = size.saturating_add(1);
    if purpose == Purpose::Scan {
        let bytes = read_whole(file, usize::try_from(size).unwrap_or(usize::MAX))?;
        let length = bytes.len() as u64;
        return Ok((*blake3::hash(&bytes).as_bytes(), bytes, length));
    }
    let mut limited = file.take(size);
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK];
    let mut length = 0;
    loop {
        let count = limited.read(&mut chunk)?;
        let Some(read) = chunk.get(..count).filter(|read| !read.is_empty()) else {
            return Ok((*hasher.finalize().as_bytes(), Vec::new(), length));
        };
        hasher.update(read);
        length += count as u64;
    }
}

/// What `file` gives, `room` bytes at most. One call will mostly do: a regular file that gives less than it is asked for
/// has ended, and whether it has grown meanwhile is asked of the kernel anyway.
fn read_whole(file: &File, room: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(room);
    while bytes.len() < room {
        match rustix::io::read(file, spare_capacity(&mut bytes)) {
            Ok(0) => break,
            Ok(_) if bytes.len() + 1 == room => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}
