//! The content-addressed store: blobs by BLAKE3 under `cas/<2 hex>/<62 hex>` of a cache directory.
//!
//! A blob stands under its name only when it is whole and its digest was checked; a copy out is checked again,
//! since a power cut may leave a renamed file without its bytes. Files of the store are never linked elsewhere:
//! what a compiler could tell apart or a job could write is always a copy.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quicc_protocol::BlobDigest;

use self::removal::Remover;
use self::shelf::Shelf;
pub use self::writer::Writer;
use super::discard::discard;
use super::evict::NoRoom;
use super::lock::DirectoryLock;
use crate::host::files::{FileError, PathContext};

mod removal;
mod shelf;
mod writer;

/// Bytes read at once while copying out.
const COPY_BUFFER: usize = 128 << 10;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CasError {
    /// Another process has the cache directory.
    #[error("another builder uses the cache directory {}", directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// The file system refused; a full disk is among the causes.
    #[error(transparent)]
    File(#[from] FileError),
    /// The limit does not allow the blob.
    #[error("the store has no room for blob {digest}")]
    NoRoom {
        /// Which blob.
        digest: BlobDigest,
        /// The numbers.
        source: NoRoom,
    },
    /// The blob is not in the store.
    #[error("the store does not have blob {digest}")]
    Missing {
        /// Which blob.
        digest: BlobDigest,
    },
    /// The stored bytes are not those of the digest; the blob was dropped.
    #[error("the stored blob {digest} was damaged and is dropped")]
    Damaged {
        /// Which blob.
        digest: BlobDigest,
    },
    /// The bytes handed in are not those of the digest.
    #[error("the bytes given for blob {digest} are not its bytes")]
    WrongContent {
        /// The digest that was announced.
        digest: BlobDigest,
    },
}

/// A handle to the store; clones share it.
#[derive(Debug, Clone)]
pub struct Cas(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    shelf: Arc<Shelf>,
    /// Ends before the lock is given up.
    remover: Remover,
    sequence: AtomicU64,
    _lock: DirectoryLock,
}

impl Cas {
    /// Opens the store of `cache_dir`, at most `limit` bytes large, and locks the directory for this process.
    /// Remains of an interrupted run are removed, blobs are indexed; those used longest ago by their
    /// modification time go first when they exceed the limit.
    pub fn open(cache_dir: &Path, limit: u64) -> Result<Self, CasError> {
        let blobs = cache_dir.join("cas");
        let temporary = blobs.join("tmp");
        fs::create_dir_all(&blobs).context("create", &blobs)?;
        let lock = DirectoryLock::acquire(cache_dir)?;
        discard(&temporary)?;
        fs::create_dir(&temporary).context("create", &temporary)?;
        let mut found = stored(&blobs)?;
        found.sort_unstable();
        let shelf = Arc::new(Shelf::new(blobs, temporary, limit));
        let mut state = shelf.state();
        for (_, digest, size) in found {
            state.ledger.insert(digest, size);
        }
        let victims = state.ledger.overflow();
        state.evicted.extend(&victims);
        drop(state);
        for victim in &victims {
            shelf.remove_evicted(victim);
        }
        let shared = Shared {
            remover: Remover::start(Arc::clone(&shelf)).context("start a thread for", cache_dir)?,
            shelf,
            sequence: AtomicU64::new(0),
            _lock: lock,
        };
        Ok(Self(Arc::new(shared)))
    }

    /// Whether the blob is in the store.
    pub fn has(&self, digest: &BlobDigest) -> bool {
        self.0.shelf.state().ledger.contains(digest)
    }

    /// Bytes stored and being stored.
    pub fn total(&self) -> u64 {
        self.0.shelf.state().ledger.total()
    }

    /// Begins a blob of `size` bytes, for which there must be room if all that nobody holds were evicted. Room is
    /// taken as bytes are written, never on their announcement: a peer that sends nothing evicts nothing.
    /// Nothing is visible before [`Writer::commit`].
    pub fn insert_writer(&self, digest: BlobDigest, size: u64) -> Result<Writer, CasError> {
        let fits = self.0.shelf.state().ledger.could_reserve(size);
        fits.map_err(|source| CasError::NoRoom { digest, source })?;
        let number = self.0.sequence.fetch_add(1, Ordering::Relaxed);
        let path = self.0.shelf.temporary.join(number.to_string());
        Writer::begin(Arc::clone(&self.0), digest, size, path)
    }

    /// Keeps blobs from eviction while the result lives; or names those that are not in the store.
    pub fn pin(&self, digests: &[BlobDigest]) -> Result<Pin, Vec<BlobDigest>> {
        let mut pin = Pin {
            shared: Arc::clone(&self.0),
            digests: Vec::with_capacity(digests.len()),
        };
        let mut missing = Vec::new();
        let mut state = self.0.shelf.state();
        for digest in digests {
            if state.ledger.pin(digest) {
                pin.digests.push(*digest);
            } else {
                missing.push(*digest);
            }
        }
        drop(state);
        if missing.is_empty() { Ok(pin) } else { Err(missing) }
    }

    /// Opens a blob of the right length for reading. The reader checks the digest.
    pub fn open_blob(&self, digest: &BlobDigest) -> Result<File, CasError> {
        let mut state = self.0.shelf.state();
        let size = state.ledger.size(digest);
        let size = size.ok_or(CasError::Missing { digest: *digest })?;
        state.ledger.touch(digest);
        drop(state);
        let path = self.0.shelf.path(digest);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((length, file)) if length == size => Ok(file),
            Ok(_) => Err(self.drop_damaged(digest)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.drop_damaged(digest)),
            Err(error) => Err(error).context("open", &path)?,
        }
    }

    /// Copies a blob to a new file at `target`, mode 0600, checking its digest on the way. On any error there is
    /// no file; a damaged blob is dropped from the store. The copy is good once [`crate::host::files::close`] took
    /// it without an error.
    pub fn copy_to(&self, digest: &BlobDigest, target: &Path) -> Result<File, CasError> {
        let source = self.open_blob(digest)?;
        let mut copy = create(target).context("create", target)?;
        let copied = hash_through(source, &mut copy).context("copy a blob to", target);
        let found = match copied {
            Ok(found) if found == *digest => return Ok(copy),
            other => other,
        };
        let _ = fs::remove_file(target);
        found?;
        Err(self.drop_damaged(digest))
    }

    fn drop_damaged(&self, digest: &BlobDigest) -> CasError {
        let mut state = self.0.shelf.state();
        state.ledger.remove(digest);
        state.evicted.insert(*digest);
        drop(state);
        self.0.shelf.remove_evicted(digest);
        CasError::Damaged { digest: *digest }
    }
}

