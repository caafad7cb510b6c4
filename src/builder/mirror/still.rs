//! A mirror while nothing changes it: what it has and what it lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use quicc_protocol::BlobDigest;
use quicc_protocol::identifiers::EntryId;

use crate::builder::tree::{Kind, Tree};

/// What an action still needs of its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: every entry is in place.
    Nothing,
    /// These blobs' bytes, with their number.
    Blobs(BTreeMap<BlobDigest, u64>),
    /// Current entries: this one was superseded.
    Current(EntryId),
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
