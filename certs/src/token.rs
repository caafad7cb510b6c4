//! Tickets: the scheduler's signed statement that a client may use slots of a builder, which the builder
//! checks offline. JWTs (RFC 7519) signed with ES256 and nothing else: with a shared secret any builder could
//! make one. Never reads a clock, and never says who the peer is: a ticket is worth something only beside the
//! client's certificate.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey,
};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::name::Name;

/// How far a builder's idea of the scheduler's time may be off, in seconds, either way.
pub const TICKET_LEEWAY_SECONDS: u64 = 30;

/// Longest ticket anybody reads, in bytes; the longest names make one of under 700.
pub const TICKET_LENGTH_MAX: usize = 2048;

/// What a ticket says. Names in it are the JWT's registered claims (RFC 7519 §4.1); times are in seconds
/// since the Unix epoch by the scheduler's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketClaims {
    /// The cluster whose scheduler issued it.
    pub iss: Name,
    /// The builder it is for.
    pub aud: Name,
    /// The client it was issued to.
    pub sub: Name,
    /// The lease it stands for.
    pub lease: u64,
    /// How many actions may run at once under it.
    pub slots: u32,
    /// When it begins to hold.
    pub nbf: u64,
    /// When it ceases to hold.
    pub exp: u64,
    /// [`crate::spki_hash`] of the client's certificate, 64 hexadecimal digits in the JSON.
    #[serde(with = "hexadecimal")]
    pub cnf: [u8; 32],
}

/// Why there is no ticket, or a ticket does not hold.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// No key could be made.
    #[error("cannot make a key for signing tickets")]
    Generate,
    /// The bytes are no P-256 public key.
    #[error("malformed public key for verifying tickets: expected an uncompressed P-256 point")]
    PublicKey,
    /// Signing failed.
    #[error("cannot sign a ticket")]
    Sign {
        /// What the library says.
        source: jsonwebtoken::errors::Error,
    },
    /// Longer than [`TICKET_LENGTH_MAX`].
    #[error("ticket of {length} bytes: at most {TICKET_LENGTH_MAX} are read")]
    Length {
        /// Its length in bytes.
        length: usize,
    },
    /// No JWT, or not with the claims of a ticket.
    #[error("malformed ticket")]
    Malformed {
        /// What the library says.
        source: jsonwebtoken::errors::Error,
    },
    /// Not signed with ES256.
    #[error("ticket not signed with ES256")]
    Algorithm,
    /// Not signed by this cluster's scheduler, or changed since.
    #[error("ticket not signed by the scheduler")]
    Signature,
    /// Issued for another builder.
    #[error("ticket not for builder {expected}")]
    Audience {
        /// The builder that was shown it.
        expected: Name,
    },
    /// Issued by another cluster's scheduler.
    #[error("ticket not of cluster {expected}")]
    Issuer {
        /// The cluster it was shown in.
        expected: Name,
    },
    /// Issued to the holder of another key.
    #[error("ticket of client {client} shown with another certificate")]
    Confirmation {
        /// Whom it was issued to.
        client: Name,
    },
    /// Over, leeway included.
    #[error("ticket of client {client} expired at {exp}, now {now} in seconds since 1970")]
    Expired {
        /// Whom it was issued to.
        client: Name,
        /// When it ceased to hold.
        exp: u64,
        /// The scheduler's time.
        now: u64,
    },
    /// Not yet begun, leeway included.
    #[error("ticket of client {client} holds from {nbf}, now {now} in seconds since 1970")]
    NotYetValid {
        /// Whom it was issued to.
        client: Name,
        /// When it begins to hold.
        nbf: u64,
        /// The scheduler's time.
        now: u64,
    },
}

/// The scheduler's end: a key that lives as long as the process, and signs.
#[derive(Debug)]
pub struct TicketSigner {
    key: EncodingKey,
    public_key: Vec<u8>,
}

