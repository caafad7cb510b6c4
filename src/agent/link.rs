//! One warm connection to one builder: the blobs it holds, the actions it runs. What it was told is
//! [`super::telling`]'s.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use foldhash::HashSet;
use quicc_protocol::codec::DecodeError;
use quicc_protocol::identifiers::{LeaseId, ViewId};
use quicc_protocol::message::Message;
use quicc_protocol::message::blob::{BlobsWanted, Body};
use quicc_protocol::message::lease::LeaseGrant;
use quicc_protocol::message::refusal::{Refusal, RefusalCode};
use quicc_protocol::message::run::{
    DeclaredOutput, LeasePresented, Outcome, RunRequest, StandardStreams, Step,
};
use quicc_protocol::{BlobDigest, close, limits};
use quinn::{RecvStream, SendStream, VarInt};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::meeting::{Standing, follow_control, settled};
use super::sources::Sources;
use super::sweeps::Looked;
use super::table::{Table, TableError};
use super::telling::{Carrier, Telling, Told};
use super::upload::{self, OnTheirWay, Unasked, Upload};
use crate::config::builder::ACTION_WALL;
use crate::host::task::{self, Task};
use crate::host::timer;
use crate::inputs::tree::Tree;
use crate::transport::frame::{self, Frame};
use crate::transport::liveness::Watched;
use crate::transport::tuning::{self, TABLE_PRIORITY};
use crate::transport::{FrameError, Opened, Pace, until_closed};

/// Blobs of an action not believed to be held are sent unasked up to this many bytes in all: one edited source
/// and a header or two. More is announced first; a cold agent often meets a warm builder.
const UNASKED_BYTES: u64 = 256 << 10;
/// Times a builder may ask for each blob of an action, on average: it may have evicted what it was sent.
const ASKED_PER_BLOB: usize = 8;
/// How long a builder may take from the opening of a stream to the last byte of an answer: the wall clock it
/// grants an action, and ten minutes for the table, the blobs and the answer on a slow link. An action that a builder
/// was configured to grant more is made here when this is over.
const ANSWER: Duration = ACTION_WALL.saturating_add(Duration::from_secs(10 * 60));
/// Raced digests a slow action may lag behind before it counts as raced itself.
const RACED_REMEMBERED: usize = 64;

/// An action before a builder's table turned it into entries.
#[derive(Debug)]
pub struct Action {
    /// The compiler, or the programs it would run.
    pub steps: Vec<Step>,
    /// Working directory.
    pub cwd: Vec<u8>,
    /// Environment, sorted.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Umask.
    pub umask: u32,
    /// Where the compiler finds terminals.
    pub streams: StandardStreams,
    /// Physical directory, name and present state of each declared output.
    pub outputs: Vec<(Vec<u8>, DeclaredOutput)>,
}

/// What came back.
#[derive(Debug)]
pub struct Returned {
    /// How it ended.
    pub outcome: Outcome,
    /// Standard output, standard error, then the written outputs.
    pub bodies: Vec<Vec<u8>>,
    /// Of the table it was run with.
    pub epoch: u64,
    /// Records of that table which its builder knew before it ran.
    pub position: u64,
}

/// Why an action gave no outcome.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The builder said no.
    #[error("the builder refuses: {} ({:?})", .0.text, .0.code)]
    Refused(Refusal),
    /// The builder lives and did not answer in time.
    #[error("the builder does not answer")]
    Mute,
    /// The connection or stream ended.
    #[error("the connection to the builder is lost")]
    Lost,
    /// The builder was not heard for so long that its connection was given up.
    #[error("nothing is heard of the builder")]
    Silent,
    /// The builder was restarted since the last connection: it knows nothing of this one.
    #[error("the builder was restarted")]
    TooEarly,
    /// The builder broke the protocol.
    #[error("the builder breaks the protocol")]
    Misbehaved {
        /// How.
        source: FrameError,
    },
    /// The closure cannot be told.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A file changed between being hashed and being sent.
    #[error("{} changed while it was sent", path.display())]
    Raced {
        /// Which.
        path: PathBuf,
    },
}

