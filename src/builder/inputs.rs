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
use super::condition::{Patience, Waiter};
use super::connection::{Client, blocking};
use super::mirror::{Lacking, Mirror, Needs};
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
/// How long an action waits for blobs that are on their way as its client says, before it asks for them after all: so
/// long none of the client's comes.
const ON_THEIR_WAY: Patience = Patience {
    patience: Duration::from_secs(2),
    total: Duration::from_secs(600),
};
/// How long an action waits, where its client does not say, for blobs that are small enough to be on their way unasked,
/// before it asks.
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
        Err(ViewError::Unknown { .. }) if !client.is_refused(request.view, request.epoch) => None,
        held => Some(held),
    };
    let opened = builder.condition.wait(Patience::plain(TABLE_WAIT), || 0, look);
    let held = opened
        .await
        .unwrap_or_else(hold)
        .map_err(|error| refuse(&error))?;
    let position = held.mirror.position();
    let reached = || {
        if held.mirror.is_broken() {
            let text = "the view's files cannot be kept";
            return Some(Err(Refusal::new(RefusalCode::Internal, text)));
        }
        if *position.borrow() >= request.position {
            return Some(Ok(()));
        }
        let never = client.is_refused(request.view, request.epoch);
        never.then(|| Err(refusals::unknown_table()))
    };
    let patience = if builder.views.is_fed(request.view) {
        INPUTS
    } else {
        Patience::plain(TABLE_WAIT)
    };
    let progress = || *position.borrow();
    let reached = builder.condition.wait(patience, progress, reached).await;
    reached.unwrap_or_else(|| Err(refusals::unknown_table()))?;
    Ok(held)
}

/// Blobs by digest, with their sizes.
type Blobs = BTreeMap<BlobDigest, u64>;

/// Waits until the entries have their bytes; asks the client for those nobody asked for or announced yet, and that are
/// not `on_their_way`, if it said what is. Disk work that outlasts a cancelled action keeps its `slot`.
pub(super) async fn fetch(
    client: &Arc<Client>,
    mirror: &Arc<Mirror>,
    ids: &[EntryId],
    on_their_way: Option<Vec<BlobDigest>>,
    slot: &Arc<HeldSlot>,
    send: &mut SendStream,
) -> Result<(), Refusal> {
    let condition = &client.builder.condition;
    let mut fetching = Fetching {
        client,
        mirror,
        slot,
        claims: client.wanted.claims(),
        lacking: Lacking::new(ids.into()),
    };
    let mut waiter = condition.waiter(UNASKED, 0);
    while on_their_way.is_none() {
        let Some((missing, sight)) = fetching.look().await? else {
            return Ok(());
        };
        if missing.values().sum::<u64>() > UNASKED_BYTES || !fetching.news(&sight, &mut waiter, || 0).await {
            break;
        }
    }
    let progress = || client.received.load(Ordering::Relaxed);
    // What is on its way is claimed for as long as it may be, so that no other action asks for it either.
    let mut announced = on_their_way
        .filter(|digests| !digests.is_empty())
        .map(|digests| (digests, client.wanted.claims()));
    let patience = if announced.is_some() { ON_THEIR_WAY } else { INPUTS };
    let mut waiter = condition.waiter(patience, progress());
    while let Some((missing, sight)) = fetching.look().await? {
        if let Some((digests, claims)) = &announced {
            claims.claim(digests.iter().filter(|digest| missing.contains_key(digest)));
        }
        let mut digests = fetching.claims.claim(missing.keys());
        // What came since the look above is claimed by nobody any more.
        digests.retain(|digest| !client.builder.cas.has(digest));
        if !digests.is_empty() {
            let extensions = Vec::new();
            let sent = frame::send(send, &BlobsWanted { digests, extensions }).await;
            sent.map_err(|error| refusals::internal("a stream broke", &error))?;
        }
        if fetching.news(&sight, &mut waiter, progress).await {
            continue;
        }
        if announced.take().is_none() {
            return Err(Refusal::new(
                RefusalCode::Internal,
                "the action's files did not come",
            ));
        }
        waiter = condition.waiter(INPUTS, progress());
    }
    Ok(())
}

