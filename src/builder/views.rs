//! Every view this builder keeps: whose it is, its mirror, and which give way when mirrors grow too large.
//!
//! A view belongs to the name and the key that opened it. Never looks into a mirror.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quicc_certs::Identity;
use quicc_protocol::BlobDigest;
use quicc_protocol::identifiers::ViewId;
use tokio::sync::watch;

use super::mirror::{Mirror, MirrorError};
use super::slots::ClientKey;
use crate::host::files::FileError;
use crate::store::Cas;
use crate::store::discard::Discarder;
use crate::store::evict::Ledger;

/// Views kept at once; the one used longest ago gives way.
pub const VIEWS: usize = 64;
/// Views among them of clients with one name, whose own one used longest ago gives way: many machines may share a
/// name, and none is to drive out all the others.
pub const VIEWS_PER_NAME: usize = VIEWS / 2;

/// Who may name a view: a renewed certificate with another key is another owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The client's name.
    pub identity: Identity,
    /// Its certificate's key.
    pub key: ClientKey,
}

/// Why a view cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// It belongs to another client.
    #[error("view {view} belongs to another client")]
    NotAllowed {
        /// Which view.
        view: ViewId,
    },
    /// It, or the epoch or position of it, is not known here.
    #[error("view {view} has no such table")]
    Unknown {
        /// Which view.
        view: ViewId,
    },
    /// A table of it is known that was begun later, or this one already.
    #[error("view {view} has this table already, or a later one")]
    Overtaken {
        /// Which view.
        view: ViewId,
    },
    /// Every view that could give way is in use.
    #[error("{VIEWS} views are in use, or {VIEWS_PER_NAME} of one client")]
    Full,
    /// Its directory cannot be made.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// Its directory cannot be made.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The views of a builder.
#[derive(Debug)]
pub struct Views {
    directory: PathBuf,
    discarder: Arc<Discarder>,
    cas: Cas,
    limit: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    views: BTreeMap<ViewId, View>,
    /// Mirrors by size and use; held ones have running actions.
    ledger: Ledger<ViewId>,
    /// Counts mirrors and streams.
    sequence: u64,
}

#[derive(Debug)]
struct View {
    owner: Owner,
    epoch: u64,
    mirror: Arc<Mirror>,
    /// The table streams that feed it. They carry the same records: that of a lost connection, which may not be known
    /// to be lost yet, and that of its successor.
    streams: BTreeSet<u64>,
    /// Dropped with the view, it ends them.
    current: watch::Sender<()>,
}

/// A table stream's hold on its view.
#[derive(Debug)]
pub struct Feed {
    views: Arc<Views>,
    view: ViewId,
    stream: u64,
    mirror: Arc<Mirror>,
    /// Closed once the view listens to this stream no more.
    superseded: watch::Receiver<()>,
}

/// An action's hold on its view: while it lives, the view is not evicted.
#[derive(Debug)]
pub struct Use {
    views: Arc<Views>,
    view: ViewId,
    /// The view's files.
    pub mirror: Arc<Mirror>,
}

impl Views {
    /// No views, in an empty `directory` of this process's own, with at most `limit` bytes of mirrors.
    pub fn new(directory: PathBuf, discarder: Arc<Discarder>, cas: Cas, limit: u64) -> Arc<Self> {
        Arc::new(Self {
            directory,
            discarder,
            cas,
            limit,
            inner: Mutex::new(Inner {
                views: BTreeMap::new(),
                ledger: Ledger::new(limit),
                sequence: 0,
            }),
        })
    }

