//! Which files of a mirror wait for which blob. Has a lock of its own, held for a look only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use quicc_protocol::BlobDigest;
use quicc_protocol::identifiers::EntryId;

/// Files by the blob they lack. At most one element per entry of the table.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<BTreeMap<BlobDigest, BTreeSet<EntryId>>>);

impl Waiting {
    /// A file waits for a blob.
    pub(super) fn add(&self, digest: BlobDigest, id: EntryId) {
        self.files_by_blob().entry(digest).or_default().insert(id);
    }

    /// A file waits no longer.
    pub(super) fn remove(&self, digest: &BlobDigest, id: EntryId) {
        let mut waiting = self.files_by_blob();
        if let Some(files) = waiting.get_mut(digest) {
            files.remove(&id);
            if files.is_empty() {
                waiting.remove(digest);
            }
        }
    }

    /// Whether any file waits for a blob.
    pub(super) fn contains(&self, digest: &BlobDigest) -> bool {
        self.files_by_blob().contains_key(digest)
    }

    /// The files that wait for a blob now.
    pub(super) fn files(&self, digest: &BlobDigest) -> Vec<EntryId> {
        let waiting = self.files_by_blob();
        waiting.get(digest).into_iter().flatten().copied().collect()
    }

    fn files_by_blob(&self) -> MutexGuard<'_, BTreeMap<BlobDigest, BTreeSet<EntryId>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
