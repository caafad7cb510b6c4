//! This process as a peer: its certificate, checked against what it claims to be, and its endpoint.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use quicc_certs::{Credentials, Name, Role, load_trust};
use quicc_protocol::version::ALPN;
use rustls::pki_types::CertificateDer;

use super::report::Failure;
use crate::config::CertificateFiles;
use crate::host::clock;
use crate::transport::endpoint::Renewed;
use crate::transport::{Endpoint, ResetSecret};

/// Whom we trust and who we are.
pub(crate) struct PeerCredentials {
    pub(crate) ca: CertificateDer<'static>,
    pub(crate) own: Credentials,
    files: CertificateFiles,
    /// The files as they were read.
    stamps: Stamps,
}

/// What tells whether one of the files was replaced: inode, size and time of change.
type Stamps = Vec<Option<(u64, u64, i64, i64)>>;

fn stamps(files: &CertificateFiles) -> Stamps {
    let stamp = |path: &Path| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.ino(), data.len(), data.ctime(), data.ctime_nsec()))
    };
    [&files.ca, &files.own.certificate, &files.own.key]
        .map(|path| stamp(path))
        .into()
}

/// Loads the files and refuses a certificate of another role, cluster or name than configured.
pub(crate) fn load(
    files: &CertificateFiles,
    role: Role,
    cluster: Option<&Name>,
    name: Option<&Name>,
) -> Result<PeerCredentials, Failure> {
    let now = clock::unix_seconds();
    // Before they are read: what changes meanwhile is read again.
    let stamps = stamps(files);
    let hinted = |error: quicc_certs::FileError| {
        let hint = error.hint();
        Failure::from(error).with_hint(hint)
    };
    let ca = load_trust(&files.ca, now).map_err(hinted)?;
    let own = Credentials::load(&files.own, now).map_err(hinted)?;
    let identity = own.identity();
    let wrong = |what: &str, wanted: &dyn std::fmt::Display| {
        Failure::new(format!(
            "{} is the certificate of {identity}, not of {what} {wanted}",
            files.own.certificate.display()
        ))
        .with_hint(format!("quicc certgen issue --role {role} --name NAME"))
    };
    if identity.role != role {
        return Err(wrong("a", &role));
    }
    if let Some(cluster) = cluster.filter(|cluster| **cluster != identity.cluster) {
        return Err(wrong("cluster", cluster));
    }
    if let Some(name) = name.filter(|name| **name != identity.name) {
        return Err(wrong("name", name));
    }
    Ok(PeerCredentials {
        ca,
        own,
        files: files.clone(),
        stamps,
    })
}

/// An endpoint that accepts on `bind`, or one that only connects.
pub(crate) fn endpoint(credentials: &PeerCredentials, bind: Option<SocketAddr>) -> Result<Endpoint, Failure> {
    let Renewed { server, client } = configurations(credentials, bind.is_some())?;
    let address = bind.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into());
    let renewal = renewal(credentials, bind.is_some());
    let secret = ResetSecret::of(&credentials.own);
    Ok(Endpoint::bind(address, server, client, secret)?.with_renewal(renewal))
}

fn configurations(credentials: &PeerCredentials, accepts: bool) -> Result<Renewed, quicc_certs::TlsError> {
    let PeerCredentials { ca, own, .. } = credentials;
    let server = accepts.then(|| quicc_certs::server_config(ca, own, &[ALPN]));
    Ok(Renewed {
        server: server.transpose()?,
        client: quicc_certs::client_config(ca, own, &[ALPN])?,
    })
}

/// Reads the files again when they were replaced. Files that are no good, or are another peer's, change nothing: they
/// may be half replaced, and are looked at again when they change.
fn renewal(credentials: &PeerCredentials, accepts: bool) -> impl Fn() -> Option<Renewed> + use<> {
    let (files, identity) = (credentials.files.clone(), credentials.own.identity().clone());
    let known = Mutex::new(credentials.stamps.clone());
    move || {
        let now = stamps(&files);
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == now {
            return None;
        }
        *known = now;
        drop(known);
        let loaded = load(
            &files,
            identity.role,
            Some(&identity.cluster),
            Some(&identity.name),
        );
        let renewed = loaded.and_then(|loaded| Ok(configurations(&loaded, accepts)?));
        renewed
            .inspect_err(
                |failure| tracing::warn!(%failure, "the certificate files changed and cannot be used"),
            )
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quicc_certs::{Authority, Identity, KeyedFiles};
    use std::time::Duration;

    #[test]
    fn replaced_files_are_read_again_and_only_this_peers() {
        let scratch = tempfile::tempdir().unwrap();
        let now = clock::unix_seconds();
        let authority = Authority::create(&"farm".parse().unwrap(), now).unwrap();
        authority.save(scratch.path()).unwrap();
        let issue = |name: &str| {
            let identity: Identity = format!("quicc://farm/builder/{name}").parse().unwrap();
            authority.issue(&identity, Duration::from_secs(600), now).unwrap()
        };
        let own = issue("b1").save(scratch.path()).unwrap();
        let files = CertificateFiles {
            ca: KeyedFiles::of_authority(scratch.path()).certificate,
            own: own.clone(),
        };
        let credentials = load(&files, Role::Builder, None, None).unwrap();
        let renewal = renewal(&credentials, true);
        assert!(renewal().is_none());
        issue("b1").save(scratch.path()).unwrap();
        assert!(renewal().is_some_and(|renewed| renewed.server.is_some()));
        assert!(renewal().is_none(), "once");
        let other = issue("b2").save(scratch.path()).unwrap();
        std::fs::rename(other.key, &own.key).unwrap();
        assert!(renewal().is_none(), "another key");
        std::fs::rename(other.certificate, &own.certificate).unwrap();
        assert!(renewal().is_none(), "another peer");
    }
}
