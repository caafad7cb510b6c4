//! What a job left in its directories: the declared outputs, and everything that should not be there. Runs when
//! no process of the job is left. Follows no link a job made.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use quicc_protocol::message::run::After;

use super::layout::{Laid, LaidOutput, Layout, SENTINEL_BYTES, inodes};
use crate::host::files::{FileError, PathContext};

/// Undeclared files that are named; there may be more.
pub const UNEXPECTED_NAMED: usize = 16;

/// Bytes of all outputs of one job together: they are held in memory until they are sent.
pub const OUTPUTS_TOTAL: u64 = 1 << 30;

/// What a job wrote.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// One state per declared output, in order.
    pub outputs: Vec<After>,
    /// The bytes of each written output, in order.
    pub bytes: Vec<Vec<u8>>,
    /// Paths on the client of what was written without being declared, at most [`UNEXPECTED_NAMED`].
    pub unexpected: Vec<Vec<u8>>,
}

/// Why outputs cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// An output is larger than jobs may write, or all together are.
    #[error("an output is too large")]
    TooLarge,
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Reads what the job left. An output of `file_limit` bytes or more is too large: its writer may have run into
/// that limit. Blocks on the disk.
pub fn collect(layout: &Layout, file_limit: u64) -> Result<Collected, CollectError> {
    let mut collected = Collected::default();
    for laid in &layout.directories {
        note_unexpected(laid, &layout.outputs, &mut collected.unexpected)?;
    }
    let mut left = OUTPUTS_TOTAL;
    for output in &layout.outputs {
        let after = match state(output)? {
            State::Absent => After::Absent,
            State::Unchanged => After::Unchanged,
            State::Odd => {
                name(&output.client_path, &mut collected.unexpected);
                After::Absent
            }
            State::Written(file, metadata) => {
                if metadata.len() >= file_limit || metadata.len() > left {
                    return Err(CollectError::TooLarge);
                }
                left -= metadata.len();
                collected.bytes.push(read(file, metadata.len(), &output.path)?);
                let executable = metadata.mode() & 0o111 != 0;
                After::Written { executable }
            }
        };
        collected.outputs.push(after);
    }
    Ok(collected)
}

fn note_unexpected(
    laid: &Laid,
    outputs: &[LaidOutput],
    unexpected: &mut Vec<Vec<u8>>,
) -> Result<(), FileError> {
    let after = inodes(&laid.path)?;
    let is_output = |path: &Path| outputs.iter().any(|output| output.path == path);
    let changed = after
        .iter()
        .filter(|(name, inode)| laid.before.get(*name) != Some(inode))
        .chain(laid.before.iter().filter(|(name, _)| !after.contains_key(*name)))
        .filter(|(file_name, _)| !is_output(&laid.path.join(file_name)));
    for (file_name, _) in changed {
        name(&laid.client_path.join(file_name), unexpected);
    }
    Ok(())
}

fn name(path: &Path, unexpected: &mut Vec<Vec<u8>>) {
    if unexpected.len() < UNEXPECTED_NAMED {
        unexpected.push(path.as_os_str().as_bytes().to_vec());
    }
}

enum State {
    Absent,
    Unchanged,
    /// Something that is no regular file.
    Odd,
    Written(File, fs::Metadata),
}

fn state(output: &LaidOutput) -> Result<State, FileError> {
    let path = &output.path;
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Absent),
        metadata => metadata.context("inspect", path)?,
    };
    if !metadata.is_file() {
        return Ok(State::Odd);
    }
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)
        .context("open", path)?;
    let unchanged = match &output.sentinel {
        Some(sentinel) if sentinel.inode == metadata.ino() && metadata.len() == SENTINEL_BYTES as u64 => {
            let mut content = [0; SENTINEL_BYTES];
            (&file).read_exact(&mut content).context("read", path)?;
            content == sentinel.content
        }
        _ => false,
    };
    if unchanged {
        return Ok(State::Unchanged);
    }
    (&file).rewind().context("read", path)?;
    Ok(State::Written(file, metadata))
}

fn read(file: File, length: u64, path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(length).read_to_end(&mut bytes).context("read", path)?;
    Ok(bytes)
}
