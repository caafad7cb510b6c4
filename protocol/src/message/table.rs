//! Agent to builder: the table that keeps a mirror equal to a view.
//!
//! One ordered stream per view and builder: [`TableOpen`], then [`TableRecords`] for as long as it lasts. The
//! *position* is the number of records sent; an action waits for the position it names, never for bytes of
//! blobs it does not name.

use bincode::{Decode, Encode};

use super::{Extensions, is_entry_name, message};
use crate::BlobDigest;
use crate::identifiers::{EntryId, ROOT, ViewId};
use crate::limits;

/// Opens a table, on any connection of the client's. The builder forgets what it knew of the view, unless an extension
/// says where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TableOpen {
    /// Whose files.
    pub view: ViewId,
    /// Counts the tables of this view, upwards: ids of one epoch mean nothing in another.
    pub epoch: u64,
    /// Later additions.
    pub extensions: Extensions,
}
message!(TableOpen, 20, CONTROL_PAYLOAD);

/// Extension of [`TableOpen`]: eight bytes, little endian, the number of records of the epoch that the stream leaves out
/// because the builder has them. Without it the table is told from its first record.
const RESUMES_BEHIND: u16 = 1;

impl TableOpen {
    /// Opens a table from its first record or, with `resumes_behind`, goes on behind that many of them.
    pub fn new(view: ViewId, epoch: u64, resumes_behind: Option<u64>) -> Self {
        let extension = |position: u64| (RESUMES_BEHIND, position.to_le_bytes().to_vec());
        Self {
            view,
            epoch,
            extensions: resumes_behind.map(extension).into_iter().collect(),
        }
    }

    /// How many records the stream leaves out; `None` for a table that is told from its first. An error is the rule
    /// that the message breaks.
    pub fn resumes_behind(&self) -> Result<Option<u64>, &'static str> {
        let mut extensions = self.extensions.iter();
        let Some((_, bytes)) = extensions.find(|(number, _)| *number == RESUMES_BEHIND) else {
            return Ok(None);
        };
        let bytes: [u8; 8] = bytes[..]
            .try_into()
            .map_err(|_| "a position to resume from has eight bytes")?;
        Ok(Some(u64::from_le_bytes(bytes)))
    }
}

/// A modification time as `stat` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct FileTime {
    /// Seconds since 1970; negative before.
    pub seconds: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// What an entry is on the client.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum EntryKind {
    /// A directory.
    Directory {
        /// Its modification time.
        modified: FileTime,
    },
    /// A regular file.
    File {
        /// Its content.
        content: BlobDigest,
        /// Its length in bytes.
        size: u64,
        /// Whether any execute bit is set.
        executable: bool,
        /// Its modification time.
        modified: FileTime,
        /// An earlier entry that is the same inode on the client: clang knows files by inode.
        same_inode_as: Option<EntryId>,
    },
    /// A symbolic link with its literal target.
    Symlink {
        /// What `readlink` gives.
        target: Vec<u8>,
    },
}

/// How a name that exists on the client and was not sent is made to fail loudly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum PoisonKind {
    /// For what is no directory: a symbolic link to itself; opening it gives `ELOOP`.
    Link,
    /// For a directory: one that cannot be searched; looking inside gives `EACCES`.
    Directory,
}

/// One change of the mirror.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum TableRecord {
    /// `parent/name` is this now, under a new id; whatever had the name before is superseded, with all below it.
    Define {
        /// A new id.
        id: EntryId,
        /// A directory's id, or [`ROOT`].
        parent: EntryId,
        /// The entry's name in it.
        name: Vec<u8>,
        /// What it is.
        kind: EntryKind,
    },
    /// The entry is gone from the client, with all below it.
    Remove {
        /// Which entry.
        id: EntryId,
    },
    /// Names that exist in a directory of the client and are not entries.
    Poison {
        /// The directory.
        parent: EntryId,
        /// Its names.
        names: Vec<(Vec<u8>, PoisonKind)>,
    },
    /// Poisoned names that no longer exist on the client.
    Cure {
        /// The directory.
        parent: EntryId,
        /// Its names.
        names: Vec<Vec<u8>>,
    },
}

/// The next changes, in order.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TableRecords {
    /// The changes.
    pub records: Vec<TableRecord>,
}
message!(TableRecords, 21, RUN_PAYLOAD, broken_rule);

fn broken_rule(message: &TableRecords) -> Option<&'static str> {
    message.records.iter().find_map(record_rule)
}

fn record_rule(record: &TableRecord) -> Option<&'static str> {
    match record {
        TableRecord::Define { id, name, kind, .. } => define_rule(*id, name, kind),
        TableRecord::Remove { id } => (*id == ROOT).then_some("the root cannot be removed"),
        TableRecord::Poison { names, .. } => name_rule(names.iter().map(|(name, _)| name)),
        TableRecord::Cure { names, .. } => name_rule(names.iter()),
    }
}

fn define_rule(id: EntryId, name: &Vec<u8>, kind: &EntryKind) -> Option<&'static str> {
    if id == ROOT || id >= limits::TABLE_ENTRIES {
        return Some("an entry id is out of range");
    }
    let kind_rule = match kind {
        EntryKind::Directory { modified } => time_rule(*modified),
        EntryKind::File { size, .. } if *size > limits::BLOB => Some("a file exceeds the size of a blob"),
        EntryKind::File { modified, .. } => time_rule(*modified),
        EntryKind::Symlink { target } => {
            (target.is_empty() || target.len() > limits::PATH || target.contains(&0))
                .then_some("a link's target is no path")
        }
    };
    kind_rule.or_else(|| name_rule(std::iter::once(name)))
}

fn time_rule(time: FileTime) -> Option<&'static str> {
    (time.nanoseconds >= 1_000_000_000).then_some("nanoseconds exceed a second")
}

fn name_rule<'a>(mut names: impl Iterator<Item = &'a Vec<u8>>) -> Option<&'static str> {
    names
        .any(|name| !is_entry_name(name))
        .then_some("an entry's name is no path component")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_resumes_where_it_says() {
        let open = |extensions| TableOpen {
            view: ViewId([3; 16]),
            epoch: 2,
            extensions,
        };
        for position in [None, Some(0), Some(0x0102), Some(u64::MAX)] {
            let open = TableOpen::new(ViewId([3; 16]), 2, position);
            assert_eq!(open.resumes_behind(), Ok(position));
        }
        let bytes = vec![2, 1, 0, 0, 0, 0, 0, 0];
        let written = open(vec![(9, vec![]), (RESUMES_BEHIND, bytes)]);
        assert_eq!(written.resumes_behind(), Ok(Some(0x0102)));
        assert_eq!(open(vec![(9, vec![])]).resumes_behind(), Ok(None));
        assert!(open(vec![(RESUMES_BEHIND, vec![1; 7])]).resumes_behind().is_err());
    }
}
