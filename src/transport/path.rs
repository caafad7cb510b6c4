//! What the paths to peers carried when they were last used, so that the next connection need not find out. Measures
//! nothing, and reads no file: whoever keeps it on disk takes its text and gives it back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Paths remembered at once; the one not used for longest goes.
const PATHS: usize = 256;
/// Half of a remembered rate is believed after so long, a quarter after twice as long.
const HALVED_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Nothing is believed of what is older.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(14 * 24 * 3600);
/// Bytes per second no path exceeds that is remembered: a file may say anything.
const FASTEST: f64 = 12.5e9;
/// Longest round trip that is remembered.
const LONGEST: Duration = Duration::from_secs(10);

/// What a path carried.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// Bytes per second.
    pub rate: f64,
    /// Least round trip seen.
    pub round_trip: Duration,
    /// Bulk filled the path at this rate. Otherwise small jobs showed that it carries so much at least.
    pub is_full: bool,
}

impl Remembered {
    fn is_sound(&self) -> bool {
        self.rate > 0.0 && self.rate <= FASTEST && !self.round_trip.is_zero() && self.round_trip <= LONGEST
    }
}

/// A path, and when it was used last, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Used {
    path: Remembered,
    at: u64,
}

/// The paths to peers, by the peer's name. Cheap to clone: all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Paths(Arc<Mutex<BTreeMap<String, Used>>>);

impl Paths {
    /// Paths from what [`Self::to_text`] gave. Text that is something else gives none: what is lost is some speed.
    pub fn from_text(text: &str) -> Self {
        let known: BTreeMap<String, Used> = serde_json::from_str(text).unwrap_or_default();
        let paths = Self::default();
        for (peer, Used { path, at }) in known {
            paths.note(&peer, path, at);
        }
        paths
    }

    /// All of them as text.
    pub fn to_text(&self) -> String {
        serde_json::to_string(&*self.known()).unwrap_or_default()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Used>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is believed of the path to `peer` at `now`, in seconds since the Unix epoch.
    pub fn recall(&self, peer: &str, now: u64) -> Option<Remembered> {
        let Used { path, at } = self.known().get(peer).copied()?;
        let age = Duration::from_secs(now.saturating_sub(at));
        let halvings = age.as_secs() / HALVED_AFTER.as_secs();
        (age < FORGOTTEN_AFTER).then(|| Remembered {
            rate: path.rate / (halvings as f64).exp2(),
            ..path
        })
    }

    /// Remembers what the path to `peer` carries at `now`.
    pub fn note(&self, peer: &str, path: Remembered, now: u64) {
        if !path.is_sound() {
            return;
        }
        let mut known = self.known();
        let used = Used { path, at: now };
        if let Some(entry) = known.get_mut(peer) {
            *entry = used;
            return;
        }
        if known.len() >= PATHS {
            let oldest = known.iter().min_by_key(|(_, used)| used.at);
            let oldest = oldest.map(|(name, _)| name.clone());
            oldest.and_then(|name| known.remove(&name));
        }
        known.insert(peer.to_owned(), used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;

    fn path(rate: f64) -> Remembered {
        Remembered {
            rate,
            round_trip: Duration::from_millis(50),
            is_full: true,
        }
    }

    #[test]
    fn a_path_is_believed_less_by_the_day() {
        let paths = Paths::default();
        paths.note("b1", path(8e6), 100 * DAY);
        for (now, believed) in [
            (100 * DAY, Some(8e6)),
            (101 * DAY - 1, Some(8e6)),
            (101 * DAY, Some(4e6)),
            (103 * DAY, Some(1e6)),
            (114 * DAY, None),
            // The clock was set back.
            (99 * DAY, Some(8e6)),
        ] {
            assert_eq!(paths.recall("b1", now), believed.map(path), "{now}");
        }
        assert_eq!(paths.recall("b2", 100 * DAY), None);
    }

    #[test]
    fn the_path_not_used_for_longest_goes() {
        let paths = Paths::default();
        for number in 0..=PATHS as u64 {
            paths.note(&format!("b{number}"), path(1e6), 1000 + number);
        }
        assert_eq!(paths.known().len(), PATHS);
        assert_eq!(paths.recall("b0", 2000), None);
        assert!(paths.recall("b1", 2000).is_some());
    }

    #[test]
    fn text_brings_back_what_it_was_made_of_and_nothing_unsound() {
        let paths = Paths::default();
        paths.note("quicc://farm/builder/b1", path(1e6), 7);
        let back = Paths::from_text(&paths.to_text());
        assert_eq!(*back.known(), *paths.known());
        for text in [
            "",
            "[]",
            "{\"b1\":3}",
            &paths.to_text().replace("1000000.0", "-1.0"),
            &paths.to_text().replace("1000000.0", "1e300"),
            &paths.to_text().replace("\"secs\":0", "\"secs\":99999"),
        ] {
            assert!(Paths::from_text(text).known().is_empty(), "{text}");
        }
    }
}
