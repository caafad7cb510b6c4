//! Connections that may be used before their peer has answered, and to whom that is possible.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quicc_certs::Identity;
use quicc_protocol::close;
use quicc_protocol::version::Hello;
use quinn::{RecvStream, SendStream, VarInt, ZeroRttAccepted};

use super::certificate::{self, Shown};
use super::endpoint::{connect_error, greet, hear, within_handshake};
use super::refusal::Refusals;
use super::{Control, Peer, TransportError};
use crate::host::{clock, timer};

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

/// How long what came before a connection ended may take to be read; streams say of the rest that it is lost.
const AFTER_THE_END: Duration = Duration::from_secs(2);

/// What `work` on streams of `connection` comes to; `None` if the connection ended and nothing comes of it, because the
/// streams do not say so: one that was opened before the peer's answer and refused takes with it, once dropped, the waker
/// of the one that has its number by then (quinn 0.11).
pub async fn until_closed<T>(connection: &quinn::Connection, work: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return Some(done),
        _ = connection.closed() => {}
    }
    timer::timeout(AFTER_THE_END, work).await
}

/// A connection that may be used already: either its peer's certificate was checked, or what is sent travels under the
/// keys of a session with that peer. Its hello was not heard yet.
#[derive(Debug)]
pub struct Opened {
    /// The connection. Its first stream is taken.
    pub connection: quinn::Connection,
    /// What is refused of what is sent.
    pub refusals: Refusals,
    /// The control stream, behind our hello.
    send: SendStream,
    unmet: Unmet,
}

/// A meeting that is due.
pub struct Unmet {
    connection: quinn::Connection,
    expected: Identity,
    address: SocketAddr,
    receive: RecvStream,
    /// Whether the peer will have taken what was sent before its answer; none if nothing was.
    early: Option<ZeroRttAccepted>,
    hello: Hello,
    acquaintances: Arc<Acquaintances>,
}

impl std::fmt::Debug for Unmet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("Unmet");
        debug
            .field("expected", &self.expected)
            .field("address", &self.address)
            .field("is_early", &self.early.is_some())
            .finish_non_exhaustive()
    }
}

impl Opened {
    /// Says `hello` on the first stream of `connection`. Checks the peer's certificate unless what is sent is `early`;
    /// [`TransportError::TooEarly`] if that was refused already.
    pub(super) async fn new(
        connection: quinn::Connection,
        (mut send, receive): (SendStream, RecvStream),
        early: Option<ZeroRttAccepted>,
        (expected, address): (&Identity, SocketAddr),
        hello: &Hello,
        (acquaintances, refusals): (Arc<Acquaintances>, Refusals),
    ) -> Result<Self, TransportError> {
        let mut unmet = Unmet {
            connection: connection.clone(),
            expected: expected.clone(),
            address,
            receive,
            early,
            hello: hello.clone(),
            acquaintances,
        };
        if unmet.early.is_none() {
            unmet.verify()?;
        }
        if let Err(error) = greet(&mut send, hello).await {
            let is_refused = match unmet.early.take() {
                Some(accepted) => !accepted.await && unmet.loss().is_none(),
                None => false,
            };
            return Err(if is_refused { unmet.too_early() } else { error });
        }
        Ok(Self {
            connection,
            refusals,
            send,
            unmet,
        })
    }

    /// Whose connection it is meant to be.
    pub fn expected(&self) -> &Identity {
        &self.unmet.expected
    }

    /// Whether what is sent now may be refused by a peer that was restarted: [`Self::meet`] tells.
    pub fn is_early(&self) -> bool {
        self.unmet.early.is_some()
    }

    /// The control stream towards the peer, which may be written at once, and the meeting that is due.
    pub fn part(self) -> (SendStream, Unmet) {
        (self.send, self.unmet)
    }

    /// Meets the peer; see [`Unmet::meet`].
    pub async fn meet(self) -> Result<Peer, TransportError> {
        let (send, unmet) = self.part();
        let connection = unmet.connection.clone();
        let (hello, receive) = unmet.meet().await?;
        let Shown { identity, spki, .. } = certificate::shown(&connection)?;
        Ok(Peer {
            identity,
            certificate_spki: spki,
            hello,
            connection,
            control: Control { send, receive },
        })
    }
}

impl Unmet {
    /// Waits for the peer's certificate, if it was not shown yet, and its hello, within
    /// [`super::tuning::HANDSHAKE_TIMEOUT`]; gives the control stream from the peer. After
    /// [`TransportError::TooEarly`] every stream of the connection is void, and the next connection to the peer begins
    /// with a handshake. No other error leaves the connection open.
    pub async fn meet(mut self) -> Result<(Hello, RecvStream), TransportError> {
        let connection = self.connection.clone();
        let name = self.name();
        let meet = async {
            if let Some(accepted) = self.early.take() {
                let is_accepted = accepted.await;
                let loss = if is_accepted {
                    connection.close_reason()
                } else {
                    self.loss()
                };
                if let Some(source) = loss {
                    return Err(connect_error(&self.expected, self.address, source));
                }
                if !is_accepted {
                    return Err(self.too_early());
                }
                self.verify()?;
            }
            let hello = hear(&connection, &mut self.receive, &self.hello).await?;
            Ok((hello, self.receive))
        };
        let met = within_handshake(&name, meet).await;
        if let Err(TransportError::Silent { .. } | TransportError::Frame(_)) = &met {
            connection.close(VarInt::from_u32(close::SILENT), b"no hello was heard");
        }
        met
    }

    /// How the connection was lost, if that is not because the peer refused what came early: it may take a later stream
    /// for the first, and close; but only whoever has shaken hands can.
    fn loss(&self) -> Option<quinn::ConnectionError> {
        let is_by_peer =
            |closed: &quinn::ConnectionError| matches!(closed, quinn::ConnectionError::ApplicationClosed(_));
        self.connection
            .close_reason()
            .filter(|closed| !is_by_peer(closed))
    }

    fn name(&self) -> String {
        format!("{} at {}", self.expected, self.address)
    }

    /// The next connection begins with a handshake.
    fn too_early(&self) -> TransportError {
        self.acquaintances.forget(&self.expected);
        TransportError::TooEarly { peer: self.name() }
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
