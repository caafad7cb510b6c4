//! What a peer proves its identity with: one leaf certificate and its private key. Never shows the key,
//! except to TLS and to the file it is kept in.

use std::fmt;

use aws_lc_rs::hmac;
use rcgen::KeyPair;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::certificate::{self, CertificateError};
use crate::identity::{Identity, IdentityError};
use crate::key::{self, KeyError};

/// A leaf certificate with its private key. The chain is the leaf alone: every peer has the authority's
/// certificate, and sending it would cost server flights of QUIC's 3× amplification budget (RFC 9000 §8.1).
pub struct Credentials {
    identity: Identity,
    certificate: CertificateDer<'static>,
    expiry: u64,
    key: KeyPair,
}

/// Why a certificate and a key are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The certificate names no one.
    #[error("the certificate is not one of a farm's peers")]
    Identity {
        /// What is wrong with its name.
        #[from]
        source: IdentityError,
    },
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The key is not the certificate's.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Credentials {
    /// Credentials of a certificate made elsewhere and its key (P-256, PKCS #8). That the two belong together
    /// is checked here, who signed the certificate by every peer.
    pub fn from_parts(
        certificate: CertificateDer<'static>,
        key: &PrivatePkcs8KeyDer<'_>,
    ) -> Result<Self, CredentialsError> {
        let key = key::key_of(&certificate, key)?;
        let identity = Identity::from_certificate(&certificate)?;
        let expiry = certificate::certificate_expiry(&certificate)?;
        Ok(Self {
            identity,
            certificate,
            expiry,
            key,
        })
    }

    /// Who these credentials prove their holder to be.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The leaf certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The leaf certificate as PEM.
    pub fn certificate_pem(&self) -> String {
        certificate::to_pem(&self.certificate)
    }

    /// When the certificate expires, in seconds since the Unix epoch.
    pub fn expiry(&self) -> u64 {
        self.expiry
    }

    /// A secret that is the same whenever these credentials are used for `purpose`, in this process and the next, and
    /// that tells nothing of the key.
    pub fn lasting_secret(&self, purpose: &str) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key.serialize_der());
        let tag = hmac::sign(&key, purpose.as_bytes());
        let mut secret = [0; 32];
        secret.copy_from_slice(tag.as_ref());
        secret
    }

    /// The certificates to present in a handshake.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    /// The private key, for TLS.
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// The private key as PEM, for its file.
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("identity", &self.identity)
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::authority::Authority;

    fn credentials() -> Credentials {
        let authority = Authority::create(&"farm".parse().unwrap(), 1_900_000_000).unwrap();
        let identity = "quicc://farm/client/alice".parse().unwrap();
        authority
            .issue(&identity, Duration::from_secs(60), 1_900_000_000)
            .unwrap()
    }

    #[test]
    fn a_lasting_secret_is_one_of_its_key_and_purpose() {
        let (one, other) = (credentials(), credentials());
        let key = PrivatePkcs8KeyDer::from(one.key.serialize_der());
        let again = Credentials::from_parts(one.certificate.clone(), &key).unwrap();
        assert_eq!(one.lasting_secret("a"), again.lasting_secret("a"));
        assert_ne!(one.lasting_secret("a"), one.lasting_secret("b"));
        assert_ne!(one.lasting_secret("a"), other.lasting_secret("a"));
    }

    #[test]
    fn debug_shows_who_but_not_the_key() {
        let who = r#"Identity { cluster: Name("farm"), role: Client, name: Name("alice") }"#;
        let expected = format!("Credentials {{ identity: {who}, expiry: 1900000060, .. }}");
        assert_eq!(format!("{:?}", credentials()), expected);
    }

    #[test]
    fn parts_make_the_same_credentials() {
        let original = credentials();
        let key = PrivatePkcs8KeyDer::from(original.key.serialize_der());
        let copy = Credentials::from_parts(original.certificate().clone(), &key).unwrap();
        assert_eq!(copy.identity(), original.identity());
        assert_eq!(copy.expiry(), 1_900_000_060);
    }

    #[test]
    fn another_key_makes_no_credentials() {
        let key = PrivatePkcs8KeyDer::from(credentials().key.serialize_der());
        let error = Credentials::from_parts(credentials().certificate().clone(), &key).unwrap_err();
        assert!(
            matches!(error, CredentialsError::Key(KeyError::Mismatch)),
            "{error:?}"
        );
    }
}
