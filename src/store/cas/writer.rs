//! One blob on its way into the store: counted and hashed as it is written, in place only when it is whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quicc_protocol::BlobDigest;

use super::{CasError, Shared, create};
use crate::host::files::PathContext;

/// A blob on its way in. Dropped without [`Writer::commit`], it leaves nothing.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    digest: BlobDigest,
    size: u64,
    written: u64,
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
    /// Takes a reservation of `size` bytes over and begins the file at `path`.
    pub(super) fn begin(
        shared: Arc<Shared>,
        digest: BlobDigest,
        size: u64,
        path: PathBuf,
    ) -> Result<Self, CasError> {
        // From here on the drop gives the reservation back.
        let mut writer = Self {
            shared,
            digest,
            size,
            written: 0,
            hasher: blake3::Hasher::new(),
            file: None,
            path,
        };
        writer.file = Some(create(&writer.path).context("create", &writer.path)?);
        Ok(writer)
    }

    /// Puts the blob in its place, provided the bytes written are those of its digest.
    pub fn commit(mut self) -> Result<(), CasError> {
        let found = BlobDigest::from_bytes(*self.hasher.finalize().as_bytes());
        if self.written != self.size || found != self.digest {
            return Err(CasError::WrongContent { digest: self.digest });
        }
        self.file = None;
        let target = self.shared.path(&self.digest);
        let mut ledger = self.shared.ledger();
        if ledger.contains(&self.digest) {
            ledger.touch(&self.digest);
            return Ok(());
        }
        rename_into(&self.path, &target).context("store", &target)?;
        ledger.release(self.size);
        ledger.insert(self.digest, self.size);
        // What the reservation promised is now the item's: the drop below finds neither file nor promise.
        self.size = 0;
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
        let _ = fs::remove_file(&self.path);
        self.shared.ledger().release(self.size);
    }
}
