//! One look at a path at a time: the units of a first build come to the same files at once, and each would ask the
//! kernel, set watches and read for itself. Owns who looks at what; never looks itself.

use std::hash::BuildHasher;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a unit waits for what another looks at. A file system that does not answer is everybody's own trouble.
const PATIENCE: Duration = Duration::from_millis(100);

/// Who looks at what.
#[derive(Debug, Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    ended: Condvar,
    hasher: foldhash::fast::RandomState,
}

#[derive(Debug, Default)]
struct State {
    /// Hashes of the paths that are looked at, as many as there are threads that look. Two paths of one hash wait for
    /// each other, which harms nobody.
    taken: Vec<u64>,
    /// The same of those that are waited for, once for each who waits.
    awaited: Vec<u64>,
}

/// A turn to look at a path, given back when dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    taken: Option<u64>,
    /// Somebody else has looked meanwhile: what is remembered may be new.
    pub waited: bool,
}

impl Turns {
    /// Waits until nobody else looks at `path`, or too long. Blocking.
    pub(super) fn take(&self, path: &[u8]) -> Turn<'_> {
        let hash = self.hasher.hash_one(path);
        let mut state = self.lock();
        let mut waited = false;
        if state.taken.contains(&hash) {
            waited = true;
            state.awaited.push(hash);
            let is_taken = |state: &mut State| state.taken.contains(&hash);
            let result = self.ended.wait_timeout_while(state, PATIENCE, is_taken);
            let (left, timeout) = result.unwrap_or_else(PoisonError::into_inner);
            state = left;
            remove(&mut state.awaited, hash);
            if timeout.timed_out() {
                drop(state);
                return Turn {
                    turns: self,
                    taken: None,
                    waited,
                };
            }
        }
        state.taken.push(hash);
        drop(state);
        Turn {
            turns: self,
            taken: Some(hash),
            waited,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(hashes: &mut Vec<u64>, hash: u64) {
    if let Some(index) = hashes.iter().position(|other| *other == hash) {
        hashes.swap_remove(index);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some(hash) = self.taken else { return };
        let mut state = self.turns.lock();
        remove(&mut state.taken, hash);
        let is_awaited = state.awaited.contains(&hash);
        drop(state);
        if is_awaited {
            self.turns.ended.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_path_is_one_threads_at_a_time_and_others_are_free() {
        let turns = Turns::default();
        let first = turns.take(b"/a");
        assert!(!first.waited);
        assert!(!turns.take(b"/b").waited);
        let (started, starts) = mpsc::channel();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                started.send(()).unwrap();
                turns.take(b"/a").waited
            });
            starts.recv().unwrap();
            while turns.lock().awaited.is_empty() && !second.is_finished() {
                std::thread::yield_now();
            }
            drop(first);
            assert!(second.join().unwrap());
        });
        assert!(turns.lock().taken.is_empty());
        assert!(!turns.take(b"/a").waited);
    }

    #[test]
    fn a_look_that_does_not_end_holds_nobody() {
        let turns = Turns::default();
        let stuck = turns.take(b"/a");
        let other = turns.take(b"/a");
        assert!(other.waited && other.taken.is_none());
        drop(other);
        assert_eq!(turns.lock().taken.len(), 1);
        drop(stuck);
        assert!(turns.lock().taken.is_empty());
    }
}
