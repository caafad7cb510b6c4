//! One client's connection: takes its streams, hands each to the file of its kind, closes the connection of a
//! client that breaks the protocol.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quicc_certs::Role;
use quicc_protocol::identifiers::{LeaseId, ViewId};
use quicc_protocol::message::blob::BlobBatch;
use quicc_protocol::message::run::LeasePresented;
use quicc_protocol::message::table::TableOpen;
use quicc_protocol::{close, limits};
use quinn::{RecvStream, VarInt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::condition::Patience;
use super::service::Shared;
use super::views::Owner;
use super::wanted::Wanted;
use super::{action, blobs, tables};
use crate::host::task::{self, Task};
use crate::host::text;
use crate::transport::effort::Effort;
use crate::transport::liveness::Watched;
use crate::transport::refusal::Refusals;
use crate::transport::{FrameError, Pace, Peer, frame, tuning};

/// Unidirectional streams of one client served at once; further ones wait unread. Each holds a message of at
/// most [`limits::RUN_PAYLOAD`] and a few buffers.
const STREAMS: usize = 64;
/// Table streams among them, which may last for ever.
const TABLE_STREAMS: usize = 16;
/// Run streams of one client served at once, most of which wait or were refused.
const RUN_STREAMS: usize = 256;
/// How long a table that is opened and a batch of blobs wait for a lease to be shown, which travels on a stream of
/// its own. Longer than a lease waits for the scheduler's first word.
pub(super) const LEASE_PATIENCE: Duration = Duration::from_secs(2);
/// Leases shown on one connection before those that entitle to nothing any more are forgotten.
const LEASES_SHOWN: usize = 64;
/// Tables remembered that were not opened; the oldest are forgotten first, and their actions wait a moment longer.
const TABLES_REFUSED: usize = 16;
/// Time for the first message of a stream to arrive.
pub(super) const FIRST_MESSAGE: Duration = Duration::from_secs(30);

/// A connected client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) builder: Arc<Shared>,
    pub(super) owner: Owner,
    pub(super) wanted: Wanted,
    /// Bytes of blobs received: progress, for those who wait for some.
    pub(super) received: AtomicU64,
    /// Where the outcomes go.
    pub(super) connection: quinn::Connection,
    pub(super) effort: Effort,
    tables: Semaphore,
    /// Leases shown on this connection whose tickets held. What bounds them is the builder's bound on all leases.
    leases: Mutex<Vec<LeaseId>>,
    /// Tables that were not opened on this connection: no action need wait for them.
    refused: Mutex<VecDeque<(ViewId, u64)>>,
    liveness: Watched,
}

impl Client {
    /// Waits until the client may fill this machine's disk: until a lease it showed on this connection is in force.
    /// `false` when none is within `patience`.
    pub(super) async fn is_entitled_within(&self, patience: Duration) -> bool {
        let look = || self.is_entitled().then_some(());
        let condition = &self.builder.condition;
        condition
            .wait(Patience::plain(patience), || 0, look)
            .await
            .is_some()
    }

    fn is_entitled(&self) -> bool {
        let leases = self.leases();
        let mut latest_first = leases.iter().rev();
        latest_first.any(|lease| self.builder.admission.entitles(self.owner.key, *lease))
    }

    fn note_lease(&self, lease: LeaseId, connection: &quinn::Connection) {
        connection.set_receive_window(VarInt::from_u32(tuning::CONNECTION_WINDOW));
        let mut leases = self.leases();
        leases.retain(|known| *known != lease);
        if leases.len() >= LEASES_SHOWN {
            leases.retain(|known| self.builder.admission.entitles(self.owner.key, *known));
        }
        leases.push(lease);
        drop(leases);
        self.builder.condition.notify();
    }

    /// A table was not opened: whoever waits for it is to look again.
    pub(super) fn note_refused(&self, view: ViewId, epoch: u64) {
        let mut refused = self.refused();
        if refused.len() >= TABLES_REFUSED {
            refused.pop_front();
        }
        refused.push_back((view, epoch));
        drop(refused);
        self.builder.condition.notify();
    }