impl TicketSigner {
    /// A signer with a fresh key.
    pub fn generate() -> Result<Self, TicketError> {
        let pair =
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| TicketError::Generate)?;
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| TicketError::Generate)?;
        let key = EncodingKey::from_ec_der(pkcs8.as_ref());
        Ok(Self {
            key,
            public_key: pair.public_key().as_ref().to_vec(),
        })
    }

    /// The ticket that says `claims`.
    pub fn sign(&self, claims: &TicketClaims) -> Result<String, TicketError> {
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), claims, &self.key)
            .map_err(|source| TicketError::Sign { source })
    }

    /// What builders verify this signer's tickets with: an uncompressed P-256 point, 65 bytes.
    pub fn public_key(&self) -> Vec<u8> {
        self.public_key.clone()
    }
}

/// A builder's end: the scheduler's public key, as learnt from the scheduler itself over an authenticated
/// connection.
#[derive(Debug)]
pub struct TicketVerifier {
    key: DecodingKey,
}

impl TicketVerifier {
    /// A verifier of the tickets signed by the holder of `public_key` ([`TicketSigner::public_key`]).
    pub fn new(public_key: &[u8]) -> Result<Self, TicketError> {
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public_key).map_err(|_| TicketError::PublicKey)?;
        Ok(Self {
            key: DecodingKey::from_ec_der(public_key),
        })
    }

    /// What `token` says, if it holds: signed by the scheduler of cluster `issuer`, for builder `audience`,
    /// at `now` (the scheduler's clock, seconds since the Unix epoch, ± [`TICKET_LEEWAY_SECONDS`]), for the
    /// client whose certificate has [`crate::spki_hash`] `client_spki`.
    pub fn verify(
        &self,
        token: &str,
        audience: &Name,
        issuer: &Name,
        now: u64,
        client_spki: &[u8; 32],
    ) -> Result<TicketClaims, TicketError> {
        if token.len() > TICKET_LENGTH_MAX {
            return Err(TicketError::Length { length: token.len() });
        }
        let ticket = jsonwebtoken::decode::<TicketClaims>(token, &self.key, &validation(audience, issuer))
            .map_err(|source| refusal(source, audience, issuer))?;
        check_validity(&ticket.claims, now)?;
        if ticket.claims.cnf == *client_spki {
            Ok(ticket.claims)
        } else {
            Err(TicketError::Confirmation {
                client: ticket.claims.sub,
            })
        }
    }
}

/// The library's checks but those of time: it would read this machine's clock.
fn validation(audience: &Name, issuer: &Name) -> Validation {
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
    validation.set_audience(&[audience]);
    validation.set_issuer(&[issuer]);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation
}

fn check_validity(claims: &TicketClaims, now: u64) -> Result<(), TicketError> {
    let client = || claims.sub.clone();
    if now >= claims.exp.saturating_add(TICKET_LEEWAY_SECONDS) {
        return Err(TicketError::Expired {
            client: client(),
            exp: claims.exp,
            now,
        });
    }
    if now.saturating_add(TICKET_LEEWAY_SECONDS) < claims.nbf {
        return Err(TicketError::NotYetValid {
            client: client(),
            nbf: claims.nbf,
            now,
        });
    }
    Ok(())
}

fn refusal(source: jsonwebtoken::errors::Error, audience: &Name, issuer: &Name) -> TicketError {
    match source.kind() {
        ErrorKind::InvalidAlgorithm => TicketError::Algorithm,
        ErrorKind::InvalidSignature => TicketError::Signature,
        ErrorKind::InvalidAudience => TicketError::Audience {
            expected: audience.clone(),
        },
        ErrorKind::InvalidIssuer => TicketError::Issuer {
            expected: issuer.clone(),
        },
        _ => TicketError::Malformed { source },
    }
}

/// 32 bytes as 64 lower-case hexadecimal digits.
mod hexadecimal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(text.as_bytes()).ok_or_else(|| D::Error::custom("expected 64 hexadecimal digits"))
    }

    fn parse(text: &[u8]) -> Option<[u8; 32]> {
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(bytes)
    }

    fn digit(character: u8) -> Option<u8> {
        match character {
            b'0'..=b'9' => Some(character - b'0'),
            b'a'..=b'f' => Some(character - b'a' + 10),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