/// An action that waits for its blobs.
struct Fetching<'a> {
    client: &'a Arc<Client>,
    mirror: &'a Arc<Mirror>,
    slot: &'a Arc<HeldSlot>,
    claims: Claims<'a>,
    lacking: Lacking,
}

/// How things stood before a look that found something missing.
struct Sight {
    departures: u64,
    setbacks: u64,
    /// One of the missing blobs: the action cannot begin without it, whatever else comes.
    missing: BlobDigest,
}

impl Fetching<'_> {
    /// What the entries lack, once whatever the store has was put in place; `None` for nothing.
    async fn look(&mut self) -> Result<Option<(Blobs, Sight)>, Refusal> {
        let (departures, setbacks) = (self.mirror.departures(), self.client.wanted.setbacks());
        let (cas, mirror) = (self.client.builder.cas.clone(), Arc::clone(self.mirror));
        let slot = Arc::clone(self.slot);
        let mut lacking = std::mem::take(&mut self.lacking);
        let looked = blocking(move || {
            let _slot = slot;
            let needs = match mirror.needs_still(&mut lacking) {
                Needs::Blobs(blobs) => put_in_place(&cas, &mirror, &mut lacking, blobs),
                needs => Some(needs),
            };
            (lacking, needs)
        });
        let (lacking, needs) = looked.await.map_err(|_| refusals::ending())?;
        self.lacking = lacking;
        let blobs = match needs {
            Some(Needs::Nothing) => return Ok(None),
            Some(Needs::Current(_)) => return Err(refusals::stale()),
            Some(Needs::Covered(_)) => {
                return Err(Refusal::new(
                    RefusalCode::Unsupported,
                    "the action needs a file below a directory that the sandbox mounts over",
                ));
            }
            Some(Needs::Blobs(blobs)) if !self.claims.has_failed(|digest| blobs.contains_key(digest)) => {
                Some(blobs)
            }
            _ => None,
        };
        let last = blobs.and_then(|blobs| blobs.keys().next_back().copied().map(|last| (blobs, last)));
        let (blobs, missing) =
            last.ok_or_else(|| Refusal::new(RefusalCode::Internal, "a file cannot be kept"))?;
        let sight = Sight {
            departures,
            setbacks,
            missing,
        };
        Ok(Some((blobs, sight)))
    }

    /// Waits until another look may find something else than the last one; `false` when patience is at its end.
    async fn news(&self, sight: &Sight, waiter: &mut Waiter, progress: impl Fn() -> u64) -> bool {
        while waiter.changed(&progress).await {
            if self.may_differ(sight) {
                return true;
            }
        }
        false
    }

    /// Whether an entry went, a blob failed, somebody gave up, or the blob came that was missing, perhaps to leave again.
    fn may_differ(&self, sight: &Sight) -> bool {
        let (mirror, wanted) = (self.mirror, &self.client.wanted);
        mirror.departures() != sight.departures
            || wanted.setbacks() != sight.setbacks
            || !wanted.is_seen_to(&sight.missing)
            || !mirror.may_await(&sight.missing)
            || self.client.builder.cas.has(&sight.missing)
    }
}

/// Puts blobs the store has in place and says what is needed still; `None` when one cannot be put there.
fn put_in_place(cas: &Cas, mirror: &Mirror, lacking: &mut Lacking, blobs: Blobs) -> Option<Needs> {
    let stored: Vec<BlobDigest> = blobs.into_keys().filter(|digest| cas.has(digest)).collect();
    for digest in &stored {
        mirror.materialise(digest);
    }
    // A damaged blob left the store and is asked for again; one that is still there found no room.
    let stuck = stored
        .iter()
        .any(|digest| cas.has(digest) && mirror.awaits(digest));
    (!stuck).then(|| mirror.needs_still(lacking))
}
