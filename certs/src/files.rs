//! Certificates and keys on disk: `ca.pem`, `ca.key`, `<role>-<name>.pem`, `<role>-<name>.key`. The only file
//! of this package that does I/O. A key is readable by its owner alone from its first byte on, and one that
//! others could have read is not used.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tempfile::NamedTempFile;

use crate::authority::Authority;
use crate::certificate;
use crate::credentials::Credentials;
use crate::identity::Identity;

mod error;

pub use error::FileError;
use error::{FileContext, garbled};

/// Largest certificate or key file that is read, in bytes; ours are under 2 kB.
pub const FILE_LENGTH_MAX: u64 = 64 * 1024;

const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;

/// The permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Where a certificate and its private key are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedFiles {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM of PKCS #8, mode 0600.
    pub key: PathBuf,
}

impl KeyedFiles {
    /// The files of a cluster's authority: `ca.pem` and `ca.key`.
    pub fn of_authority(directory: &Path) -> Self {
        Self::named(directory, "ca")
    }

    /// The files of one peer: `<role>-<name>.pem` and `<role>-<name>.key`.
    pub fn of_peer(directory: &Path, identity: &Identity) -> Self {
        Self::named(directory, &format!("{}-{}", identity.role, identity.name))
    }

    fn named(directory: &Path, stem: &str) -> Self {
        Self {
            certificate: directory.join(format!("{stem}.pem")),
            key: directory.join(format!("{stem}.key")),
        }
    }
}

impl Authority {
    /// Writes `ca.pem` and `ca.key` to `directory`, which is made if absent. Never overwrites either: without
    /// its key a cluster has to be set up again, so an existing one is [`FileError::AuthorityExists`].
    pub fn save(&self, directory: &Path) -> Result<KeyedFiles, FileError> {
        let files = KeyedFiles::of_authority(directory);
        fs::create_dir_all(directory).context("create", directory)?;
        // A key without its certificate is replaced no more than the reverse. Of two that find neither, the
        // one whose key comes first goes on.
        for path in [&files.key, &files.certificate] {
            if path.symlink_metadata().is_ok() {
                return Err(FileError::AuthorityExists { path: path.clone() });
            }
        }
        for (path, text, mode) in [
            (&files.key, self.key_pem(), KEY_MODE),
            (&files.certificate, self.certificate_pem(), CERTIFICATE_MODE),
        ] {
            temporary_beside(path, &text, mode)?
                .persist_noclobber(path)
                .map_err(|failed| match failed.error.kind() {
                    io::ErrorKind::AlreadyExists => FileError::AuthorityExists { path: path.clone() },
                    _ => FileError::Io {
                        action: "create",
                        path: path.clone(),
                        source: failed.error,
                    },
                })?;
        }
        Ok(files)
    }

    /// Reads the authority whose `ca.pem` and `ca.key` are in `directory`, unexpired at `now` (seconds since
    /// the Unix epoch).
    pub fn load(directory: &Path, now: u64) -> Result<Self, FileError> {
        let files = KeyedFiles::of_authority(directory);
        let certificate = load_trust(&files.certificate, now)?;
        let key = read_key(&files.key)?;
        Self::from_parts(certificate, &key).map_err(garbled(&files.certificate))
    }
}

impl Credentials {
    /// Writes `<role>-<name>.pem` and `<role>-<name>.key` to `directory`, which is made if absent, in place
    /// of older ones. Whoever reads between the two replacements meets a key that is not the certificate's,
    /// and an error.
    pub fn save(&self, directory: &Path) -> Result<KeyedFiles, FileError> {
        let files = KeyedFiles::of_peer(directory, self.identity());
        fs::create_dir_all(directory).context("create", directory)?;
        for (path, text, mode) in [
            (&files.key, self.key_pem(), KEY_MODE),
            (&files.certificate, self.certificate_pem(), CERTIFICATE_MODE),
        ] {
            let persisted = temporary_beside(path, &text, mode)?.persist(path);
            persisted
                .map_err(|failed| failed.error)
                .context("replace", path)?;
        }
        Ok(files)
    }

    /// Reads the credentials kept in `files`, unexpired at `now` (seconds since the Unix epoch).
    pub fn load(files: &KeyedFiles, now: u64) -> Result<Self, FileError> {
        let certificate = load_trust(&files.certificate, now)?;
        let key = read_key(&files.key)?;
        Self::from_parts(certificate, &key).map_err(garbled(&files.certificate))
    }
}

/// The one certificate in the file at `path`, expired or not: for showing it.
pub fn load_certificate(path: &Path) -> Result<CertificateDer<'static>, FileError> {
    let (_, text) = read(path)?;
    let mut certificates = CertificateDer::pem_slice_iter(&text);
    let certificate = certificates.next().ok_or_else(|| FileError::Count {
        path: path.to_owned(),
    })?;
    let certificate = certificate.map_err(garbled(path))?;
    if certificates.next().is_some() {
        return Err(FileError::Count {
            path: path.to_owned(),
        });
    }
    certificate::parse(&certificate).map_err(garbled(path))?;
    Ok(certificate)
}

/// The one certificate in the file at `path`, unexpired at `now` (seconds since the Unix epoch): for trusting
/// it, as every peer does with `ca.pem`.
pub fn load_trust(path: &Path, now: u64) -> Result<CertificateDer<'static>, FileError> {
    let certificate = load_certificate(path)?;
    let expiry = certificate::certificate_expiry(&certificate).map_err(garbled(path))?;
    if now < expiry {
        Ok(certificate)
    } else {
        Err(FileError::Expired {
            path: path.to_owned(),
            seconds: now - expiry,
        })
    }
}

fn read_key(path: &Path) -> Result<PrivatePkcs8KeyDer<'static>, FileError> {
    let (mode, text) = read(path)?;
    if mode & OTHERS != 0 {
        return Err(FileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(garbled(path))
}

/// The permission bits and the content of one and the same file, whatever is renamed over it meanwhile.
fn read(path: &Path) -> Result<(u32, Vec<u8>), FileError> {
    let mut text = Vec::new();
    let file = File::open(path).context("open", path)?;
    let metadata = file.metadata().context("inspect", path)?;
    file.take(FILE_LENGTH_MAX + 1)
        .read_to_end(&mut text)
        .context("read", path)?;
    if text.len() as u64 > FILE_LENGTH_MAX {
        return Err(FileError::Length {
            path: path.to_owned(),
        });
    }
    Ok((metadata.permissions().mode() & 0o7777, text))
}

/// A file of `text` on its disk, to be renamed to `path`; gone again if that does not happen.
fn temporary_beside(path: &Path, text: &str, mode: u32) -> Result<NamedTempFile, FileError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let write = || {
        let mut file = tempfile::Builder::new()
            .prefix(".quicc-")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    write().context("write", path)
}

#[cfg(test)]
mod tests;
