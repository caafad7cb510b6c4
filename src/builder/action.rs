//! One action from its request to its outcome: slot, table, blobs, layout, sandbox, outputs. Whatever is
//! cancelled on the way leaves nothing: slot, processes and directories go with the future.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quicc_protocol::identifiers::{EntryId, decode_ascending};
use quicc_protocol::message::blob::BlobsWanted;
use quicc_protocol::message::refusal::{Refusal, RefusalCode};
use quicc_protocol::message::run::RunRequest;
use quicc_protocol::{BlobDigest, close, limits};
use quinn::{RecvStream, SendStream, VarInt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::collect::{self, CollectError};
use super::condition::Patience;
use super::connection::{Client, FIRST_MESSAGE, blocking};
use super::layout::{self, Layout, LayoutError};
use super::mirror::{Mirror, Needs};
use super::outcome::{self, Packed};
use super::tree::SCRATCH_NAME;
use super::views::{Use, ViewError};
use super::wanted::Claims;
use crate::sandbox::{self, Plan, Report, SandboxError};
use crate::store::Cas;
use crate::store::discard::OwnedDirectory;
use crate::transport::FrameError;
use crate::transport::frame;

/// How long an action waits for the stream of its table to appear: it may be overtaken, and a client that
/// reconnected hopes that its table is known.
const TABLE_WAIT: Duration = Duration::from_millis(300);
/// How long an action waits for its table or its blobs without any progress of them, and in all.
const INPUTS: Patience = Patience {
    patience: Duration::from_secs(10),
    total: Duration::from_secs(600),
};
/// How long an action waits for blobs that are small enough to be on their way unasked, before it asks.
const UNASKED: Patience = Patience::plain(Duration::from_millis(50));
/// Bytes up to which they may be: what a client sends along with a request at most.
const UNASKED_BYTES: u64 = 256 << 10;
/// When to ask a builder again that had no slot, milliseconds.
const BUSY_HINT: u32 = 100;
/// Time for an outcome to leave: the stream's window is closed only while the client does not read.
const SEND_WITHIN: Duration = Duration::from_secs(120);

/// Serves one run stream.
pub(super) async fn serve(client: &Arc<Client>, mut send: SendStream, mut receive: RecvStream) {
    let request = match timeout(FIRST_MESSAGE, request(&mut receive)).await {
        Ok(Ok(Some(request))) => request,
        Ok(Ok(None)) => return,
        Ok(Err(code)) => return abandon(&mut send, &mut receive, code),
        Err(_) => return abandon(&mut send, &mut receive, close::CANCELLED),
    };
    let stopped = send.stopped();
    let served = async {
        let answer = perform(client, request, &mut send).await;
        timeout(SEND_WITHIN, reply(&mut send, answer)).await
    };
    let complete = tokio::select! {
        sent = served => matches!(sent, Ok(Ok(()))),
        _ = stopped => false,
        () = cut(&mut receive) => false,
    };
    if !complete {
        abandon(&mut send, &mut receive, close::CANCELLED);
    }
}

/// The request, `None` for a stream that ends without one, or the code to reset the stream with.
async fn request(receive: &mut RecvStream) -> Result<Option<RunRequest>, u32> {
    loop {
        match frame::receive(receive, limits::RUN_PAYLOAD).await {
            Ok(Some(frame)) if frame.is::<RunRequest>() => {
                return frame.open().map(Some).map_err(|_| close::PROTOCOL);
            }
            Ok(Some(frame)) if frame.is_ignorable() => {}
            Ok(Some(_)) => return Err(close::UNSUPPORTED),
            Ok(None) => return Ok(None),
            Err(_) => return Err(close::PROTOCOL),
        }
    }
}

/// Returns when the client resets its side. That it ends it, or says more than there is to say, is no matter.
async fn cut(receive: &mut RecvStream) {
    if receive.received_reset().await == Ok(None) {
        std::future::pending().await
    }
}

fn abandon(send: &mut SendStream, receive: &mut RecvStream, code: u32) {
    // Fail only for streams that ended already.
    let _ = send.reset(VarInt::from_u32(code));
    let _ = receive.stop(VarInt::from_u32(code));
}

/// An outcome, and the right to hold it in memory.
struct Answer {
    packed: Packed,
    _permit: OwnedSemaphorePermit,
}

async fn reply(send: &mut SendStream, answer: Result<Answer, Refusal>) -> Result<(), FrameError> {
    let broken = |error: quinn::WriteError| FrameError::Broken { source: error.into() };
    match answer {
        Ok(Answer { packed, .. }) => {
            frame::send(send, &packed.outcome).await?;
            for wire in &packed.wires {
                send.write_all(wire).await.map_err(broken)?;
            }
        }
        Err(refusal) => frame::send(send, &refusal).await?,
    }
    // Fails only for a stream the client stopped.
    let _ = send.finish();
    Ok(())
}

async fn perform(
    client: &Arc<Client>,
    request: RunRequest,
    send: &mut SendStream,
) -> Result<Answer, Refusal> {
    let builder = &client.builder;
    let ids = decode_ascending(&request.entries, limits::TABLE_ENTRIES as usize)
        .map_err(|error| Refusal::new(RefusalCode::Malformed, error.to_string()))?;
    let slot = builder
        .admission
        .admit(client.owner.key, request.lease)
        .await
        .map_err(not_admitted)?;
    let view = table(client, &request).await?;
    fetch(client, &view.mirror, &ids, send).await?;
    let job = Job::lay(client, view, request, ids).await?;
    let report = job.run(client).await?;
    let packed = job.finish(client, report).await?;
    let permit = Arc::clone(&builder.outcomes).acquire_owned().await;
    // The client may start its next action as soon as it has read this one: its slot is free by then.
    drop(slot);
    Ok(Answer {
        packed,
        _permit: permit.map_err(|_| ending())?,
    })
}

fn not_admitted(code: RefusalCode) -> Refusal {
    let (text, retry_after) = match code {
        RefusalCode::Busy => ("no slot is free under this lease", BUSY_HINT),
        RefusalCode::Draining => ("the builder is ending", 0),
        _ => ("no ticket was shown for this lease", 0),
    };
    Refusal {
        retry_after,
        ..Refusal::new(code, text)
    }
}

fn internal(context: &str, error: &(dyn std::error::Error + 'static)) -> Refusal {
    tracing::error!(error, "{context}");
    Refusal::new(RefusalCode::Internal, context)
}

fn ending() -> Refusal {
    Refusal::new(RefusalCode::Draining, "the builder is ending")
}

fn stale() -> Refusal {
    Refusal::new(RefusalCode::Stale, "an entry was superseded")
}

/// Waits until the view's table has reached the position of the request.
async fn table(client: &Arc<Client>, request: &RunRequest) -> Result<Use, Refusal> {
    let builder = &client.builder;
    let refuse = |error: &ViewError| match error {
        ViewError::NotAllowed { .. } => {
            Refusal::new(RefusalCode::NotAllowed, "the view belongs to another client")
        }
        _ => unknown_table(),
    };
    let hold = || builder.views.hold(&client.owner, request.view, request.epoch);
    let look = || match hold() {
        Err(ViewError::Unknown { .. }) => None,
        held => Some(held),
    };
    let opened = builder.condition.wait(Patience::plain(TABLE_WAIT), || 0, look);
    let held = opened
        .await
        .unwrap_or_else(hold)
        .map_err(|error| refuse(&error))?;
    let position = held.mirror.position();
    let reached = || {
        let is_broken = held.mirror.is_broken();
        (is_broken || *position.borrow() >= request.position).then_some(is_broken)
    };
    let patience = if builder.views.is_fed(request.view) {
        INPUTS
    } else {
        Patience::plain(TABLE_WAIT)
    };
    let progress = || *position.borrow();
    match builder.condition.wait(patience, progress, reached).await {
        Some(false) => Ok(held),
        Some(true) => Err(Refusal::new(
            RefusalCode::Internal,
            "the view's files cannot be kept",
        )),
        None => Err(unknown_table()),
    }
}

fn unknown_table() -> Refusal {
    Refusal::new(RefusalCode::UnknownTable, "the table is not known here")
}

/// Blobs by digest, with their sizes.
type Blobs = BTreeMap<BlobDigest, u64>;

/// Waits until the entries have their bytes; asks the client for those nobody asked for or announced yet.
async fn fetch(
    client: &Arc<Client>,
    mirror: &Arc<Mirror>,
    ids: &[EntryId],
    send: &mut SendStream,
) -> Result<(), Refusal> {
    let ids: Arc<[EntryId]> = ids.into();
    let condition = &client.builder.condition;
    let claims = client.wanted.claims();
    let mut waiter = condition.waiter(UNASKED, 0);
    loop {
        let Some(missing) = missing(client, mirror, &ids, &claims).await? else {
            return Ok(());
        };
        if missing.values().sum::<u64>() > UNASKED_BYTES || !waiter.changed(|| 0).await {
            break;
        }
    }
    let progress = || client.received.load(Ordering::Relaxed);
    let mut waiter = condition.waiter(INPUTS, progress());
    while let Some(missing) = missing(client, mirror, &ids, &claims).await? {
        let digests = claims.claim(missing.keys());
        if !digests.is_empty() {
            let extensions = Vec::new();
            let sent = frame::send(send, &BlobsWanted { digests, extensions }).await;
            sent.map_err(|error| internal("a stream broke", &error))?;
        }
        if !waiter.changed(progress).await {
            return Err(Refusal::new(
                RefusalCode::Internal,
                "the action's files did not come",
            ));
        }
    }
    Ok(())
}

/// What the entries lack, once whatever the store has was put in place; `None` for nothing.
async fn missing(
    client: &Arc<Client>,
    mirror: &Arc<Mirror>,
    ids: &Arc<[EntryId]>,
    claims: &Claims<'_>,
) -> Result<Option<Blobs>, Refusal> {
    let (cas, mirror, ids) = (client.builder.cas.clone(), Arc::clone(mirror), Arc::clone(ids));
    let looked = blocking(move || match mirror.needs(&ids) {
        Needs::Blobs(blobs) => put_in_place(&cas, &mirror, &ids, blobs),
        needs => Some(needs),
    });
    match looked.await.map_err(|_| ending())? {
        Some(Needs::Nothing) => Ok(None),
        Some(Needs::Current(_)) => Err(stale()),
        Some(Needs::Blobs(blobs)) if !claims.has_failed(|digest| blobs.contains_key(digest)) => {
            Ok(Some(blobs))
        }
        _ => Err(Refusal::new(RefusalCode::Internal, "a file cannot be kept")),
    }
}

/// Puts blobs the store has in place and says what is needed still; `None` when one cannot be put there.
fn put_in_place(cas: &Cas, mirror: &Mirror, ids: &[EntryId], blobs: Blobs) -> Option<Needs> {
    let stored: Vec<BlobDigest> = blobs.into_keys().filter(|digest| cas.has(digest)).collect();
    for digest in &stored {
        mirror.materialise(digest);
    }
    // A damaged blob left the store and is asked for again; one that is still there found no room.
    let stuck = stored
        .iter()
        .any(|digest| cas.has(digest) && mirror.awaits(digest));
    (!stuck).then(|| mirror.needs(ids))
}

/// An action with its directories.
struct Job {
    view: Use,
    ids: Vec<EntryId>,
    /// The mirror's stamp when the directories were laid.
    stamp: u64,
    layout: Layout,
    plan: Plan,
    /// Holds the directories, and removes them.
    _directory: OwnedDirectory,
}

impl Job {
    async fn lay(
        client: &Arc<Client>,
        view: Use,
        request: RunRequest,
        mut ids: Vec<EntryId>,
    ) -> Result<Self, Refusal> {
        ids.extend(request.outputs.iter().map(|output| output.directory));
        let builder = Arc::clone(&client.builder);
        let laying = blocking(move || {
            let directory = builder
                .job_directory()
                .map_err(|error| internal("no directory for an action", &error))?;
            let (layout, stamp) = view.mirror.while_still(|still| {
                if still.needs(&ids) != Needs::Nothing {
                    return Err(stale());
                }
                layout::lay(
                    still,
                    directory.path(),
                    &request.cwd,
                    &request.outputs,
                    builder.job_owner,
                )
                .map(|layout| (layout, still.tree.stamp()))
                .map_err(|error| not_laid(&error))
            })?;
            let plan = plan(&view.mirror, &layout, request, &builder.config.limits);
            Ok(Self {
                view,
                ids,
                stamp,
                layout,
                plan,
                _directory: directory,
            })
        });
        laying.await.map_err(|_| ending())?
    }

    async fn run(&self, client: &Arc<Client>) -> Result<Report, Refusal> {
        let executable = &client.builder.config.executable;
        sandbox::run(executable, &self.plan)
            .await
            .map_err(|error| match &error {
                SandboxError::Exec { .. } => {
                    tracing::info!(
                        error = &error as &dyn std::error::Error,
                        "a compiler does not run here"
                    );
                    Refusal::new(RefusalCode::Unsupported, "the compiler cannot be executed here")
                }
                // What was to be bound had gone.
                _ if self.mirror_changed() => stale(),
                _ => internal("no sandbox for an action", &error),
            })
    }

    /// Reads and compresses what the run left.
    async fn finish(self, client: &Arc<Client>, report: Report) -> Result<Packed, Refusal> {
        let file_limit = client.builder.config.limits.file_bytes;
        let finishing = blocking(move || {
            let collected = collect::collect(&self.layout, file_limit).map_err(|error| match &error {
                CollectError::TooLarge => limit_exceeded(),
                CollectError::File(_) => internal("outputs cannot be read", &error),
            })?;
            outcome::pack(&report, collected, self.mirror_changed()).map_err(|limit| {
                tracing::info!(?limit, "an action ran into a limit");
                limit_exceeded()
            })
        });
        finishing.await.map_err(|_| ending())?
    }

    fn mirror_changed(&self) -> bool {
        self.view.mirror.changed_since(self.stamp, &self.ids)
    }
}

fn limit_exceeded() -> Refusal {
    Refusal::new(
        RefusalCode::LimitExceeded,
        "the action ran into a limit of the builder",
    )
}

fn not_laid(error: &LayoutError) -> Refusal {
    match error {
        LayoutError::Superseded => stale(),
        LayoutError::Root => Refusal::new(RefusalCode::Unsupported, error.to_string()),
        LayoutError::File(_) => internal("no directories for an action", error),
    }
}

fn plan(mirror: &Mirror, layout: &Layout, request: RunRequest, limits: &sandbox::Limits) -> Plan {
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let mut env = request.env;
    env.retain(|(name, _)| name != b"TMPDIR");
    env.push((b"TMPDIR".to_vec(), [b"/", SCRATCH_NAME].concat()));
    Plan {
        root: mirror.root().to_owned(),
        output_directories: layout.output_directories.clone(),
        protected: layout.protected.clone(),
        scratch: layout.scratch.clone(),
        program: path(&request.program),
        argv: request.argv,
        cwd: path(&request.cwd),
        env,
        umask: request.umask,
        limits: limits.clone(),
    }
}