impl From<FrameError> for RunError {
    fn from(source: FrameError) -> Self {
        if source.is_misbehaviour() {
            Self::Misbehaved { source }
        } else {
            Self::Lost
        }
    }
}

/// Bytes that passed for one unit.
#[derive(Debug, Default)]
pub struct Traffic {
    up: AtomicU64,
    down: AtomicU64,
}

impl Traffic {
    pub(super) fn add_up(&self, bytes: u64) {
        self.up.fetch_add(bytes, Ordering::Relaxed);
    }

    fn add_down(&self, bytes: u64) {
        self.down.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Sent and received so far.
    pub fn totals(&self) -> (u64, u64) {
        (self.up.load(Ordering::Relaxed), self.down.load(Ordering::Relaxed))
    }
}

/// The connection; shared by the units that use it.
#[derive(Debug)]
pub struct Link {
    /// Tells this connection from every other of this process.
    pub number: u64,
    /// The builder's process.
    pub process: Arc<Process>,
    /// The builder's name in the cluster.
    pub name: String,
    connection: quinn::Connection,
    standing: watch::Receiver<Standing>,
    view: ViewId,
    uploads: mpsc::UnboundedSender<Upload>,
    /// What was sent along with requests and may not be there yet.
    unasked: Arc<Unasked>,
    /// Digests that can no longer be read because their file changed: every action that names one is void.
    raced: broadcast::Sender<(BlobDigest, PathBuf)>,
    _uploader: Task<()>,
    liveness: Watched,
    _control: Task<()>,
}

/// A lease that was presented.
#[derive(Debug)]
pub struct Presentation(SendStream);

impl Presentation {
    /// Whether the builder at the other end of its link has it, as far as that was heard; known still when the link is
    /// lost.
    pub fn has_arrived(&self) -> bool {
        let stopped = std::pin::pin!(self.0.stopped());
        let mut now = std::task::Context::from_waker(std::task::Waker::noop());
        matches!(stopped.poll(&mut now), std::task::Poll::Ready(Ok(_)))
    }
}

/// One life of a builder, which may outlast a connection.
#[derive(Debug)]
pub struct Process {
    /// Tells it from every other of this process, though one builder may seem to be several.
    pub number: u64,
    /// Digests it holds or is being sent. It may have evicted some: then it asks.
    held: Mutex<HashSet<BlobDigest>>,
    telling: Arc<Telling>,
    looked: Mutex<Looked>,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The builder said that it ends.
    Ending,
    /// Nothing was heard for too long.
    Silent,
    /// The builder is another process by now, and said so.
    Restarted,
    /// It broke, or was closed by either side for another reason.
    Other,
}

static NUMBERS: AtomicU64 = AtomicU64::new(1);

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    /// Takes over a connection to a builder. `epoch` must exceed that of any earlier table of this view there, and leave
    /// room for more. `former` is the process that was met there last: it is the same one as long as it takes what is
    /// sent early. Records sent are added to `records`.
    pub fn new(
        opened: Opened,
        (view, epoch): (ViewId, u64),
        tree: Arc<Tree>,
        former: Option<Arc<Process>>,
        records: &Arc<AtomicU64>,
    ) -> Self {
        let connection = opened.connection.clone();
        let name = opened.expected().name.to_string();
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let former = former.filter(|_| opened.is_early());
        let liveness = Watched::new(connection.clone(), Pace::OnDemand, opened.refusals.clone());
        let (standing, stands) = watch::channel(Standing::Unmet);
        let control_watch = task::spawn("builder-control", follow_control(opened, standing));
        let carrier = Carrier {
            connection: connection.clone(),
            standing: stands.clone(),
        };
        let process = match former {
            Some(process) => {
                process.telling.go_on(carrier, epoch);
                process
            }
            None => Arc::new(Process {
                number,
                held: Mutex::default(),
                telling: Telling::begin(view, carrier, epoch, Arc::clone(records)),
                looked: Mutex::default(),
            }),
        };
        let (uploads, queue) = mpsc::unbounded_channel();
        let uploader = task::spawn("uploader", upload::send_uploads(connection.clone(), tree, queue));
        Self {
            number,
            process,
            name,
            connection,
            standing: stands,
            view,
            uploads,
            unasked: Arc::default(),
            raced: broadcast::channel(RACED_REMEMBERED).0,
            _uploader: uploader,
            liveness,
            _control: control_watch,
        }
    }