    /// Whether a table was not opened on this connection.
    pub(super) fn is_refused(&self, view: ViewId, epoch: u64) -> bool {
        self.refused().contains(&(view, epoch))
    }

    fn refused(&self) -> MutexGuard<'_, VecDeque<(ViewId, u64)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leases(&self) -> MutexGuard<'_, Vec<LeaseId>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a stream of the client's is served no further.
#[derive(Debug)]
pub(super) enum StreamEnd {
    /// The client broke the protocol: its connection is closed with this reason.
    Misbehaviour(String),
    /// The client does what takes a lease, without one: its connection is closed.
    NoLease,
    /// The stream broke by itself.
    Broken,
    /// The client is told to stop sending, with a code of [`close`].
    Stop(u32),
}

impl StreamEnd {
    pub(super) fn misbehaviour(error: &dyn std::error::Error) -> Self {
        Self::Misbehaviour(text::chain(error))
    }

    pub(super) fn rule(rule: &str) -> Self {
        Self::Misbehaviour(rule.to_owned())
    }
}

impl From<FrameError> for StreamEnd {
    fn from(error: FrameError) -> Self {
        if error.is_misbehaviour() {
            Self::misbehaviour(&error)
        } else {
            Self::Broken
        }
    }
}

/// Work could not be done because the builder is ending.
impl From<tokio::task::JoinError> for StreamEnd {
    fn from(_: tokio::task::JoinError) -> Self {
        Self::Stop(close::ENDING)
    }
}

/// Runs `work` where it may block. An error says that the builder is ending, or that `work` panicked.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    tokio::task::spawn_blocking(work).await
}

/// Serves a peer until its connection ends. Dropping the future cancels everything that runs for it.
pub(super) async fn serve(builder: Arc<Shared>, peer: Peer) {
    let Peer {
        identity,
        certificate_spki,
        connection,
        mut control,
        ..
    } = peer;
    if identity.role != Role::Client || identity.cluster != builder.config.identity.cluster {
        tracing::warn!(peer = %identity, "refused: not a client of this cluster");
        connection.close(
            VarInt::from_u32(close::NOT_ALLOWED),
            b"only clients of the cluster",
        );
        return;
    }
    let shared = Arc::clone(&builder);
    let Some(_visit) = shared.visitors.admit(&identity) else {
        tracing::warn!(client = %identity, "refused: too many connections with one name");
        connection.close(
            VarInt::from_u32(close::NOT_ALLOWED),
            b"too many connections with one name",
        );
        return;
    };
    tracing::info!(client = %identity, "connected");
    let client = Arc::new(Client {
        wanted: Wanted::new(Arc::clone(&builder.condition)),
        builder,
        owner: Owner {
            identity: identity.clone(),
            key: certificate_spki,
        },
        received: AtomicU64::new(0),
        connection: connection.clone(),
        effort: Effort::default(),
        tables: Semaphore::new(TABLE_STREAMS),
        leases: Mutex::default(),
        refused: Mutex::default(),
        liveness: Watched::new(connection.clone(), Pace::Heard, Refusals::default()),
    });
    let (mut messages, mut runs) = (Tasks::default(), Tasks::default());
    let (code, reason) = tokio::select! {
        () = take_messages(&client, &connection, &mut messages) => (close::DONE, "the connection ended"),
        () = take_runs(&client, &connection, &mut runs) => (close::DONE, "the connection ended"),
        ended = frame::receive(&mut control.receive, limits::CONTROL_PAYLOAD) => match ended {
            Ok(Some(frame)) if !frame.is_ignorable() => (close::PROTOCOL, "a message on the control stream"),
            _ => (close::DONE, "the client ended"),
        },
    };
    tracing::info!(client = %identity, reason, "disconnected");
    connection.close(VarInt::from_u32(code), reason.as_bytes());
    messages.end().await;
    runs.end().await;
}

