//! Private keys: P-256 in PKCS #8, and shown to belong to their certificate before anything uses them.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::pki_types::PrivatePkcs8KeyDer;

use crate::certificate::{self, CertificateError};

/// Why a private key is not the one of a certificate.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The bytes are no P-256 key in PKCS #8.
    #[error("malformed private key: expected P-256 in PKCS #8")]
    Malformed {
        /// What the parser met; never contains key bytes.
        source: rcgen::Error,
    },
    /// The certificate cannot be read.
    #[error("cannot compare a private key with a certificate")]
    Certificate {
        /// What is wrong with it.
        #[from]
        source: CertificateError,
    },
    /// The key is another certificate's.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

/// `key`, ready for signing, if it is the one whose public half is in `certificate`.
pub(crate) fn key_of(certificate: &[u8], key: &PrivatePkcs8KeyDer<'_>) -> Result<KeyPair, KeyError> {
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(key, &PKCS_ECDSA_P256_SHA256)
        .map_err(|source| KeyError::Malformed { source })?;
    if certificate::parse(certificate)?.public_key().raw == pair.subject_public_key_info() {
        Ok(pair)
    } else {
        Err(KeyError::Mismatch)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, PKCS_ECDSA_P384_SHA384};

    use super::*;

    fn check(certificate_of: &KeyPair, key: &[u8]) -> Result<KeyPair, KeyError> {
        let certificate = CertificateParams::default().self_signed(certificate_of).unwrap();
        key_of(certificate.der(), &PrivatePkcs8KeyDer::from(key))
    }

    #[test]
    fn only_the_certificates_own_key_will_do() {
        let (own, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        assert!(check(&own, own.serialized_der()).is_ok());
        assert!(matches!(
            check(&own, other.serialized_der()),
            Err(KeyError::Mismatch)
        ));
        assert!(matches!(
            check(&p384, p384.serialized_der()),
            Err(KeyError::Malformed { .. })
        ));
        assert!(matches!(check(&own, b"garbled"), Err(KeyError::Malformed { .. })));
    }
}
