//! TLS configurations: 1.3 only, certificates demanded and verified on both ends, sessions resumed with
//! 0-RTT. Decides who is of the cluster, never who may do what: callers ask [`crate::peer_identity`] and
//! [`crate::Identity::require`] about every connection.
//!
//! A resumed session is not verified again and early data may be replayed. Whoever makes or accepts a connection
//! checks [`crate::certificate_expiry`] himself, at once and for as long as it lasts, and lets only requests without effects run early. Sessions
//! resume only between the same two configurations, so a process keeps one of each kind per identity.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::CertificateDer;
use rustls::server::{ServerSessionMemoryCache, VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::credentials::Credentials;

/// How many sessions a server remembers for resumption, oldest forgotten first. A connection takes two, so
/// rustls's own 256 would be no more than the last 128 connections.
pub const SERVER_SESSIONS_MAX: usize = 16_384;

/// The only value but 0 that QUIC allows (RFC 9001 §4.6.1): stream limits bound early data there.
const MAX_EARLY_DATA_SIZE: u32 = u32::MAX;

/// Why a configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authority's certificate or the credentials are not fit for TLS.
    #[error("cannot configure TLS")]
    Configuration {
        /// What rustls says.
        #[from]
        source: rustls::Error,
    },
    /// The authority's certificate cannot verify anybody.
    #[error("cannot verify peers by the authority's certificate")]
    Verifier {
        /// What rustls says.
        #[from]
        source: VerifierBuilderError,
    },
}

/// For the end that accepts connections: offers `alpn`, presents `credentials`, and refuses peers without a
/// valid certificate of `ca`.
pub fn server_config(
    ca: &CertificateDer<'_>,
    credentials: &Credentials,
    alpn: &[&[u8]],
) -> Result<ServerConfig, TlsError> {
    let provider = provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(ca)?, provider.clone()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(credentials.chain(), credentials.key())?;
    config.alpn_protocols = protocols(alpn);
    config.session_storage = ServerSessionMemoryCache::new(SERVER_SESSIONS_MAX);
    config.max_early_data_size = MAX_EARLY_DATA_SIZE;
    Ok(config)
}

/// For the end that makes connections: offers `alpn`, presents `credentials`, and refuses peers without a
/// valid certificate of `ca` for the [`crate::Identity::server_name`] dialled.
pub fn client_config(
    ca: &CertificateDer<'_>,
    credentials: &Credentials,
    alpn: &[&[u8]],
) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(ca)?, provider.clone()).build()?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(credentials.chain(), credentials.key())?;
    config.alpn_protocols = protocols(alpn);
    config.enable_early_data = true;
    Ok(config)
}

/// AWS-LC, by name: a process-wide default would depend on what else is linked. Its key exchanges stay as
/// they are, X25519MLKEM768 first; of the ciphers AES-128-GCM comes first, the cheapest where there is
/// AES-NI.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    })
}

fn roots(ca: &CertificateDer<'_>) -> Result<Arc<RootCertStore>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone().into_owned())?;
    Ok(Arc::new(roots))
}

fn protocols(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.to_vec()).collect()
}

#[cfg(test)]
mod tests;
