//! What an action waits for before it runs: its table's position and the blobs of its own entries, nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quicc_protocol::BlobDigest;
use quicc_protocol::identifiers::EntryId;
use quicc_protocol::message::blob::BlobsWanted;
use quicc_protocol::message::refusal::{Refusal, RefusalCode};
use quicc_protocol::message::run::RunRequest;
use quinn::SendStream;

use super::admission::HeldSlot;
use super::condition::Patience;
use super::connection::{Client, blocking};
use super::mirror::{Mirror, Needs};
use super::refusals;
use super::views::{Use, ViewError};
use super::wanted::Claims;
use crate::store::Cas;
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
/// Waits until the view's table has reached the position of the request.
pub(super) async fn table(client: &Arc<Client>, request: &RunRequest) -> Result<Use, Refusal> {
    let builder = &client.builder;
    let refuse = |error: &ViewError| match error {
        ViewError::NotAllowed { .. } => {
            Refusal::new(RefusalCode::NotAllowed, "the view belongs to another client")
        }
        _ => refusals::unknown_table(),
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
        None => Err(refusals::unknown_table()),
    }
}

/// Blobs by digest, with their sizes.
type Blobs = BTreeMap<BlobDigest, u64>;

/// Waits until the entries have their bytes; asks the client for those nobody asked for or announced yet. Disk work
/// that outlasts a cancelled action keeps its `slot`.
pub(super) async fn fetch(
    client: &Arc<Client>,
    mirror: &Arc<Mirror>,
    ids: &[EntryId],
    slot: &Arc<HeldSlot>,
    send: &mut SendStream,
) -> Result<(), Refusal> {
    let ids: Arc<[EntryId]> = ids.into();
    let condition = &client.builder.condition;
    let claims = client.wanted.claims();
    let mut waiter = condition.waiter(UNASKED, 0);
    loop {
        let Some(missing) = missing(client, mirror, &ids, slot, &claims).await? else {
            return Ok(());
        };
        if missing.values().sum::<u64>() > UNASKED_BYTES || !waiter.changed(|| 0).await {
            break;
        }
    }
    let progress = || client.received.load(Ordering::Relaxed);
    let mut waiter = condition.waiter(INPUTS, progress());
    while let Some(missing) = missing(client, mirror, &ids, slot, &claims).await? {
        let mut digests = claims.claim(missing.keys());
        // What came since the look above is claimed by nobody any more.
        digests.retain(|digest| !client.builder.cas.has(digest));
        if !digests.is_empty() {
            let extensions = Vec::new();
            let sent = frame::send(send, &BlobsWanted { digests, extensions }).await;
            sent.map_err(|error| refusals::internal("a stream broke", &error))?;
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
    slot: &Arc<HeldSlot>,
    claims: &Claims<'_>,
) -> Result<Option<Blobs>, Refusal> {
    let (cas, mirror, ids) = (client.builder.cas.clone(), Arc::clone(mirror), Arc::clone(ids));
    let slot = Arc::clone(slot);
    let looked = blocking(move || {
        let _slot = slot;
        match mirror.needs(&ids) {
            Needs::Blobs(blobs) => put_in_place(&cas, &mirror, &ids, blobs),
            needs => Some(needs),
        }
    });
    match looked.await.map_err(|_| refusals::ending())? {
        Some(Needs::Nothing) => Ok(None),
        Some(Needs::Current(_)) => Err(refusals::stale()),
        Some(Needs::Covered(_)) => Err(Refusal::new(
            RefusalCode::Unsupported,
            "the action needs a file below a directory that the sandbox mounts over",
        )),
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
