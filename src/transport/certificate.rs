//! What the certificate of a connection's peer says: who it is, by which key, and until when. TLS looks at dates in full
//! handshakes only, not when a session is resumed nor ever after; so every handshake is judged here, and every
//! connection ends here when its peer's time is over.

use std::time::Duration;

use quicc_certs::Identity;
use quicc_protocol::close;
use quinn::VarInt;
use rustls::pki_types::CertificateDer;

use super::{TransportError, tuning};
use crate::host::{clock, timer};

/// How long the wall clock goes unread at most while an expiry is awaited: it may be set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What a certificate says that TLS accepted.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) identity: Identity,
    /// SHA-256 of the public key.
    pub(super) spki: [u8; 32],
    /// Last second, since the Unix epoch, in which it is valid.
    pub(super) expiry: u64,
}

/// The certificate of a connection's peer, valid now. Without one the connection is closed.
pub(super) fn shown(connection: &quinn::Connection) -> Result<Shown, TransportError> {
    let refuse = |reason: &[u8]| connection.close(VarInt::from_u32(close::NOT_ALLOWED), reason);
    let shown = read(connection).map_err(|reason| {
        refuse(b"certificate names no identity");
        TransportError::Identity {
            source: reason.into(),
        }
    })?;
    if left(shown.expiry, clock::unix_seconds()).is_none() {
        refuse(EXPIRED);
        return Err(TransportError::Expired { peer: shown.identity });
    }
    Ok(shown)
}

const EXPIRED: &[u8] = b"the certificate has expired";

/// Returns once the peer's certificate has expired, and has closed the connection then.
pub async fn expiry(connection: &quinn::Connection) {
    let mut shown = read(connection);
    if shown.is_err() {
        // A connection may be used before its peer has answered: until then it has shown nothing, and whoever meets the
        // peer judges it. Within this time that is over, one way or the other.
        timer::sleep(tuning::HANDSHAKE_TIMEOUT).await;
        shown = read(connection);
    }
    let expiry = shown.map_or(0, |shown| shown.expiry);
    while let Some(left) = left(expiry, clock::unix_seconds()) {
        timer::sleep(left.min(LOOK_AGAIN)).await;
    }
    connection.close(VarInt::from_u32(close::NOT_ALLOWED), EXPIRED);
}

/// How long a certificate is valid still; `None` when it is no more.
fn left(expiry: u64, now: u64) -> Option<Duration> {
    // RFC 5280 §4.1.2.5: the last second belongs to it.
    let beyond = expiry.saturating_add(1);
    (now < beyond).then(|| Duration::from_secs(beyond - now))
}

fn read(connection: &quinn::Connection) -> Result<Shown, String> {
    let chain = connection
        .peer_identity()
        .and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    let leaf = chain.as_deref().and_then(|chain| chain.first());
    let leaf = leaf.ok_or("no certificate was shown")?;
    Ok(Shown {
        identity: Identity::from_certificate(leaf).map_err(|error| error.to_string())?,
        spki: quicc_certs::spki_hash(leaf).map_err(|error| error.to_string())?,
        expiry: quicc_certs::certificate_expiry(leaf).map_err(|error| error.to_string())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_valid_through_its_last_second() {
        assert_eq!(left(10, 4), Some(Duration::from_secs(7)));
        assert_eq!(left(10, 10), Some(Duration::from_secs(1)));
        assert_eq!(left(10, 11), None);
        assert_eq!(left(0, u64::MAX), None);
    }
}
