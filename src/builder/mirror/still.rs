//! A mirror while nothing changes it: what it has and what it lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use quicc_protocol::BlobDigest;
use quicc_protocol::identifiers::EntryId;

use super::lacking::Lacking;
use crate::builder::tree::{Kind, Node, Tree};

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

/// What one entry lacks; see [`Needs`].
pub(super) enum Need {
    Nothing,
    Blob(BlobDigest, u64),
    Current,
    Covered,
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
        Lacking::new(ids.into()).look(self)
    }

    /// What one entry lacks.
    pub(super) fn need(&self, id: EntryId) -> Need {
        match self.tree.node(id) {
            None => Need::Current,
            Some(Node { is_covered: true, .. }) => Need::Covered,
            Some(Node {
                kind: Kind::File(file),
                ..
            }) if !self.is_filled(id) => Need::Blob(file.content, file.size),
            Some(_) => Need::Nothing,
        }
    }
}
