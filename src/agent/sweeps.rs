//! When the files that builders were told of are looked at again, and who waits for such a look. What is looked at, and
//! what follows, is [`super::staleness::sweep`]'s.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::host::{task, timer};
use crate::inputs::tree::Mark;

/// How often all the files a builder was told of are looked at again while units run, also those that are watched.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a unit waits for such a look; a file system that does not answer must not hold it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Links remembered; beyond it all are looked at anew.
const REMEMBERED: usize = 64;

/// The last look for each link, by number.
#[derive(Debug, Default)]
pub struct Sweeps(Mutex<HashMap<u64, Sweep>>);

#[derive(Debug)]
struct Sweep {
    begun: Instant,
    ended: watch::Receiver<bool>,
}

/// A look that took too long. It goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unanswered;

/// What the last look at the files a builder was told of left for the next one to do.
#[derive(Debug, Default)]
pub struct Looked {
    /// What watches proved then, if all that was told was looked at.
    pub mark: Option<Mark>,
    /// Told paths of which watches prove nothing: to be looked at every time.
    pub unproven: Vec<Vec<u8>>,
}

/// Has `look` run at once on a blocking thread, and waits for its end no longer than for any other.
pub async fn now(look: impl FnOnce() + Send + 'static) -> Result<(), Unanswered> {
    let looking = tokio::task::spawn_blocking(look);
    let waited = timer::timeout(PATIENCE, looking).await;
    waited.map(drop).ok_or(Unanswered)
}

impl Sweeps {
    /// Has `look` run on a blocking thread if it is time for one, at most once at a time for a link, and waits for its
    /// end. Whoever comes meanwhile waits as well: a table that outlasted its connection may be of any age.
    pub async fn wait(&self, link: u64, look: impl FnOnce() + Send + 'static) -> Result<(), Unanswered> {
        let mut ended = self.current(link, look);
        // Without a sender the look has ended too.
        let ended = ended.wait_for(|has_ended| *has_ended);
        let waited = timer::timeout(PATIENCE, ended).await;
        waited.map(drop).ok_or(Unanswered)
    }

    fn current(&self, link: u64, look: impl FnOnce() + Send + 'static) -> watch::Receiver<bool> {
        let mut sweeps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = |sweep: &&Sweep| !*sweep.ended.borrow() || sweep.begun.elapsed() < AGAIN;
        if let Some(sweep) = sweeps.get(&link).filter(is_current) {
            return sweep.ended.clone();
        }
        if sweeps.len() >= REMEMBERED {
            sweeps.clear();
        }
        let (end, ended) = watch::channel(false);
        let looking = async move {
            // Also one that panicked has ended, and another may begin.
            let _ = tokio::task::spawn_blocking(look).await;
            end.send_replace(true);
        };
        // It goes on, whoever waits.
        task::spawn("sweep", looking).detach();
        let begun = Instant::now();
        let sweep = Sweep {
            begun,
            ended: ended.clone(),
        };
        sweeps.insert(link, sweep);
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    #[tokio::test]
    async fn who_comes_meanwhile_waits_for_the_same_look() {
        let (sweeps, looks) = (Sweeps::default(), Arc::new(AtomicUsize::new(0)));
        let (go, may_go) = mpsc::channel::<()>();
        let counted = Arc::clone(&looks);
        let first = sweeps.wait(1, move || {
            may_go.recv().unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let seen = Arc::clone(&looks);
        let second = async {
            let waited = sweeps.wait(1, || panic!("a second look")).await;
            (waited, seen.load(Ordering::SeqCst))
        };
        // Both wait by now.
        let third = async { go.send(()).unwrap() };
        let (first, second, ()) = tokio::join!(first, second, third);
        assert_eq!((first, second), (Ok(()), (Ok(()), 1)));
        let counted = Arc::clone(&looks);
        let other = sweeps.wait(2, move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(other.await, Ok(()));
        assert_eq!(looks.load(Ordering::SeqCst), 2, "each link has its own");
    }

    #[tokio::test]
    async fn a_look_that_panics_has_ended() {
        let sweeps = Sweeps::default();
        assert_eq!(sweeps.wait(1, || panic!("broken")).await, Ok(()));
        assert!(*sweeps.current(1, || ()).borrow(), "or none would follow it");
    }

    #[tokio::test]
    async fn a_look_at_once_is_waited_for() {
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&looks);
        let look = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        assert_eq!(now(look).await, Ok(()));
        assert_eq!(looks.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_does_not_end_holds_nobody_long() {
        let sweeps = Sweeps::default();
        // What a look on a file system that hangs shows to those who wait.
        let (_end, ended) = watch::channel(false);
        let begun = Instant::now();
        sweeps.0.lock().unwrap().insert(1, Sweep { begun, ended });
        for _ in 0..2 {
            let waited = sweeps.wait(1, || panic!("there is one already"));
            assert_eq!(waited.await, Err(Unanswered));
        }
        assert_eq!(begun.elapsed(), 2 * PATIENCE);
    }
}
