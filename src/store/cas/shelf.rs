//! Where blobs stand, and the account of them: what is kept, what is evicted and not removed yet. Never blocks on
//! the disk while the account is held, but for a rename.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use quicc_protocol::BlobDigest;

use crate::store::evict::Ledger;

/// The directories of the store and the account of their blobs.
#[derive(Debug)]
pub(super) struct Shelf {
    blobs: PathBuf,
    /// For what is no blob yet, or none any more.
    pub(super) temporary: PathBuf,
    state: Mutex<State>,
    removals: AtomicU64,
}

/// The account.
#[derive(Debug)]
pub(super) struct State {
    pub(super) ledger: Ledger<BlobDigest>,
    /// Blobs the ledger has forgotten whose files still stand. One that arrives again is taken out, so that it is
    /// not removed in its predecessor's place.
    pub(super) evicted: BTreeSet<BlobDigest>,
}

impl Shelf {
    pub(super) fn new(blobs: PathBuf, temporary: PathBuf, limit: u64) -> Self {
        Self {
            blobs,
            temporary,
            state: Mutex::new(State {
                ledger: Ledger::new(limit),
                evicted: BTreeSet::new(),
            }),
            removals: AtomicU64::new(0),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn path(&self, digest: &BlobDigest) -> PathBuf {
        let hex = digest.to_string();
        self.blobs.join(&hex[..2]).join(&hex[2..])
    }

    /// Removes the file of a blob that was evicted and did not come back. Blocks on the disk.
    pub(super) fn remove_evicted(&self, digest: &BlobDigest) {
        let number = self.removals.fetch_add(1, Ordering::Relaxed);
        let (path, aside) = (self.path(digest), self.temporary.join(format!("evicted{number}")));
        let mut state = self.state();
        if !state.evicted.remove(digest) {
            return;
        }
        // The name is free at once for a blob that comes back; freeing a large file's blocks takes its time.
        let moved = fs::rename(&path, &aside);
        drop(state);
        match moved {
            Ok(()) => remove(&aside),
            Err(error) => warn_unless_absent(&error, &path),
        }
    }
}

/// Unlinks a file; nothing there is success. Blocks on the disk.
pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        warn_unless_absent(&error, path);
    }
}

fn warn_unless_absent(error: &io::Error, path: &Path) {
    if error.kind() != io::ErrorKind::NotFound {
        tracing::warn!(%error, path = %path.display(), "a file of the store stays on disk");
    }
}
