//! What the paths to peers carried when they were last used, so that the next connection need not find out. Measures
//! nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Paths remembered at once; the one not used for longest goes.
const PATHS: usize = 256;
/// Half of a remembered rate is believed after so long, a quarter after twice as long.
const HALVED_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Nothing is believed of what is older.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(14 * 24 * 3600);

/// What a path carried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Remembered {
    /// Bytes per second.
    pub rate: f64,
    /// Least round trip seen.
    pub round_trip: Duration,
    /// Bulk filled the path at this rate. Otherwise small jobs showed that it carries so much at least.
    pub is_full: bool,
}

/// The paths to peers, by the peer's name. Cheap to clone: all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Paths(Arc<Mutex<BTreeMap<String, (Remembered, u64)>>>);

impl Paths {
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, (Remembered, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is believed of the path to `peer` at `now`, in seconds since the Unix epoch.
    pub fn recall(&self, peer: &str, now: u64) -> Option<Remembered> {
        let (seen, when) = self.known().get(peer).copied()?;
        let age = Duration::from_secs(now.saturating_sub(when));
        let halvings = age.as_secs() as f64 / HALVED_AFTER.as_secs() as f64;
        (age < FORGOTTEN_AFTER).then(|| Remembered {
            rate: seen.rate / halvings.floor().exp2(),
            ..seen
        })
    }

    /// Remembers what the path to `peer` carries at `now`.
    pub fn note(&self, peer: &str, seen: Remembered, now: u64) {
        let mut known = self.known();
        if let Some(entry) = known.get_mut(peer) {
            *entry = (seen, now);
            return;
        }
        if known.len() >= PATHS {
            let oldest = known.iter().min_by_key(|(_, (_, when))| *when);
            let oldest = oldest.map(|(name, _)| name.clone());
            oldest.and_then(|name| known.remove(&name));
        }
        known.insert(peer.to_owned(), (seen, now));
    }
}
