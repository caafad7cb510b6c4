//! A mirror while nothing changes it: what it has and what it lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use quicc_protocol::BlobDigest;
use quicc_protocol::identifiers::{EntryId, ROOT};

use crate::builder::tree::{Kind, Node, Tree, is_mount_point};

/// What an action still needs of its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: every entry is in place.
    Nothing,
    /// These blobs' bytes, with their number.
    Blobs(BTreeMap<BlobDigest, u64>),
    /// Current entries: this one was superseded.
    Current(EntryId),
    /// Another place: the sandbox mounts over this one, and no job would see it.
    Covered(EntryId),
}

/// A mirror at rest.
#[derive(Debug)]
pub struct Still<'a> {
    /// Its entries.
    pub tree: &'a Tree,
    /// Its directory on this machine.
    pub root: &'a Path,
    pub(super) filled: &'a BTreeSet<EntryId>,
}

impl Still<'_> {
    /// Whether a file has its bytes; without them it is poison.
    pub fn is_filled(&self, id: EntryId) -> bool {
        self.filled.contains(&id)
    }

    /// What these entries lack.
    pub fn needs(&self, ids: &[EntryId]) -> Needs {
        let mut blobs = BTreeMap::new();
        for &id in ids {
            match self.tree.node(id).map(|node| &node.kind) {
                None => return Needs::Current(id),
                Some(_) if is_covered(self.tree, id) => return Needs::Covered(id),
                Some(Kind::File(file)) if !self.is_filled(id) => {
                    blobs.insert(file.content, file.size);
                }
                Some(_) => {}
            }
        }
        if blobs.is_empty() {
            Needs::Nothing
        } else {
            Needs::Blobs(blobs)
        }
    }
}

/// Whether an entry lies below a mount point. The mount point itself is a directory in either case.
fn is_covered(tree: &Tree, id: EntryId) -> bool {
    let parent = |node: &Node| tree.node(node.parent).filter(|_| node.parent != ROOT);
    let above = tree.node(id).and_then(parent);
    std::iter::successors(above, |node| parent(node)).any(|node| is_mount_point(node.parent, &node.name))
}
