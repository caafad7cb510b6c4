//! A toolchain is trusted on a builder once a small unit compiled there equals the one compiled here. What is sent there
//! meanwhile may run, and comes to nothing unless that unit is equal.

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

/// That a trial was good; nothing else makes one.
#[derive(Debug)]
struct Proof(());

impl Trial {
    fn proof(self) -> Option<Proof> {
        match self {
            Self::Equal => Some(Proof(())),
            Self::Different => None,
        }
    }
}

/// What a builder made, which nobody can look at before the builder is proven.
#[derive(Debug)]
pub struct Unproven<T>(T);

impl<T> Unproven<T> {
    /// Keeps `made` until then.
    pub fn new(made: T) -> Self {
        Self(made)
    }

    fn proven(self, _: &Proof) -> T {
        self.0
    }
}

/// Why nothing of what a builder made can be used.
#[derive(Debug, PartialEq, Eq)]
pub enum Unusable<T, W> {
    /// The builder may not compile for this toolchain.
    Untrusted,
    /// Its trial gave no result.
    Untried(T),
    /// It may, but the work failed.
    Failed(W),
}

/// By builder process and toolchain.
pub type Key = (u64, BlobDigest);

/// Trials kept; beyond it all are made again.
const REMEMBERED: usize = 1024;

/// Which toolchains are trusted where.
#[derive(Debug, Default)]
pub struct Trust {
    trials: Mutex<HashMap<Key, Arc<OnceCell<Trial>>>>,
}

impl Trust {
    /// What `work` makes on a builder, if the trial of its toolchain there is good. A trial that is yet to be made, by
    /// `attempt`, goes on beside the work, and beside that of every other unit; what was found wanting gets no work.
    pub async fn prove<T, A, W, F: Future<Output = Result<Trial, A>>>(
        &self,
        key: Key,
        attempt: impl FnOnce() -> F,
        work: impl Future<Output = Result<Unproven<T>, W>>,
    ) -> Result<T, Unusable<A, W>> {
        let trial = self.get(key, attempt);
        tokio::pin!(trial, work);
        let mut early = None;
        let trial = tokio::select! {
            biased;
            trial = &mut trial => trial,
            made = &mut work => {
                early = Some(made);
                trial.await
            }
        };
        let trial = trial.map_err(Unusable::Untried)?;
        let proof = trial.proof().ok_or(Unusable::Untrusted)?;
        let made = match early {
            Some(made) => made,
            None => work.await,
        };
        made.map(|made| made.proven(&proof)).map_err(Unusable::Failed)
    }

    /// Whether a trial has ended, well or not.
    pub fn is_tried(&self, key: &Key) -> bool {
        let trials = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
        trials.get(key).is_some_and(|cell| cell.initialized())
    }

    /// The result of the trial for a key, made by `attempt` if there is none. Concurrent units wait for one trial;
    /// an attempt that gave no result (`Err`) is made again by the next.
    async fn get<E, F: Future<Output = Result<Trial, E>>>(
        &self,
        key: Key,
        attempt: impl FnOnce() -> F,
    ) -> Result<Trial, E> {
        let cell = {
            let mut trials = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
            if trials.len() >= REMEMBERED {
                trials.clear();
            }
            Arc::clone(trials.entry(key).or_default())
        };
        // Boxed: it is rare, and every unit would be as large.
        cell.get_or_try_init(|| Box::pin(attempt())).await.copied()
    }

    /// How many pairs are trusted and how many are not.
    pub fn counts(&self) -> (usize, usize) {
        let trials = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |wanted| trials.values().filter(|cell| cell.get() == Some(&wanted)).count();
        (count(Trial::Equal), count(Trial::Different))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::sync::oneshot;

    const KEY: fn() -> Key = || (1, BlobDigest::of(b"gcc"));
    type Outcome = Result<&'static str, Unusable<&'static str, &'static str>>;

    fn made() -> Result<Unproven<&'static str>, &'static str> {
        Ok(Unproven::new("object"))
    }

    /// What becomes of what was made before its trial ended in this way.
    async fn made_before(trial: Result<Trial, &'static str>) -> Outcome {
        let trust = Trust::default();
        let (done, is_done) = oneshot::channel();
        let trial = async {
            is_done.await.unwrap();
            trial
        };
        let work = async {
            done.send(()).unwrap();
            made()
        };
        trust.prove(KEY(), || trial, work).await
    }

    /// And of what was made after it.
    async fn made_after(trial: Result<Trial, &'static str>) -> Outcome {
        let trust = Trust::default();
        let (done, is_done) = oneshot::channel();
        let trial = async {
            done.send(()).unwrap();
            trial
        };
        let work = async {
            is_done.await.unwrap();
            made()
        };
        trust.prove(KEY(), || trial, work).await
    }

    #[tokio::test]
    async fn nothing_comes_of_a_builder_whose_trial_was_not_good() {
        for (trial, expected) in [
            (Ok(Trial::Equal), Ok("object")),
            (Ok(Trial::Different), Err(Unusable::Untrusted)),
            (Err("lost"), Err(Unusable::Untried("lost"))),
        ] {
            assert_eq!(made_before(trial).await, expected, "before {trial:?}");
            assert_eq!(made_after(trial).await, expected, "after {trial:?}");
        }
    }

    #[tokio::test]
    async fn a_trial_is_made_once_and_what_was_found_wanting_gets_no_work() {
        let trust = Trust::default();
        let trials = Cell::new(0);
        for (toolchain, trial) in [("gcc", Trial::Equal), ("clang", Trial::Different)] {
            let key = (1, BlobDigest::of(toolchain.as_bytes()));
            for _ in 0..2 {
                let attempt = async {
                    trials.set(trials.get() + 1);
                    Ok::<_, ()>(trial)
                };
                let work = async {
                    let is_begun = trials.get() > 0;
                    assert!(is_begun && trial == Trial::Equal, "{toolchain}");
                    made()
                };
                let made = trust.prove(key, || attempt, work).await;
                assert_eq!(made.is_ok(), trial == Trial::Equal, "{toolchain}");
            }
        }
        assert_eq!((trials.get(), trust.counts()), (2, (1, 1)));
    }

    #[tokio::test]
    async fn units_that_wait_for_one_trial_are_made_beside_it_and_beside_each_other() {
        let trust = Trust::default();
        let all = tokio::sync::Barrier::new(4);
        let trial = || async {
            all.wait().await;
            Ok::<_, ()>(Trial::Equal)
        };
        let work = || async {
            all.wait().await;
            made()
        };
        let unit = || trust.prove(KEY(), trial, work());
        let made = tokio::join!(unit(), unit(), unit());
        assert_eq!(made, (Ok("object"), Ok("object"), Ok("object")));
    }

    #[tokio::test]
    async fn a_unit_that_fails_leaves_the_trial_to_its_end() {
        let trust = Trust::default();
        let (failed, has_failed) = oneshot::channel();
        let trial = async {
            has_failed.await.unwrap();
            Ok::<_, ()>(Trial::Equal)
        };
        let work = async {
            assert!(!trust.is_tried(&KEY()));
            failed.send(()).unwrap();
            Err::<Unproven<()>, _>("busy")
        };
        let made = trust.prove(KEY(), || trial, work).await;
        assert_eq!(made, Err(Unusable::Failed("busy")));
        assert!(trust.is_tried(&KEY()));
    }
}
