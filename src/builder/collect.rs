//! What a job left in its directories: the declared outputs, and everything that should not be there. Runs when
//! no process of the job is left. Reaches files only through the directories' own descriptors, by their last name:
//! every path here is one a job could have led elsewhere.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use quicc_protocol::limits;
use quicc_protocol::message::run::After;

use super::layout::{LaidOutput, Layout, Opened, SENTINEL_BYTES, Sentinel};
use crate::host::files::{FileError, PathContext};

/// Undeclared files that are named; there may be more.
pub const UNEXPECTED_NAMED: usize = 16;

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
    let mut unexpected = Unexpected::default();
    let in_place = in_place(layout, &mut unexpected)?;
    for (number, _) in in_place.iter().enumerate().filter(|(_, in_place)| **in_place) {
        note_unexpected(layout, number, &mut unexpected)?;
    }
    let mut left = limits::OUTCOME_OUTPUTS;
    for output in &layout.outputs {
        let opened = if in_place[output.directory] {
            layout.directories[output.directory]
                .held
                .open_file(&output.name)?
        } else {
            Opened::Absent
        };
        let after = match opened {
            Opened::Absent => After::Absent,
            Opened::Odd => {
                unexpected.name(&output.client_path);
                After::Absent
            }
            Opened::File(file, metadata) if is_untouched(&file, &metadata, output)? => After::Unchanged,
            Opened::File(file, metadata) => {
                if metadata.len() >= file_limit || metadata.len() > left {
                    return Err(CollectError::TooLarge);
                }
                left -= metadata.len();
                collected.bytes.push(read(file, metadata.len(), output)?);
                let executable = metadata.mode() & 0o111 != 0;
                After::Written { executable }
            }
        };
        collected.outputs.push(after);
    }
    collected.unexpected = unexpected.0.into_iter().collect();
    Ok(collected)
}

/// The first few paths that should not be there.
#[derive(Default)]
struct Unexpected(BTreeSet<Vec<u8>>);

impl Unexpected {
    fn name(&mut self, path: &Path) {
        if !self.is_full() {
            self.0.insert(path.as_os_str().as_bytes().to_vec());
        }
    }

    fn is_full(&self) -> bool {
        self.0.len() >= UNEXPECTED_NAMED
    }
}

/// Which directories are where they were made. What lies in one that was moved is not at its path any more, and
/// counts as moved too.
fn in_place(layout: &Layout, unexpected: &mut Unexpected) -> Result<Vec<bool>, FileError> {
    let mut in_place = Vec::with_capacity(layout.directories.len());
    for laid in &layout.directories {
        laid.held.open_up()?;
        let is_in_place = match &laid.place {
            None => true,
            Some((parent, name)) => {
                in_place[*parent] && laid.held.is_at(&layout.directories[*parent].held, name)?
            }
        };
        if !is_in_place {
            unexpected.name(&laid.client_path);
        }
        in_place.push(is_in_place);
    }
    Ok(in_place)
}

/// Names what differs from before the run in one directory.
fn note_unexpected(layout: &Layout, number: usize, unexpected: &mut Unexpected) -> Result<(), FileError> {
    let laid = &layout.directories[number];
    let is_output = |name: &OsStr| {
        let mut outputs = layout.outputs.iter();
        outputs.any(|output| output.directory == number && output.name == name)
    };
    let mut gone: BTreeSet<&OsStr> = laid.before.keys().map(|name| name.as_os_str()).collect();
    laid.held.list(|name, occupant| {
        gone.remove(&*name);
        if laid.before.get(&name) != Some(&occupant) && !is_output(&name) {
            unexpected.name(&laid.client_path.join(name));
        }
        if unexpected.is_full() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    for name in gone.into_iter().filter(|name| !is_output(name)) {
        unexpected.name(&laid.client_path.join(name));
    }
    Ok(())
}

/// Whether a file is the stand-in that was laid. Leaves the file at its beginning.
fn is_untouched(
    mut file: &File,
    metadata: &std::fs::Metadata,
    output: &LaidOutput,
) -> Result<bool, FileError> {
    let is_stand_in =
        |sentinel: &&Sentinel| sentinel.inode == metadata.ino() && metadata.len() == SENTINEL_BYTES as u64;
    let Some(sentinel) = output.sentinel.as_ref().filter(is_stand_in) else {
        return Ok(false);
    };
    let mut content = [0; SENTINEL_BYTES];
    file.read_exact(&mut content)
        .and_then(|()| file.rewind())
        .context("read", &output.client_path)?;
    Ok(content == sentinel.content)
}

fn read(file: File, length: u64, output: &LaidOutput) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(length)
        .read_to_end(&mut bytes)
        .context("read", &output.client_path)?;
    Ok(bytes)
}