    /// Opens a table. With `resume`, the stream goes on behind that many records of the epoch, all of which this side
    /// must hold; it takes nothing from the streams that feed the view already, so that one that was sent twice, by
    /// whomever, does no harm. Without, whatever was known of the view is forgotten and those streams end; the epoch
    /// must be a later one, so that a stream that was overtaken, or comes again, undoes nothing. Blocks on the disk.
    pub fn open(
        self: &Arc<Self>,
        owner: &Owner,
        view: ViewId,
        epoch: u64,
        resume: Option<u64>,
    ) -> Result<Feed, ViewError> {
        let mut inner = self.inner();
        inner.sequence += 1;
        let stream = inner.sequence;
        let known = inner.views.get_mut(&view);
        if known.as_ref().is_some_and(|known| known.owner != *owner) {
            return Err(ViewError::NotAllowed { view });
        }
        if let Some(position) = resume {
            let known = known
                .filter(|known| known.holds(epoch, position))
                .ok_or(ViewError::Unknown { view })?;
            known.streams.insert(stream);
            let (mirror, superseded) = (Arc::clone(&known.mirror), known.current.subscribe());
            inner.ledger.touch(&view);
            return Ok(self.feed(view, stream, mirror, superseded));
        }
        match known {
            Some(known) if known.epoch >= epoch => return Err(ViewError::Overtaken { view }),
            Some(_) => {}
            None => inner.make_room(&owner.identity)?,
        }
        let directory = self.discarder.create(self.directory.join(stream.to_string()))?;
        let mirror = Arc::new(Mirror::create(directory, self.cas.clone(), self.limit)?);
        let (current, superseded) = watch::channel(());
        inner.ledger.insert(view, 0);
        inner.views.insert(
            view,
            View {
                owner: owner.clone(),
                epoch,
                mirror: Arc::clone(&mirror),
                streams: BTreeSet::from([stream]),
                current,
            },
        );
        Ok(self.feed(view, stream, mirror, superseded))
    }

    /// Holds a view for an action.
    pub fn hold(self: &Arc<Self>, owner: &Owner, view: ViewId, epoch: u64) -> Result<Use, ViewError> {
        let mut inner = self.inner();
        let known = inner.views.get(&view).ok_or(ViewError::Unknown { view })?;
        if known.owner != *owner {
            return Err(ViewError::NotAllowed { view });
        }
        if known.epoch != epoch {
            return Err(ViewError::Unknown { view });
        }
        let mirror = Arc::clone(&known.mirror);
        inner.ledger.pin(&view);
        Ok(Use {
            views: Arc::clone(self),
            view,
            mirror,
        })
    }

    /// Whether a stream feeds the view.
    pub fn is_fed(&self, view: ViewId) -> bool {
        self.inner()
            .views
            .get(&view)
            .is_some_and(|known| !known.streams.is_empty())
    }

    /// Whether a file in a view of `owner` waits for a blob. Never waits for the disk.
    pub fn await_blob(&self, owner: &Owner, digest: &BlobDigest) -> bool {
        let inner = self.inner();
        let mut own = inner.views.values().filter(|known| known.owner == *owner);
        own.any(|known| known.mirror.may_await(digest))
    }

    /// Records applied to the views of `owner`: grows while its tables are followed.
    pub fn told(&self, owner: &Owner) -> u64 {
        let inner = self.inner();
        let own = inner.views.values().filter(|known| known.owner == *owner);
        own.map(|known| *known.mirror.position().borrow()).sum()
    }

    /// Fills what waits for a blob in the views of `owner`. Those of others have their own actions fill them: no
    /// client waits for another's disk work. Blocks on the disk.
    pub fn arrived(&self, owner: &Owner, digest: &BlobDigest) {
        let waiting: Vec<(ViewId, Arc<Mirror>)> = self
            .inner()
            .views
            .iter()
            .filter(|(_, known)| known.owner == *owner && known.mirror.may_await(digest))
            .map(|(view, known)| (*view, Arc::clone(&known.mirror)))
            .collect();
        for (view, mirror) in waiting {
            mirror.materialise(digest);
            self.account(view, &mirror);
        }
    }

