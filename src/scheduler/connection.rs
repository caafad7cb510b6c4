//! One connection to the scheduler: its handshake, what it says as events, what it is told from a queue.
//!
//! Decides nothing about leases. Speaks on the control stream only; a peer that opens another, breaks the protocol
//! or says what its certificate's role may not say loses its connection, and nobody else notices.

use std::time::Duration;

use quicc_certs::{Name, Role};
use quicc_protocol::message::lease::{FarmStatus, FarmStatusRequest, LeaseDemand, LeaseGrant};
use quicc_protocol::message::offer::{BuilderOffer, LeaseEnd, SchedulerWelcome};
use quicc_protocol::version::Hello;
use quicc_protocol::{close, identifiers::LeaseId, limits};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

use super::belief;
use crate::transport::frame::{self, Frame, FrameError};
use crate::transport::{Arriving, Peer, certificate};

/// Messages queued for one peer. A lease is renewed twice a minute; whoever is this far behind does not read.
pub(super) const OUTBOX: usize = 256;
/// Time for one message to enter the stream: its window is closed only while the peer does not read.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// Number of a connection; used once.
pub(super) type ConnectionNumber = u64;

/// What the service learns from a connection.
#[derive(Debug)]
pub(super) enum Event {
    /// A builder or an agent is there.
    Arrived(Visitor),
    /// A builder's offer.
    Offered(BuilderOffer),
    /// An agent's demand.
    Demanded(LeaseDemand),
    /// An agent's lease given back.
    Returned(LeaseId),
    /// An agent wants to know the state of the farm.
    StatusAsked,
    /// The connection ended, or never came about. The last event.
    Gone,
}

/// A peer that arrived, and the ways to reach it.
#[derive(Debug)]
pub(super) struct Visitor {
    /// Builder or client.
    pub(super) role: Role,
    /// Name in the cluster.
    pub(super) name: Name,
    /// SHA-256 of its certificate's public key.
    pub(super) spki: [u8; 32],
    /// What it is to be told.
    pub(super) outbox: mpsc::Sender<Outgoing>,
    /// Ends the connection.
    pub(super) dismissal: oneshot::Sender<Ending>,
}

/// A message of the scheduler.
#[derive(Debug)]
pub(super) enum Outgoing {
    Welcome(SchedulerWelcome),
    Grant(LeaseGrant),
    End(LeaseEnd),
    Status(FarmStatus),
}

/// How a connection is closed: code and reason of QUIC's CONNECTION_CLOSE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) code: u32,
    pub(super) reason: String,
}

impl Ending {
    pub(super) fn new(code: u32, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { code, reason }
    }
}

/// The sending end of the service's queue, for one connection.
#[derive(Debug, Clone)]
pub(super) struct Reporter {
    pub(super) connection: ConnectionNumber,
    pub(super) events: mpsc::Sender<(ConnectionNumber, Event)>,
}

impl Reporter {
    /// Waits while the service is behind. One report at a time: a talkative peer waits, others do not.
    async fn report(&self, event: Event) {
        // The service takes no reports any more only when it ends, and then it ends this task too.
        let _ = self.events.send((self.connection, event)).await;
    }
}

/// Serves one connection from its handshake to its end.
pub(super) async fn attend(arriving: Arriving, hello: Hello, cluster: Name, reporter: Reporter) {
    let address = arriving.remote_address();
    match arriving.finish(&hello).await {
        Ok(peer) => converse(peer, &cluster, &reporter).await,
        Err(error) => tracing::debug!(%address, %error, "a connection did not come about"),
    }
    reporter.report(Event::Gone).await;
}

async fn converse(peer: Peer, cluster: &Name, reporter: &Reporter) {
    let Peer {
        identity,
        certificate_spki: spki,
        connection,
        mut control,
        ..
    } = peer;
    let ending = if &identity.cluster != cluster {
        Ending::new(close::NOT_ALLOWED, "another cluster")
    } else if identity.role == Role::Scheduler {
        Ending::new(close::NOT_ALLOWED, "a scheduler has no business with a scheduler")
    } else {
        let (outbox, queue) = mpsc::channel(OUTBOX);
        let (dismissal, dismissed) = oneshot::channel();
        let visitor = Visitor {
            role: identity.role,
            name: identity.name.clone(),
            spki,
            outbox,
            dismissal,
        };
        reporter.report(Event::Arrived(visitor)).await;
        tokio::select! {
            ending = listen(&mut control.receive, identity.role, reporter) => ending,
            ending = tell(&mut control.send, queue, WRITE_WITHIN) => ending,
            ending = dismissed => ending.unwrap_or_else(|_| Ending::new(close::ENDING, "the scheduler is ending")),
            () = certificate::expiry(&connection) => Ending::new(close::NOT_ALLOWED, "the certificate has expired"),
            Ok(_) = connection.accept_bi() => Ending::new(close::PROTOCOL, "a second stream"),
            Ok(_) = connection.accept_uni() => Ending::new(close::PROTOCOL, "a second stream"),
        }
    };
    if ending.code == close::DONE {
        tracing::debug!(peer = %identity, reason = ending.reason, "connection ended");
    } else {
        tracing::warn!(peer = %identity, code = ending.code, reason = ending.reason, "connection closed");
    }
    connection.close(ending.code.into(), ending.reason.as_bytes());
}

/// Reports what the peer says until it says something wrong, or nothing more.
async fn listen(reader: &mut (impl AsyncRead + Unpin), role: Role, reporter: &Reporter) -> Ending {
    loop {
        let understood = match frame::receive(reader, limits::CONTROL_PAYLOAD).await {
            Ok(Some(frame)) => understand(&frame, role),
            Ok(None) => return Ending::new(close::DONE, "the peer ended"),
            Err(error) => Err(ending_after(&error)),
        };
        match understood {
            Ok(Some(event)) => reporter.report(event).await,
            Ok(None) => {}
            Err(ending) => return ending,
        }
    }
}

