//! The secret by which a peer that was restarted is known to be the same: connection ids of its own making and stateless
//! resets (RFC 9000 §10.3), so that whoever still speaks to its former life learns with the first packet that that is
//! over, rather than by silence.

use std::fmt;
use std::sync::Arc;

use quicc_certs::Credentials;
use quinn::EndpointConfig;
use quinn::crypto::{CryptoError, HmacKey};
use quinn_proto::HashedConnectionIdGenerator;

/// Known to one peer alone, in this process and in later ones.
#[derive(Clone, Copy)]
pub struct ResetSecret([u8; 32]);

impl ResetSecret {
    /// That of whoever holds `credentials`.
    pub fn of(credentials: &Credentials) -> Self {
        Self(credentials.lasting_secret("quicc stateless reset"))
    }

    /// The configuration of an endpoint that uses it.
    pub(super) fn endpoint_config(self) -> EndpointConfig {
        let mut config =
            EndpointConfig::new(Arc::new(Keyed(blake3::derive_key("quicc reset tokens", &self.0))));
        let key = blake3::derive_key("quicc connection ids", &self.0);
        let key = u64::from_le_bytes(std::array::from_fn(|index| key[index]));
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)));
        config
    }
}

impl fmt::Debug for ResetSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ResetSecret")
    }
}

/// BLAKE3 with a key, in the place of HMAC.
struct Keyed([u8; 32]);

impl HmacKey for Keyed {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(blake3::keyed_hash(&self.0, data).as_bytes());
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // Compared in constant time.
        let expected = blake3::keyed_hash(&self.0, data);
        if expected == *signature {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_its_data_and_key() {
        let sign = |key: u8, data: &[u8]| {
            let mut signature = [0; blake3::OUT_LEN];
            Keyed([key; 32]).sign(data, &mut signature);
            signature
        };
        let signature = sign(1, b"data");
        assert!(Keyed([1; 32]).verify(b"data", &signature).is_ok());
        assert!(Keyed([1; 32]).verify(b"date", &signature).is_err());
        assert!(Keyed([2; 32]).verify(b"data", &signature).is_err());
        assert!(Keyed([1; 32]).verify(b"data", &signature[..31]).is_err());
    }

    #[test]
    fn the_secret_is_not_shown() {
        assert_eq!(format!("{:?}", ResetSecret([7; 32])), "ResetSecret");
    }
}
