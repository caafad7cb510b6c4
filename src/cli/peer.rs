//! This process as a peer: its certificate, checked against what it claims to be, and its endpoint.

use std::net::{Ipv4Addr, SocketAddr};

use quicc_certs::{Credentials, Name, Role, load_trust};
use quicc_protocol::version::ALPN;
use rustls::pki_types::CertificateDer;

use super::report::Failure;
use crate::config::CertificateFiles;
use crate::host::clock;
use crate::transport::Endpoint;

/// Whom we trust and who we are.
pub(crate) struct PeerCredentials {
    pub(crate) ca: CertificateDer<'static>,
    pub(crate) own: Credentials,
}

/// Loads the files and refuses a certificate of another role, cluster or name than configured.
pub(crate) fn load(
    files: &CertificateFiles,
    role: Role,
    cluster: Option<&Name>,
    name: Option<&Name>,
) -> Result<PeerCredentials, Failure> {
    let now = clock::unix_seconds();
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
    Ok(PeerCredentials { ca, own })
}

/// An endpoint that accepts on `bind`, or one that only connects.
pub(crate) fn endpoint(credentials: &PeerCredentials, bind: Option<SocketAddr>) -> Result<Endpoint, Failure> {
    let PeerCredentials { ca, own } = credentials;
    let server = bind
        .map(|_| quicc_certs::server_config(ca, own, &[ALPN]))
        .transpose()?;
    let client = quicc_certs::client_config(ca, own, &[ALPN])?;
    let address = bind.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into());
    Ok(Endpoint::bind(address, server, client)?)
}
