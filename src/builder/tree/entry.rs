//! PURE: rows of a table.

use std::collections::BTreeMap;

use quicc_protocol::BlobDigest;
use quicc_protocol::identifiers::EntryId;
use quicc_protocol::message::table::{FileTime, PoisonKind};

/// A regular file of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileEntry {
    /// Its bytes.
    pub content: BlobDigest,
    /// Their number.
    pub size: u64,
    /// Whether any execute bit is set.
    pub executable: bool,
    /// Its modification time.
    pub modified: FileTime,
    /// Names the inode: the entry of this inode that was defined first.
    pub inode: EntryId,
}

/// A directory of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Its modification time; the root's is not known.
    pub modified: Option<FileTime>,
    /// What stands in it.
    pub names: BTreeMap<Vec<u8>, Child>,
    /// `Tree::stamp` after the last change in it.
    pub changed: u64,
}

/// What a name of a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Child {
    /// An entry.
    Entry(EntryId),
    /// A name of the client that was not sent.
    Poison(PoisonKind),
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory(Directory),
    /// A regular file.
    File(FileEntry),
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The directory it stands in.
    pub parent: EntryId,
    /// Its name there.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Whether it lies below a mount point of the sandbox, where no job would see it. The mount point itself does not: it
    /// is a directory in either case.
    pub is_covered: bool,
    pub(super) depth: usize,
}

impl Directory {
    pub(super) fn new(modified: Option<FileTime>) -> Self {
        Self {
            modified,
            names: BTreeMap::new(),
            changed: 0,
        }
    }
}
