//! PURE: what a mirror takes of the disk, as far as its quota is concerned.

use std::collections::BTreeSet;

use quicc_protocol::identifiers::{EntryId, ROOT};
use quicc_protocol::message::table::TableRecord;

use crate::builder::tree::{Child, Kind, Tree, is_mount_point};

/// What any name takes: a directory, a link, poison, and a file before its second block. File systems keep files
/// in such blocks, and inodes are no more plentiful than blocks.
pub(super) const BLOCK: u64 = 4096;

/// Blocks of a mirror.
#[derive(Debug, Default)]
pub(super) struct Usage {
    names: u64,
    /// Bytes of files beyond the one block of their names.
    beyond: u64,
}

impl Usage {
    /// All of it, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.names * BLOCK + self.beyond
    }

    /// Whether a file whose name is counted can be given `size` bytes within `limit`.
    pub(super) fn has_room(&self, size: u64, limit: u64) -> bool {
        self.bytes().saturating_add(beyond(size)) <= limit
    }

    /// A file has its bytes.
    pub(super) fn filled(&mut self, size: u64) {
        self.beyond += beyond(size);
    }

    /// A file with its bytes is gone.
    pub(super) fn emptied(&mut self, size: u64) {
        self.beyond = self.beyond.saturating_sub(beyond(size));
    }

    /// A record was applied that touched so many names before and after.
    pub(super) fn named(&mut self, before: u64, after: u64) {
        self.names = (self.names + after).saturating_sub(before);
    }
}

fn beyond(size: u64) -> u64 {
    size.div_ceil(BLOCK).saturating_sub(1) * BLOCK
}

/// The directory whose names a record changes.
pub(super) fn directory_of(tree: &Tree, record: &TableRecord) -> Option<EntryId> {
    match record {
        TableRecord::Define { parent, .. }
        | TableRecord::Poison { parent, .. }
        | TableRecord::Cure { parent, .. } => Some(*parent),
        TableRecord::Remove { id } => tree.node(*id).filter(|_| *id != ROOT).map(|node| node.parent),
    }
}

/// Names in a directory.
pub(super) fn names_in(tree: &Tree, directory: Option<EntryId>) -> u64 {
    let directory = directory.and_then(|id| tree.directory(id));
    directory.map_or(0, |directory| directory.names.len() as u64)
}

/// Names below the entries that `record`, once applied, takes away.
pub(super) fn names_below_displaced(tree: &Tree, record: &TableRecord) -> u64 {
    displaced(tree, record)
        .into_iter()
        .map(|id| names_below(tree, id))
        .sum()
}

fn displaced(tree: &Tree, record: &TableRecord) -> BTreeSet<EntryId> {
    let entry_at = |parent: EntryId, name: &[u8]| match tree.directory(parent)?.names.get(name)? {
        Child::Entry(id) => Some(*id),
        Child::Poison(_) => None,
    };
    match record {
        TableRecord::Define { parent, name, .. } => entry_at(*parent, name).into_iter().collect(),
        TableRecord::Remove { id } => BTreeSet::from([*id]),
        TableRecord::Poison { parent, names } => names
            .iter()
            .filter(|(name, _)| !is_mount_point(*parent, name))
            .filter_map(|(name, _)| entry_at(*parent, name))
            .collect(),
        TableRecord::Cure { .. } => BTreeSet::new(),
    }
}

fn names_below(tree: &Tree, id: EntryId) -> u64 {
    let mut directories = vec![id];
    let mut count = 0;
    while let Some(id) = directories.pop() {
        let Some(directory) = tree.directory(id) else {
            continue;
        };
        count += directory.names.len() as u64;
        let is_directory =
            |id: &EntryId| matches!(tree.node(*id).map(|node| &node.kind), Some(Kind::Directory(_)));
        directories.extend(directory.names.values().filter_map(|child| match child {
            Child::Entry(id) if is_directory(id) => Some(*id),
            _ => None,
        }));
    }
    count
}