/// Takes unidirectional streams until the connection ends.
async fn take_messages(client: &Arc<Client>, connection: &quinn::Connection, tasks: &mut Tasks) {
    let permits = Arc::new(Semaphore::new(STREAMS));
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let Ok(mut stream) = connection.accept_uni().await else {
            return;
        };
        let (client, connection) = (Arc::clone(client), connection.clone());
        tasks.keep(task::spawn("message", async move {
            let _permit = permit;
            match take_message(&client, &connection, &mut stream).await {
                Ok(()) | Err(StreamEnd::Broken) => {}
                Err(StreamEnd::Stop(code)) => {
                    // Fails only for a stream that ended already.
                    let _ = stream.stop(VarInt::from_u32(code));
                }
                Err(StreamEnd::NoLease) => {
                    tracing::info!(client = %client.owner.identity, "a table goes on without a lease");
                    connection.close(
                        VarInt::from_u32(close::NOT_ALLOWED),
                        b"no lease in force was shown",
                    );
                }
                Err(StreamEnd::Misbehaviour(reason)) => {
                    tracing::warn!(client = %client.owner.identity, reason, "the client breaks the protocol");
                    connection.close(VarInt::from_u32(close::PROTOCOL), reason.as_bytes());
                }
            }
        }));
    }
}

/// Takes run streams until the connection ends.
async fn take_runs(client: &Arc<Client>, connection: &quinn::Connection, tasks: &mut Tasks) {
    let permits = Arc::new(Semaphore::new(RUN_STREAMS));
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let Ok((send, receive)) = connection.accept_bi().await else {
            return;
        };
        let client = Arc::clone(client);
        tasks.keep(task::spawn("action", async move {
            let _permit = permit;
            let _waiting = client.liveness.wait();
            action::serve(&client, send, receive).await;
        }));
    }
}

async fn take_message(
    client: &Arc<Client>,
    connection: &quinn::Connection,
    stream: &mut RecvStream,
) -> Result<(), StreamEnd> {
    let first = timeout(FIRST_MESSAGE, frame::receive(stream, limits::RUN_PAYLOAD));
    let frame = first.await.map_err(|_| StreamEnd::Stop(close::CANCELLED))??;
    let Some(frame) = frame else { return Ok(()) };
    if frame.is::<LeasePresented>() {
        let shown: LeasePresented = frame.open()?;
        let key = client.owner.key;
        match client.builder.admission.present(key, &shown).await {
            Ok(()) => client.note_lease(shown.lease, connection),
            Err(reason) => {
                tracing::warn!(client = %client.owner.identity, lease = shown.lease, reason, "a lease was not taken");
            }
        }
        Ok(())
    } else if frame.is::<TableOpen>() {
        let permit = client.tables.try_acquire();
        let _permit = permit.map_err(|_| StreamEnd::rule("too many tables at once"))?;
        tables::follow(client, stream, frame.open()?).await
    } else if frame.is::<BlobBatch>() {
        blobs::receive(client, stream, frame.open()?).await
    } else if frame.is_ignorable() {
        Err(StreamEnd::Stop(close::UNSUPPORTED))
    } else {
        Err(StreamEnd::rule("a message type that is not known here"))
    }
}

/// Tasks that end with their owner.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    running: Vec<Task<()>>,
    prune_at: usize,
}

impl Tasks {
    pub(super) fn keep(&mut self, task: Task<()>) {
        if self.running.len() >= self.prune_at {
            self.running.retain(|task| !task.is_finished());
            self.prune_at = 2 * self.running.len() + 8;
        }
        self.running.push(task);
    }

    /// Ends them all and waits until none is left.
    pub(super) async fn end(self) {
        self.running.iter().for_each(Task::abort);
        self.finished().await;
    }

    /// Waits until all have ended by themselves.
    pub(super) async fn finished(self) {
        for task in self.running {
            // A task that was aborted, or panicked and said so, is over as well.
            let _ = task.await;
        }
    }

    /// How many have not ended.
    pub(super) fn count(&mut self) -> usize {
        self.running.retain(|task| !task.is_finished());
        self.running.len()
    }
}