    /// Whether the builder refused all that was sent before its answer: it was restarted.
    pub fn is_too_early(&self) -> bool {
        *self.standing.borrow() == Standing::TooEarly
    }

    /// Whether it is not known yet how the meeting with its builder ended. A connection may have ended before that is.
    pub fn is_unsettled(&self) -> bool {
        *self.standing.borrow() == Standing::Unmet
    }

    /// Whether it was too early, once that is known.
    pub async fn was_too_early(&self) -> bool {
        settled(self.standing.clone()).await == Standing::TooEarly
    }

    /// The path's round trip as it is now.
    pub fn round_trip(&self) -> Duration {
        self.connection.rtt()
    }

    /// Whether the connection still stands.
    pub fn is_alive(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Whether the builder is another process than the one this is a connection to, and said so.
    pub fn is_restarted(&self) -> bool {
        self.connection.close_reason() == Some(quinn::ConnectionError::Reset)
    }

    /// Returns when the connection has ended.
    pub async fn closed(&self) -> End {
        match self.connection.closed().await {
            quinn::ConnectionError::ApplicationClosed(closed)
                if closed.error_code == VarInt::from_u32(close::ENDING) =>
            {
                End::Ending
            }
            quinn::ConnectionError::TimedOut => End::Silent,
            quinn::ConnectionError::Reset => End::Restarted,
            _ if self.liveness.gave_up() => End::Silent,
            _ => End::Other,
        }
    }

    /// Whether the builder never answered at all.
    pub fn was_never_met(&self) -> bool {
        *self.standing.borrow() == Standing::Failed
    }

    /// Ends the connection.
    pub fn close(&self) {
        self.connection.close(VarInt::from_u32(close::DONE), b"");
    }

    /// Presents a lease. The builder may meet an action of it first and waits.
    pub async fn present(&self, grant: &LeaseGrant) -> Result<Presentation, RunError> {
        let presented = LeasePresented {
            lease: grant.lease,
            ticket: grant.ticket.clone(),
            extensions: Vec::new(),
        };
        let present = async {
            let mut send = self.connection.open_uni().await.map_err(|_| RunError::Lost)?;
            let _ = send.set_priority(TABLE_PRIORITY);
            frame::send(&mut send, &presented).await?;
            let _ = send.finish();
            Ok(Presentation(send))
        };
        until_closed(&self.connection, present)
            .await
            .unwrap_or(Err(RunError::Lost))
    }

    /// Changes what the builder was told: records leave in the order of their positions, also when the change failed
    /// midway. A table whose ids are used up is begun anew.
    pub fn tell<T>(
        &self,
        change: impl Fn(&mut Table) -> Result<T, TableError>,
    ) -> Result<Told<T>, TableError> {
        self.process.telling.tell(change)
    }

    /// The same, or `None` while somebody else changes it. Never waits.
    pub fn tell_at_once<T>(
        &self,
        change: impl Fn(&mut Table) -> Result<T, TableError>,
    ) -> Option<Result<Told<T>, TableError>> {
        self.process.telling.tell_at_once(change)
    }

    /// What the table, as it was told, answers at once; `None` while somebody changes it. Never waits.
    pub fn ask<T>(&self, question: impl FnOnce(&Table) -> T) -> Option<Told<T>> {
        self.process.telling.ask(question)
    }

    /// What the last look at what was told left to do; held by whoever looks.
    pub fn looked(&self) -> MutexGuard<'_, Looked> {
        self.process.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, unless somebody looks at this moment.
    pub fn looked_if_idle(&self) -> Option<MutexGuard<'_, Looked>> {
        match self.process.looked.try_lock() {
            Ok(looked) => Some(looked),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Runs an action whose closure was told, under `lease`. Dropping the future cancels it.
    pub async fn run(
        &self,
        lease: LeaseId,
        action: &Action,
        told: Told<(Arc<[u8]>, Vec<DeclaredOutput>)>,
        sources: &Sources,
        traffic: &Arc<Traffic>,
    ) -> Result<Returned, RunError> {
        let _waiting = self.liveness.wait();
        // The opening too: a builder that grants no stream, or reads none, must not hold a unit for ever.
        let answer = self.run_at_leisure(lease, action, told, sources, traffic);
        let answer = timer::timeout(ANSWER, until_closed(&self.connection, answer)).await;
        match answer
            .unwrap_or(Some(Err(RunError::Mute)))
            .unwrap_or(Err(RunError::Lost))
        {
            Err(RunError::Lost) if settled(self.standing.clone()).await == Standing::TooEarly => {
                Err(RunError::TooEarly)
            }
            Err(RunError::Lost) if !self.is_alive() && self.closed().await == End::Silent => {
                Err(RunError::Silent)
            }
            answer => answer,
        }
    }

    async fn run_at_leisure(
        &self,
        lease: LeaseId,
        action: &Action,
        told: Told<(Arc<[u8]>, Vec<DeclaredOutput>)>,
        sources: &Sources,
        traffic: &Arc<Traffic>,
    ) -> Result<Returned, RunError> {
        let Told {
            epoch,
            position,
            value: (entries, outputs),
        } = told;
        let mut request = RunRequest {
            lease,
            view: self.view,
            epoch,
            position,
            entries: entries.to_vec(),
            steps: action.steps.clone(),
            cwd: action.cwd.clone(),
            env: action.env.clone(),
            umask: action.umask,
            streams: action.streams,
            outputs,
            extensions: Vec::new(),
        };
        let raced = self.raced.subscribe();
        let unasked = self.send_unasked(sources, traffic)?;
        request.tell_on_their_way(&self.unasked.of(sources));
        let (send, receive) = self.connection.open_bi().await.map_err(|_| RunError::Lost)?;
        let mut stream = RunStream {
            send,
            receive,
            finished: false,
        };
        let request = request.to_frame();
        let priority = tuning::run_priority(stream.send.id(), request.len() as u64);
        let _ = stream.send.set_priority(priority);
        traffic.add_up(request.len() as u64);
        let broken = |source: quinn::WriteError| FrameError::Broken {
            source: source.into(),
        };
        stream.send.write_all(&request).await.map_err(broken)?;
        let about = About {
            epoch,
            position,
            outputs: action.outputs.len(),
        };
        let conversation = self.converse(&mut stream, about, sources, traffic);
        let returned = tokio::select! {
            both = async { tokio::try_join!(conversation, self.await_sent(unasked, sources)) } => both?.0,
            error = await_race(raced, sources) => return Err(error),
        };
        stream.finished = true;
        Ok(returned)
    }

    async fn converse(
        &self,
        stream: &mut RunStream,
        about: About,
        sources: &Sources,
        traffic: &Arc<Traffic>,
    ) -> Result<Returned, RunError> {
        let mut may_ask = ASKED_PER_BLOB * sources.iter().count();
        loop {
            let frame = frame::receive(&mut stream.receive, limits::RUN_PAYLOAD)
                .await?
                .ok_or(RunError::Lost)?;
            traffic.add_down(frame.payload.len() as u64);
            if frame.is::<BlobsWanted>() || frame.is::<Outcome>() {
                self.process.telling.confirm(about.epoch, about.position);
            }
            if frame.is::<BlobsWanted>() {
                let wanted: BlobsWanted = frame.open()?;
                may_ask = may_ask
                    .checked_sub(wanted.digests.len().max(1))
                    .ok_or_else(|| malformed("blobs are asked for without end"))?;
                let queued = self.queue(wanted.digests, None, sources, traffic)?;
                self.await_sent(queued, sources).await?;
            } else if frame.is::<Refusal>() {
                let refusal: Refusal = frame.open()?;
                if refusal.code == RefusalCode::UnknownTable && !self.process.telling.disown(about.epoch) {
                    self.close();
                }
                return Err(RunError::Refused(refusal));
            } else if frame.is::<Outcome>() {
                return self.receive_outcome(stream, &frame, about, traffic).await;
            } else if !frame.is_ignorable() {
                let found = frame.header.kind;
                return Err(FrameError::Unexpected {
                    expected: Outcome::NAME,
                    found,
                }
                .into());
            }
        }
    }

    async fn receive_outcome(
        &self,
        stream: &mut RunStream,
        frame: &Frame,
        about: About,
        traffic: &Arc<Traffic>,
    ) -> Result<Returned, RunError> {
        let outcome: Outcome = frame.open()?;
        if let Some(rule) = broken_promise(&outcome, about.outputs) {
            let what = Outcome::NAME;
            return Err(FrameError::from(DecodeError::Invalid { what, rule }).into());
        }
        let mut bodies = Vec::with_capacity(outcome.bodies.len());
        for body in &outcome.bodies {
            let mut bytes = Vec::new();
            frame::receive_body(&mut stream.receive, body, &mut bytes).await?;
            traffic.add_down(body.wire_size);
            bodies.push(bytes);
        }
        Ok(Returned {
            outcome,
            bodies,
            epoch: about.epoch,
            position: about.position,
        })
    }

    /// Sends what the builder is believed to lack, if that is little. Never waits: who is cancelled leaves no belief in
    /// what was not sent.
    fn send_unasked(&self, sources: &Sources, traffic: &Arc<Traffic>) -> Result<Vec<Queued>, RunError> {
        let lacking: Vec<BlobDigest> = {
            let mut held = lock(&self.process.held);
            let lacking: HashSet<_> = sources
                .iter()
                .filter(|source| !held.contains(&source.digest))
                .map(|source| (source.digest, source.size))
                .collect();
            let bytes: u64 = lacking.iter().map(|(_, size)| size).sum();
            if lacking.is_empty() || bytes > UNASKED_BYTES {
                return Ok(Vec::new());
            }
            held.extend(lacking.iter().map(|(digest, _)| *digest));
            lacking.into_iter().map(|(digest, _)| digest).collect()
        };
        let unasked = self.unasked.begin(lacking.clone());
        self.queue(lacking, Some(unasked), sources, traffic)
    }

    /// Has blobs sent, some megabytes a stream. What is `unasked` is on its way for as long as a batch of it is.
    fn queue(
        &self,
        digests: Vec<BlobDigest>,
        unasked: Option<Arc<OnTheirWay>>,
        sources: &Sources,
        traffic: &Arc<Traffic>,
    ) -> Result<Vec<Queued>, RunError> {
        let found = sources
            .find(&digests)
            .ok_or_else(|| malformed("a blob was asked for that the action does not name"))?;
        let batches = upload::batches(found);
        let mut queued = Vec::with_capacity(batches.len());
        for batch in batches {
            lock(&self.process.held).extend(batch.iter().map(|file| file.digest));
            let (done, result) = oneshot::channel();
            let upload = Upload {
                batch,
                traffic: Arc::clone(traffic),
                unasked: unasked.clone(),
                done,
            };
            self.uploads.send(upload).map_err(|_| RunError::Lost)?;
            queued.push(result);
        }
        Ok(queued)
    }

    /// Waits until all of it is sent.
    async fn await_sent(&self, queued: Vec<Queued>, sources: &Sources) -> Result<(), RunError> {
        for result in queued {
            let result = result.await.unwrap_or(Err(RunError::Lost));
            if let Err(RunError::Raced { path }) = &result {
                let digest = sources
                    .iter()
                    .find(|source| source.path == path)
                    .map(|source| source.digest);
                if let Some(digest) = digest {
                    lock(&self.process.held).remove(&digest);
                    let _ = self.raced.send((digest, path.clone()));
                }
            }
            result?;
        }
        Ok(())
    }
}

/// A batch that is sent in its turn.
type Queued = oneshot::Receiver<Result<(), RunError>>;

/// What an action was sent with.
#[derive(Debug, Clone, Copy)]
struct About {
    epoch: u64,
    position: u64,
    /// Outputs declared.
    outputs: usize,
}

/// What is wrong with an outcome for `declared` outputs, beyond the rules of its message. To be asked before any of
/// its bodies is read: they go to memory, and a few bytes on the wire can be many there.
fn broken_promise(outcome: &Outcome, declared: usize) -> Option<&'static str> {
    if outcome.outputs.len() != declared {
        return Some("an outcome tells of each declared output");
    }
    let bytes = |bodies: &[Body]| bodies.iter().map(|body| body.size).fold(0, u64::saturating_add);
    let (texts, outputs) = outcome.bodies.split_at(outcome.bodies.len().min(2));
    if bytes(texts) > limits::OUTCOME_TEXT {
        return Some("an outcome carries too much text");
    }
    (bytes(outputs) > limits::OUTCOME_OUTPUTS).then_some("an outcome carries too much output")
}

fn malformed(rule: &str) -> RunError {
    RunError::Refused(Refusal::new(RefusalCode::Malformed, rule))
}

/// Returns when a digest among `sources` can no longer be read.
async fn await_race(mut raced: broadcast::Receiver<(BlobDigest, PathBuf)>, sources: &Sources) -> RunError {
    loop {
        match raced.recv().await {
            Ok((digest, path)) if sources.iter().any(|source| source.digest == digest) => {
                return RunError::Raced { path };
            }
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => {
                return RunError::Raced {
                    path: PathBuf::from("one of many files"),
                };
            }
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// A run stream that cancels the action unless it was read to its end.
struct RunStream {
    send: SendStream,
    receive: RecvStream,
    finished: bool,
}

impl Drop for RunStream {
    fn drop(&mut self) {
        if self.finished {
            let _ = self.send.finish();
        } else {
            let _ = self.send.reset(VarInt::from_u32(close::CANCELLED));
            let _ = self.receive.stop(VarInt::from_u32(close::CANCELLED));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quicc_protocol::message::blob::Encoding;
    use quicc_protocol::message::run::{After, Exit, Usage};

    /// An outcome with bodies of these sizes: two texts, then outputs, of which it tells one more.
    fn outcome(sizes: &[u64]) -> Outcome {
        let body = |size: &u64| Body {
            digest: BlobDigest::of(b""),
            size: *size,
            wire_size: 1,
            encoding: Encoding::Zstd,
        };
        let mut outputs = vec![After::Written { executable: false }; sizes.len() - 2];
        outputs.push(After::Absent);
        Outcome {
            exit: Exit::Code(0),
            outputs,
            bodies: sizes.iter().map(body).collect(),
            unexpected: Vec::new(),
            mirror_changed: false,
            usage: Usage::default(),
            extensions: Vec::new(),
        }
    }

    #[test]
    fn an_outcome_is_refused_before_it_costs_memory() {
        const TEXT: u64 = limits::OUTCOME_TEXT;
        const OUTPUTS: u64 = limits::OUTCOME_OUTPUTS;
        let check = |sizes: &[u64], declared, good: bool| {
            let outcome = outcome(sizes);
            assert_eq!(outcome.broken_rule(), None);
            assert_eq!(broken_promise(&outcome, declared).is_none(), good, "{sizes:?}");
        };
        check(&[0, 0], 1, true);
        check(&[0, 0], 0, false);
        check(&[1, 1, 1], 2, true);
        check(&[1, 1, 1, 1], 2, false);
        check(&[TEXT - 1, 1, OUTPUTS - 1, 1], 3, true);
        check(&[TEXT, 1, 0, 0], 3, false);
        check(&[0, 0, OUTPUTS, 1], 3, false);
    }
}
