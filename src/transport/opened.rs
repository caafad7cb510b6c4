//! Connections that may be used before their peer has answered, and to whom that is possible.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quicc_certs::Identity;
use quicc_protocol::close;
use quicc_protocol::version::Hello;
use quinn::{VarInt, ZeroRttAccepted};

use super::certificate::{self, Shown};
use super::endpoint::{connect_error, greet, hear, within_handshake};
use super::{Control, Peer, TransportError};
use crate::host::clock;

/// Peers remembered; beyond it all are forgotten and met anew.
const ACQUAINTANCES: usize = 256;

/// Peers that proved here who they are, and until when their certificates are valid.
#[derive(Debug, Default)]
pub(super) struct Acquaintances(Mutex<HashMap<Identity, u64>>);

impl Acquaintances {
    fn known(&self) -> MutexGuard<'_, HashMap<Identity, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, peer: &Identity, expiry: u64) {
        let mut known = self.known();
        if known.len() >= ACQUAINTANCES {
            known.clear();
        }
        known.insert(peer.clone(), expiry);
    }

    /// The next connection to `peer` begins with a handshake.
    pub(super) fn forget(&self, peer: &Identity) {
        self.known().remove(peer);
    }

    /// Whether the certificate that `peer` showed is valid still.
    pub(super) fn is_valid(&self, peer: &Identity) -> bool {
        let now = clock::unix_seconds();
        self.known().get(peer).is_some_and(|expiry| now <= *expiry)
    }
}

/// A connection that may be used already: either its peer's certificate was checked, or what is sent travels under the
/// keys of a session with that peer. Its hello was not heard yet.
pub struct Opened {
    /// The connection. Its first stream is taken.
    pub connection: quinn::Connection,
    expected: Identity,
    address: SocketAddr,
    control: Control,
    /// Whether the peer will have taken what was sent before its answer; none if nothing was.
    early: Option<ZeroRttAccepted>,
    hello: Hello,
    acquaintances: Arc<Acquaintances>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("Opened");
        debug
            .field("expected", &self.expected)
            .field("address", &self.address);
        debug.field("is_early", &self.is_early()).finish_non_exhaustive()
    }
}

impl Opened {
    /// Takes the first stream of `connection` and says `hello` on it. Checks the peer's certificate unless what is sent
    /// is `early`.
    pub(super) async fn new(
        connection: quinn::Connection,
        early: Option<ZeroRttAccepted>,
        (expected, address): (&Identity, SocketAddr),
        hello: &Hello,
        acquaintances: Arc<Acquaintances>,
    ) -> Result<Self, TransportError> {
        let failed = |source| connect_error(expected, address, source);
        let (send, receive) = connection.open_bi().await.map_err(failed)?;
        let mut opened = Self {
            connection,
            expected: expected.clone(),
            address,
            control: Control { send, receive },
            early,
            hello: hello.clone(),
            acquaintances,
        };
        if opened.early.is_none() {
            opened.verify()?;
        }
        greet(&mut opened.control.send, hello).await?;
        Ok(opened)
    }

    /// Whose connection it is meant to be.
    pub fn expected(&self) -> &Identity {
        &self.expected
    }

    /// Whether what is sent now may be refused by a peer that was restarted: [`Self::meet`] tells.
    pub fn is_early(&self) -> bool {
        self.early.is_some()
    }

    /// Waits for the peer's certificate, if it was not shown yet, and its hello, within
    /// [`tuning::HANDSHAKE_TIMEOUT`]. After [`TransportError::TooEarly`] every stream of the connection is void, and
    /// the next connection to the peer begins with a handshake. No other error leaves the connection open.
    pub async fn meet(mut self) -> Result<Peer, TransportError> {
        let (connection, address) = (self.connection.clone(), self.address);
        let name = format!("{} at {address}", self.expected);
        let meet = async {
            if let Some(accepted) = self.early.take() {
                let is_accepted = accepted.await;
                if let Some(source) = connection.close_reason() {
                    return Err(connect_error(&self.expected, address, source));
                }
                if !is_accepted {
                    self.acquaintances.forget(&self.expected);
                    return Err(TransportError::TooEarly { peer: name.clone() });
                }
                self.verify()?;
            }
            let Shown { identity, spki, .. } = certificate::shown(&connection)?;
            let Control { send, mut receive } = self.control;
            let hello = hear(&connection, &mut receive, &self.hello).await?;
            Ok(Peer {
                identity,
                certificate_spki: spki,
                hello,
                connection: connection.clone(),
                control: Control { send, receive },
            })
        };
        let met = within_handshake(&name, meet).await;
        if let Err(TransportError::Silent { .. } | TransportError::Frame(_)) = &met {
            connection.close(VarInt::from_u32(close::SILENT), b"no hello was heard");
        }
        met
    }

    /// Checks who the peer is by the certificate of this connection; closes it if that is another.
    fn verify(&self) -> Result<(), TransportError> {
        let shown = certificate::shown(&self.connection)?;
        if shown.identity != self.expected {
            self.connection
                .close(VarInt::from_u32(close::NOT_ALLOWED), b"another peer was meant");
            return Err(TransportError::WrongPeer {
                expected: self.expected.clone(),
                found: shown.identity,
            });
        }
        self.acquaintances.note(&self.expected, shown.expiry);
        Ok(())
    }
}
