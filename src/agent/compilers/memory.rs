//! Answers that take a process to get, each asked for once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Answers kept of each kind; beyond it everything is forgotten and asked again.
const REMEMBERED: usize = 4096;

/// How long a failure is remembered: it may have been a passing one, a machine out of processes say.
const FAILURE_REMEMBERED: Duration = Duration::from_secs(10);

/// One answer, being asked for or had, and since when.
#[derive(Debug)]
struct Once<V> {
    answer: OnceLock<Result<Arc<V>, String>>,
    since: Instant,
}

impl<V> Once<V> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            answer: OnceLock::new(),
            since: Instant::now(),
        })
    }

    fn is_worn(&self) -> bool {
        matches!(self.answer.get(), Some(Err(_))) && self.since.elapsed() >= FAILURE_REMEMBERED
    }
}

/// Answers by question; concurrent askers of one question wait for one answer.
#[derive(Debug)]
pub(super) struct Memory<K, V>(Mutex<HashMap<K, Arc<Once<V>>>>);

impl<K: Hash + Eq, V> Memory<K, V> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    pub(super) fn get(&self, key: K, ask: impl FnOnce() -> Result<V, String>) -> Result<Arc<V>, String> {
        let once = {
            let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if map.len() >= REMEMBERED {
                map.clear();
            }
            let once = map.entry(key).or_insert_with(Once::new);
            if once.is_worn() {
                *once = Once::new();
            }
            Arc::clone(once)
        };
        once.answer.get_or_init(|| ask().map(Arc::new)).clone()
    }

    pub(super) fn forget(&self, key: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
