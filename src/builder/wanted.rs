//! Blobs on their way on one connection: what was announced is not asked for, and what several actions lack is
//! asked for once. Never touches a blob.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quicc_protocol::BlobDigest;

use super::condition::Condition;

/// Failures remembered; the oldest are forgotten first.
const FAILURES: usize = 1024;

/// An action that asks or a batch that brings, by the order of their beginning on a connection.
type Claimant = u64;

/// Blobs that somebody saw to.
#[derive(Debug)]
pub(super) struct Wanted {
    state: Mutex<State>,
    condition: Arc<Condition>,
}

#[derive(Debug, Default)]
struct State {
    last: Claimant,
    /// Who asked for a blob or announced it.
    seen_to: BTreeMap<BlobDigest, Claimant>,
    /// Blobs that came and could not be kept, by when: whoever began earlier may have waited for them.
    failed: BTreeMap<Claimant, BlobDigest>,
    /// Counts blobs that could not be kept and claimants that gave up.
    setbacks: u64,
}

/// A claimant's hold on its claims: what has not come when it is dropped, others may ask for, and are told so.
#[derive(Debug)]
pub(super) struct Claims<'a> {
    wanted: &'a Wanted,
    claimant: Claimant,
}

impl Wanted {
    /// Nothing is wanted yet. `condition` is notified when claims are given up.
    pub(super) fn new(condition: Arc<Condition>) -> Self {
        Self {
            state: Mutex::default(),
            condition,
        }
    }

    /// A new claimant.
    pub(super) fn claims(&self) -> Claims<'_> {
        let mut state = self.state();
        state.last += 1;
        Claims {
            wanted: self,
            claimant: state.last,
        }
    }

    /// A blob is here.
    pub(super) fn arrived(&self, digest: &BlobDigest) {
        self.state().seen_to.remove(digest);
    }

    /// A blob came and could not be kept.
    pub(super) fn failed(&self, digest: &BlobDigest) {
        let mut state = self.state();
        state.last += 1;
        state.setbacks += 1;
        let now = state.last;
        state.failed.insert(now, *digest);
        if state.failed.len() > FAILURES {
            state.failed.pop_first();
        }
    }

    /// Whether somebody asked for a blob or announced it.
    pub(super) fn is_seen_to(&self, digest: &BlobDigest) -> bool {
        self.state().seen_to.contains_key(digest)
    }

    /// Blobs that could not be kept and claimants that gave up so far: while it stands still, what was seen to either
    /// came or is seen to.
    pub(super) fn setbacks(&self) -> u64 {
        self.state().setbacks
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claims<'_> {
    /// Claims those of `digests` nobody else sees to.
    pub(super) fn claim<'a>(&self, digests: impl Iterator<Item = &'a BlobDigest>) -> Vec<BlobDigest> {
        let mut state = self.wanted.state();
        let mut claimed = Vec::new();
        for digest in digests {
            if !state.seen_to.contains_key(digest) {
                state.seen_to.insert(*digest, self.claimant);
                claimed.push(*digest);
            }
        }
        claimed
    }

    /// Claims `digests` whoever else did: they are on their way.
    pub(super) fn take_over<'a>(&self, digests: impl Iterator<Item = &'a BlobDigest>) {
        let mut state = self.wanted.state();
        for digest in digests {
            state.seen_to.insert(*digest, self.claimant);
        }
    }

    /// Whether one of these came after the claimant began, and could not be kept.
    pub(super) fn has_failed(&self, is_one: impl Fn(&BlobDigest) -> bool) -> bool {
        let state = self.wanted.state();
        state
            .failed
            .range(self.claimant..)
            .any(|(_, digest)| is_one(digest))
    }
}

impl Drop for Claims<'_> {
    fn drop(&mut self) {
        let mut state = self.wanted.state();
        let claimed = state.seen_to.len();
        state.seen_to.retain(|_, claimant| *claimant != self.claimant);
        let gave_up = state.seen_to.len() < claimed;
        state.setbacks += u64::from(gave_up);
        drop(state);
        if gave_up {
            self.wanted.condition.notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::condition::Patience;
    use std::time::Duration;

    fn wanted() -> Wanted {
        Wanted::new(Arc::new(Condition::new()))
    }

    fn digests<const COUNT: usize>(names: [&str; COUNT]) -> [BlobDigest; COUNT] {
        names.map(|name| BlobDigest::of(name.as_bytes()))
    }

    #[test]
    fn a_blob_is_asked_for_once_until_its_asker_gives_up() {
        let wanted = wanted();
        let [a, b] = digests(["a", "b"]);
        let first = wanted.claims();
        let second = wanted.claims();
        assert_eq!(first.claim([a].iter()), [a]);
        assert_eq!(second.claim([a, b].iter()), [b]);
        assert_eq!(first.claim([a, b].iter()), []);
        assert!(wanted.is_seen_to(&a) && wanted.setbacks() == 0);
        drop(first);
        assert!(!wanted.is_seen_to(&a) && wanted.is_seen_to(&b) && wanted.setbacks() == 1);
        assert_eq!(second.claim([a, b].iter()), [a]);
        wanted.arrived(&a);
        assert!(!wanted.is_seen_to(&a) && wanted.setbacks() == 1);
        assert_eq!(second.claim([a].iter()), [a], "evicted since, say");
    }

    #[test]
    fn what_a_batch_announced_is_not_asked_for() {
        let wanted = wanted();
        let [a, b] = digests(["a", "b"]);
        let action = wanted.claims();
        assert_eq!(action.claim([a].iter()), [a]);
        let batch = wanted.claims();
        batch.take_over([a, b].iter());
        let other = wanted.claims();
        assert_eq!(other.claim([a, b].iter()), []);
        drop(action);
        assert_eq!(other.claim([a, b].iter()), []);
        drop(batch);
        assert_eq!(other.claim([a, b].iter()), [a, b]);
    }

    #[test]
    fn a_blob_that_could_not_be_kept_fails_who_began_before() {
        let wanted = wanted();
        let [a, b] = digests(["a", "b"]);
        let before = wanted.claims();
        wanted.failed(&a);
        assert_eq!(wanted.setbacks(), 1);
        let after = wanted.claims();
        assert!(before.has_failed(|digest| *digest == a) && !before.has_failed(|digest| *digest == b));
        assert!(!after.has_failed(|digest| *digest == a));
        (0..FAILURES).for_each(|_| wanted.failed(&b));
        assert!(!before.has_failed(|digest| *digest == a), "forgotten");
    }

    #[tokio::test]
    async fn a_claim_given_up_wakes_who_waits_and_one_kept_does_not() {
        let wanted = wanted();
        let [a, b] = digests(["a", "b"]);
        let check = async |digest: BlobDigest, arrives: bool| {
            let batch = wanted.claims();
            batch.take_over([digest].iter());
            let patience = Patience::plain(Duration::from_millis(200));
            let mut waiter = wanted.condition.waiter(patience, 0);
            if arrives {
                wanted.arrived(&digest);
            }
            drop(batch);
            assert_eq!(waiter.changed(|| 0).await, !arrives, "arrived: {arrives}");
        };
        check(a, false).await;
        check(b, true).await;
    }
}