fn create(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn hash_through(mut source: File, copy: &mut File) -> io::Result<BlobDigest> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; COPY_BUFFER];
    loop {
        let length = match source.read(&mut buffer) {
            Ok(0) => return Ok(BlobDigest::from_bytes(*hasher.finalize().as_bytes())),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..length]);
        copy.write_all(&buffer[..length])?;
    }
}

/// Every blob under `blobs` with its modification time and length; anything that is no blob is removed.
fn stored(blobs: &Path) -> Result<Vec<(std::time::SystemTime, BlobDigest, u64)>, CasError> {
    let mut found = Vec::new();
    for directory in fs::read_dir(blobs).context("list", blobs)? {
        let directory = directory.context("list", blobs)?;
        let name = directory.file_name();
        if name == "tmp" {
            continue;
        }
        let path = directory.path();
        if name.len() != 2 || !directory.file_type().context("inspect", &path)?.is_dir() {
            discard(&path)?;
            continue;
        }
        for blob in fs::read_dir(&path).context("list", &path)? {
            let blob = blob.context("list", &path)?;
            let metadata = blob.metadata().context("inspect", &blob.path())?;
            let hex = [name.to_string_lossy(), blob.file_name().to_string_lossy()].concat();
            match (BlobDigest::from_hex(&hex), metadata.modified()) {
                (Some(digest), Ok(modified)) if metadata.is_file() => {
                    found.push((modified, digest, metadata.len()));
                }
                _ => discard(&blob.path())?,
            }
        }
    }
    Ok(found)
}

/// Keeps blobs from eviction until it is dropped.
#[derive(Debug)]
#[must_use = "a dropped pin holds nothing"]
pub struct Pin {
    shared: Arc<Shared>,
    digests: Vec<BlobDigest>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.shared.shelf.state();
        for digest in &self.digests {
            state.ledger.unpin(digest);
        }
    }
}

#[cfg(test)]
mod tests;
