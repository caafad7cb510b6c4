//! The secret by which a peer that was restarted is known to be the same: connection ids of its own making and stateless
//! resets (RFC 9000 §10.3), so that whoever still speaks to its former life learns with the first packet that that is
//! over, rather than by silence.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quicc_certs::Credentials;
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use quinn_proto::InvalidCid;

/// Random bytes of a connection id: none is used twice while the key lasts (RFC 9000 §10.3.2).
const NONCE: usize = 8;
/// Bytes that prove an id to be of the peer's making.
const TAG: usize = 4;

/// Known to one peer alone, in this process and in later ones.
#[derive(Clone, Copy)]
pub struct ResetSecret([u8; 32]);

impl ResetSecret {
    /// That of whoever holds `credentials`.
    pub fn of(credentials: &Credentials) -> Self {
        Self(credentials.lasting_secret("quicc stateless reset"))
    }

    /// The configuration of an endpoint that accepts at `address`. Another endpoint, of the same credentials on another
    /// machine say, must have another key, or it could be asked for the tokens of this one (RFC 9000 §21.11): so the
    /// address is part of it, and endpoints that only connect have keys of the moment.
    pub(super) fn endpoint_config(self, address: SocketAddr) -> EndpointConfig {
        let mut place = self.0.to_vec();
        place.extend(address.to_string().as_bytes());
        let tokens = Keyed(blake3::derive_key("quicc reset tokens", &place));
        let ids = Keyed(blake3::derive_key("quicc connection ids", &place));
        let mut config = EndpointConfig::new(Arc::new(tokens));
        let ids = Arc::new(Ids::new(ids));
        config.cid_generator(move || Box::new(Generator(Arc::clone(&ids))));
        config
    }
}

/// Connection ids of one endpoint.
struct Ids {
    lasting: Keyed,
    /// Of this process alone.
    random: [u8; 32],
    made: AtomicU64,
}

impl Ids {
    fn new(lasting: Keyed) -> Self {
        let mut seed = Vec::new();
        for number in 0..4 {
            // The standard library's hashers are keyed by the system's random numbers.
            let mut hasher = RandomState::new().build_hasher();
            hasher.write_u64(number);
            seed.extend(hasher.finish().to_le_bytes());
        }
        Self {
            lasting,
            random: blake3::derive_key("quicc connection id nonces", &seed),
            made: AtomicU64::new(0),
        }
    }

    fn make(&self) -> [u8; NONCE + TAG] {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let nonce = blake3::keyed_hash(&self.random, &number.to_le_bytes());
        let mut id = [0; NONCE + TAG];
        id[..NONCE].copy_from_slice(&nonce.as_bytes()[..NONCE]);
        let tag = self.tag(&id[..NONCE]);
        id[NONCE..].copy_from_slice(&tag);
        id
    }

    fn tag(&self, nonce: &[u8]) -> [u8; TAG] {
        let tag = blake3::keyed_hash(&self.lasting.0, nonce);
        std::array::from_fn(|index| tag.as_bytes()[index])
    }

    fn knows(&self, id: &[u8]) -> bool {
        id.split_at_checked(NONCE)
            .is_some_and(|(nonce, tag)| self.tag(nonce) == *tag)
    }
}

struct Generator(Arc<Ids>);

impl ConnectionIdGenerator for Generator {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&self.0.make())
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        if self.0.knows(id) { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        NONCE + TAG
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
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
    fn ids_are_known_to_a_later_process_at_the_same_place_and_never_made_twice() {
        let ids = |key: u8| Ids::new(Keyed([key; 32]));
        let (former, later, other) = (ids(1), ids(1), ids(2));
        let mut made = std::collections::HashSet::new();
        for _ in 0..1000 {
            let id = former.make();
            assert!(later.knows(&id) && !other.knows(&id));
            assert!(made.insert(id) && made.insert(later.make()));
        }
        assert!(!later.knows(b"") && !later.knows(&[0; NONCE]) && !later.knows(&[0; NONCE + TAG + 1]));
    }

    #[test]
    fn the_secret_is_not_shown() {
        assert_eq!(format!("{:?}", ResetSecret([7; 32])), "ResetSecret");
    }
}