/// What a message means from a peer of `role`; `None` for what may be skipped.
fn understand(frame: &Frame, role: Role) -> Result<Option<Event>, Ending> {
    let open_error = |error: FrameError| ending_after(&error);
    let refused = |rule: &str| Ending::new(close::PROTOCOL, rule);
    let of_builder = frame.is::<BuilderOffer>();
    let of_agent = frame.is::<LeaseDemand>() || frame.is::<LeaseEnd>() || frame.is::<FarmStatusRequest>();
    match role {
        Role::Builder if of_builder => {
            let offer: BuilderOffer = frame.open().map_err(open_error)?;
            match belief::broken_by_offer(&offer) {
                Some(rule) => Err(refused(rule)),
                None => Ok(Some(Event::Offered(offer))),
            }
        }
        Role::Client if frame.is::<LeaseDemand>() => {
            let demand: LeaseDemand = frame.open().map_err(open_error)?;
            match belief::broken_by_demand(&demand) {
                Some(rule) => Err(refused(rule)),
                None => Ok(Some(Event::Demanded(demand))),
            }
        }
        Role::Client if frame.is::<LeaseEnd>() => {
            let LeaseEnd { lease, .. } = frame.open().map_err(open_error)?;
            Ok(Some(Event::Returned(lease)))
        }
        Role::Client if frame.is::<FarmStatusRequest>() => {
            let FarmStatusRequest { .. } = frame.open().map_err(open_error)?;
            Ok(Some(Event::StatusAsked))
        }
        _ if of_builder || of_agent => Err(Ending::new(
            close::NOT_ALLOWED,
            format!("a {role} may not send message type {}", frame.header.kind),
        )),
        _ if frame.is_ignorable() => Ok(None),
        _ => Err(refused("a message type that is not known here")),
    }
}

fn ending_after(error: &FrameError) -> Ending {
    if error.is_misbehaviour() {
        Ending::new(close::PROTOCOL, error.to_string())
    } else {
        Ending::new(close::DONE, error.to_string())
    }
}

/// Sends what is queued until the peer stops reading: a message does not enter the stream within `bound`.
async fn tell(
    writer: &mut (impl AsyncWrite + Unpin),
    mut queue: mpsc::Receiver<Outgoing>,
    bound: Duration,
) -> Ending {
    while let Some(outgoing) = queue.recv().await {
        let sending = async {
            match outgoing {
                Outgoing::Welcome(message) => frame::send(writer, &message).await,
                Outgoing::Grant(message) => frame::send(writer, &message).await,
                Outgoing::End(message) => frame::send(writer, &message).await,
                Outgoing::Status(message) => frame::send(writer, &message).await,
            }
        };
        match tokio::time::timeout(bound, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return ending_after(&error),
            Err(_) => return Ending::new(close::SILENT, "the peer does not read"),
        }
    }
    // Nobody is left to queue anything: the dismissal that says why is on its way.
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use quicc_protocol::envelope::{Header, IGNORABLE};
    use quicc_protocol::message::Message;

    fn frame_of<M: Message>(message: &M) -> Frame {
        frame(M::KIND, 0, quicc_protocol::codec::encode(message))
    }

    fn frame(kind: u16, flags: u16, payload: Vec<u8>) -> Frame {
        let length = payload.len() as u32;
        let header = Header { length, kind, flags };
        Frame { header, payload }
    }

    #[test]
    fn each_role_may_say_its_own_and_nothing_else() {
        let extensions = Vec::new;
        let end = frame_of(&LeaseEnd {
            lease: 7,
            extensions: extensions(),
        });
        let question = frame_of(&FarmStatusRequest {
            extensions: extensions(),
        });
        let unknown = frame(999, 0, vec![1]);
        let ignorable = frame(999, IGNORABLE, vec![1]);
        let garbage = frame(LeaseEnd::KIND, 0, vec![0xff; 3]);
        let check = |frame: &Frame, role: Role, expected: Result<&str, u32>| {
            let found = understand(frame, role).map(|event| format!("{event:?}"));
            assert_eq!(
                found.as_deref().map_err(|ending| ending.code),
                expected,
                "{frame:?} of {role}"
            );
        };
        check(&end, Role::Client, Ok("Some(Returned(7))"));
        check(&end, Role::Builder, Err(close::NOT_ALLOWED));
        check(&question, Role::Client, Ok("Some(StatusAsked)"));
        check(&question, Role::Builder, Err(close::NOT_ALLOWED));
        check(
            &frame(BuilderOffer::KIND, 0, vec![]),
            Role::Client,
            Err(close::NOT_ALLOWED),
        );
        check(
            &frame(BuilderOffer::KIND, 0, vec![]),
            Role::Builder,
            Err(close::PROTOCOL),
        );
        check(&garbage, Role::Client, Err(close::PROTOCOL));
        for role in [Role::Builder, Role::Client] {
            check(&unknown, role, Err(close::PROTOCOL));
            check(&ignorable, role, Ok("None"));
        }
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (mut writer, _unread) = tokio::io::duplex(1);
        let (outbox, queue) = mpsc::channel(1);
        let end = LeaseEnd {
            lease: 7,
            extensions: Vec::new(),
        };
        outbox.send(Outgoing::End(end)).await.unwrap();
        let ending = tell(&mut writer, queue, Duration::from_millis(1)).await;
        assert_eq!(ending.code, close::SILENT);
    }
}