    /// Counts a mirror's bytes again; idle views give way when all are too large together.
    fn account(&self, view: ViewId, mirror: &Arc<Mirror>) {
        let bytes = mirror.bytes();
        let mut inner = self.inner();
        let current = inner.views.get(&view);
        if current.is_some_and(|known| Arc::ptr_eq(&known.mirror, mirror)) {
            inner.ledger.insert(view, bytes);
            for victim in inner.overflow(view) {
                tracing::info!(view = %victim, "an idle view gives way to another");
                inner.forget(&victim);
            }
        }
    }

    fn feed(
        self: &Arc<Self>,
        view: ViewId,
        stream: u64,
        mirror: Arc<Mirror>,
        superseded: watch::Receiver<()>,
    ) -> Feed {
        Feed {
            views: Arc::clone(self),
            view,
            stream,
            mirror,
            superseded,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    /// Whether its mirror has all that the first `position` records of `epoch` tell.
    fn holds(&self, epoch: u64, position: u64) -> bool {
        self.epoch == epoch && !self.mirror.is_broken() && *self.mirror.position().borrow() >= position
    }
}

impl Inner {
    /// Makes room for one more view of a client, among its own first.
    fn make_room(&mut self, client: &Identity) -> Result<(), ViewError> {
        let Self { views, ledger, .. } = &*self;
        let is_own = |view: &ViewId| {
            views
                .get(view)
                .is_some_and(|known| known.owner.identity == *client)
        };
        let gives_way = if views.keys().filter(|view| is_own(view)).count() >= VIEWS_PER_NAME {
            ledger.oldest_idle(is_own)
        } else if views.len() >= VIEWS {
            ledger.oldest_idle(|_| true)
        } else {
            return Ok(());
        };
        self.forget(&gives_way.ok_or(ViewError::Full)?);
        Ok(())
    }

    /// Views that give way so that mirrors keep their limit: those of the client that owns `latest` as long as it has
    /// more than half of all bytes, then whoever's were used longest ago.
    fn overflow(&mut self, latest: ViewId) -> Vec<ViewId> {
        let mut victims = Vec::new();
        while self.ledger.total() > self.ledger.limit() {
            let Self { views, ledger, .. } = &*self;
            let owner = views.get(&latest).map(|known| &known.owner.identity);
            let is_own = |view: &ViewId| views.get(view).map(|known| &known.owner.identity) == owner;
            let own: u64 = views
                .keys()
                .filter(|view| is_own(view))
                .filter_map(|view| ledger.size(view))
                .sum();
            let oldest = ledger.oldest_idle(|view| is_own(view) && *view != latest);
            let Some(victim) = oldest.filter(|_| own > ledger.limit() / 2) else {
                break;
            };
            self.ledger.remove(&victim);
            victims.push(victim);
        }
        victims.extend(self.ledger.overflow());
        victims
    }

    fn forget(&mut self, view: &ViewId) {
        self.ledger.remove(view);
        self.views.remove(view);
    }
}

impl Feed {
    /// The files it feeds.
    pub fn mirror(&self) -> &Arc<Mirror> {
        &self.mirror
    }

    /// Whether the view still listens to this stream: it was neither dropped nor opened anew.
    pub fn is_current(&self) -> bool {
        let inner = self.views.inner();
        let known = inner.views.get(&self.view);
        known.is_some_and(|known| known.streams.contains(&self.stream))
    }

    /// Waits until the view listens to this stream no more. A feed holds its mirror's files: whoever has one ends
    /// then.
    pub async fn superseded(&self) {
        let mut superseded = self.superseded.clone();
        while superseded.changed().await.is_ok() {}
    }

    /// Says that the mirror changed: its bytes are counted again.
    pub fn account(&self) {
        self.views.account(self.view, &self.mirror);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut inner = self.views.inner();
        if let Some(known) = inner.views.get_mut(&self.view) {
            known.streams.remove(&self.stream);
        }
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.views.inner().ledger.unpin(&self.view);
        // The action may have filled files.
        self.views.account(self.view, &self.mirror);
    }
}

#[cfg(test)]
mod tests;
