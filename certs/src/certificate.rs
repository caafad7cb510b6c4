//! Facts read from a certificate's DER. Verifies nothing: what these say is true only of certificates that
//! TLS has accepted or that came from our own disk.

use aws_lc_rs::digest;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::nom;

/// Why bytes are no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The bytes, or an extension asked for, are not X.509.
    #[error("malformed certificate")]
    Malformed {
        /// What the parser met.
        #[from]
        source: X509Error,
    },
    /// A certificate, and then something else.
    #[error("{length} bytes follow a certificate")]
    TrailingBytes {
        /// How many.
        length: usize,
    },
}

/// When the certificate expires, in seconds since the Unix epoch; 0 if before.
///
/// TLS checks dates in full handshakes only, not when a session is resumed: whoever makes or accepts a connection
/// asks this.
pub fn certificate_expiry(der: &[u8]) -> Result<u64, CertificateError> {
    let expiry = parse(der)?.validity().not_after.timestamp();
    Ok(u64::try_from(expiry).unwrap_or(0))
}

/// SHA-256 of the certificate's SubjectPublicKeyInfo: names its key, across renewals with the same key.
pub fn spki_hash(der: &[u8]) -> Result<[u8; 32], CertificateError> {
    let certificate = parse(der)?;
    let digest = digest::digest(&digest::SHA256, certificate.public_key().raw);
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    Ok(hash)
}

/// The certificate's serial number as its DER has it: big-endian, with the sign octet where there is one.
pub fn serial(der: &[u8]) -> Result<Vec<u8>, CertificateError> {
    Ok(parse(der)?.raw_serial().to_vec())
}

/// The certificate that all of `der` is.
pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    let (rest, certificate) = x509_parser::parse_x509_certificate(der).map_err(|error| match error {
        nom::Err::Error(source) | nom::Err::Failure(source) => source,
        nom::Err::Incomplete(_) => X509Error::InvalidCertificate,
    })?;
    if rest.is_empty() {
        Ok(certificate)
    } else {
        Err(CertificateError::TrailingBytes { length: rest.len() })
    }
}

/// `der` as PEM, with Unix line ends.
pub(crate) fn to_pem(der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der), config)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PublicKeyData, SerialNumber, date_time_ymd};

    use super::*;

    fn certificate(key: &KeyPair) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(2030, 1, 2);
        params.serial_number = Some(SerialNumber::from_slice(&[0x81, 2, 3]));
        params.self_signed(key).unwrap().der().to_vec()
    }

    #[test]
    fn reads_expiry_and_serial() {
        let der = certificate(&KeyPair::generate().unwrap());
        assert_eq!(certificate_expiry(&der).unwrap(), 1_893_542_400);
        assert_eq!(serial(&der).unwrap(), [0, 0x81, 2, 3]);
    }

    #[test]
    fn the_spki_hash_names_the_key_alone() {
        let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let expected = digest::digest(&digest::SHA256, &one.subject_public_key_info());
        assert_eq!(spki_hash(&certificate(&one)).unwrap(), expected.as_ref());
        assert_ne!(spki_hash(&certificate(&other)).unwrap(), expected.as_ref());
    }

    #[test]
    fn refuses_cut_and_continued_certificates() {
        let der = certificate(&KeyPair::generate().unwrap());
        for length in 0..der.len() {
            assert!(
                matches!(serial(&der[..length]), Err(CertificateError::Malformed { .. })),
                "{length}"
            );
        }
        let continued = [&der[..], &[0]].concat();
        assert!(matches!(
            serial(&continued),
            Err(CertificateError::TrailingBytes { length: 1 })
        ));
    }
}
