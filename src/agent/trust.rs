//! A toolchain is trusted on a builder once a small unit compiled there equals the one compiled here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use quicc_protocol::BlobDigest;
use tokio::sync::OnceCell;

/// What a comparison gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// Equal bytes: the builder may compile for this toolchain.
    Equal,
    /// Other bytes, or a compiler that does not run there: it may not.
    Different,
}

/// By builder connection and toolchain.
type Key = (u64, BlobDigest);

/// Trials kept; beyond it all are made again.
const REMEMBERED: usize = 1024;

/// Which toolchains are trusted where.
#[derive(Debug, Default)]
pub struct Trust {
    trials: Mutex<HashMap<Key, Arc<OnceCell<Trial>>>>,
}

impl Trust {
    /// The result of the trial for a key, made by `attempt` if there is none. Concurrent units wait for one trial;
    /// an attempt that gave no result (`Err`) is made again by the next.
    pub async fn get<E>(
        &self,
        key: Key,
        attempt: impl Future<Output = Result<Trial, E>>,
    ) -> Result<Trial, E> {
        let cell = {
            let mut trials = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
            if trials.len() >= REMEMBERED {
                trials.clear();
            }
            Arc::clone(trials.entry(key).or_default())
        };
        cell.get_or_try_init(|| attempt).await.copied()
    }

    /// How many pairs are trusted and how many are not.
    pub fn counts(&self) -> (usize, usize) {
        let trials = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |wanted| trials.values().filter(|cell| cell.get() == Some(&wanted)).count();
        (count(Trial::Equal), count(Trial::Different))
    }
}
