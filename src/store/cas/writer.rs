//! One blob on its way into the store: counted and hashed as it is written, in place only when it is whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quicc_protocol::BlobDigest;

use super::{CasError, Shared, create};
use crate::host::files::{PathContext, close};

/// Bytes of room taken at once while a blob is written: bounds both what a slow peer holds unused and how often
/// the account is locked.
const RESERVATION_STEP: u64 = 1 << 20;

/// A blob on its way in. Dropped without [`Writer::commit`], it leaves nothing.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    digest: BlobDigest,
    size: u64,
    written: u64,
    /// Bytes of room taken for it so far.
    reserved: u64,
    /// Whether the file stands under the blob's name.
    placed: bool,
    hasher: blake3::Hasher,
    pub(super) file: Option<File>,
    path: PathBuf,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written.saturating_add(bytes.len() as u64) > self.size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "more bytes than were announced",
            ));
        }
        self.reserve(bytes.len() as u64)
            .map_err(|error| io::Error::new(io::ErrorKind::StorageFull, error))?;
        let Some(file) = &mut self.file else {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        };
        let length = file.write(bytes)?;
        self.hasher.update(&bytes[..length]);
        self.written += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writer {
    /// Begins the file at `path`.
    pub(super) fn begin(
        shared: Arc<Shared>,
        digest: BlobDigest,
        size: u64,
        path: PathBuf,
    ) -> Result<Self, CasError> {
        let file = create(&path).context("create", &path)?;
        Ok(Self {
            shared,
            digest,
            size,
            written: 0,
            reserved: 0,
            placed: false,
            hasher: blake3::Hasher::new(),
            file: Some(file),
            path,
        })
    }

    /// Takes room for `bytes` more, in steps of 1 MiB; blobs that were not used for long give way. Writing does
    /// so by itself; who asks first learns [`CasError::NoRoom`] apart from failures of the disk.
    pub fn reserve(&mut self, bytes: u64) -> Result<(), CasError> {
        let needed = self.written.saturating_add(bytes).min(self.size);
        if needed <= self.reserved {
            return Ok(());
        }
        let step = (needed - self.reserved)
            .max(RESERVATION_STEP)
            .min(self.size - self.reserved);
        let mut state = self.shared.shelf.state();
        let victims = state.ledger.reserve(step).map_err(|source| CasError::NoRoom {
            digest: self.digest,
            source,
        })?;
        state.evicted.extend(&victims);
        drop(state);
        self.reserved += step;
        self.shared.remover.evicted(victims);
        Ok(())
    }

    /// Puts the blob in its place, provided the bytes written are those of its digest.
    pub fn commit(mut self) -> Result<(), CasError> {
        let found = BlobDigest::from_bytes(*self.hasher.finalize().as_bytes());
        if self.written != self.size || found != self.digest {
            return Err(CasError::WrongContent { digest: self.digest });
        }
        if let Some(file) = self.file.take() {
            close(file).context("store", &self.path)?;
        }
        let target = self.shared.shelf.path(&self.digest);
        let mut state = self.shared.shelf.state();
        if state.ledger.contains(&self.digest) {
            state.ledger.touch(&self.digest);
            return Ok(());
        }
        rename_into(&self.path, &target).context("store", &target)?;
        state.evicted.remove(&self.digest);
        state.ledger.release(self.reserved);
        state.ledger.insert(self.digest, self.size);
        self.reserved = 0;
        self.placed = true;
        Ok(())
    }
}

fn rename_into(source: &Path, target: &Path) -> io::Result<()> {
    match (fs::rename(source, target), target.parent()) {
        (Err(error), Some(directory)) if error.kind() == io::ErrorKind::NotFound => {
            match fs::create_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            fs::rename(source, target)
        }
        (renamed, _) => renamed,
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.file = None;
        if !self.placed {
            self.shared.remover.abandoned(std::mem::take(&mut self.path));
        }
        self.shared.shelf.state().ledger.release(self.reserved);
    }
}
