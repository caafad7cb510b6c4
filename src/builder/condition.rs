//! One signal for everything an action waits for: leases, tables, blobs. Whoever waits looks again; at most a
//! slot's worth of actions do. Holds no state of what is waited for.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// A condition variable for tasks.
#[derive(Debug)]
pub(super) struct Condition(watch::Sender<()>);

/// How long to wait: `patience` without progress, `total` in any case.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) patience: Duration,
    pub(super) total: Duration,
}

impl Patience {
    /// Waits so long, progress or not.
    pub(super) const fn plain(total: Duration) -> Self {
        Self {
            patience: total,
            total,
        }
    }
}

impl Condition {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    /// Makes everybody look again.
    pub(super) fn notify(&self) {
        self.0.send_replace(());
    }

    /// Waits until `look` finds something, as long as `patience` allows; `progress` is any number that differs
    /// when progress was made. Nothing is missed between a look and the wait.
    pub(super) async fn wait<T>(
        &self,
        patience: Patience,
        progress: impl Fn() -> u64,
        mut look: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let mut waiter = self.waiter(patience, progress());
        loop {
            if let Some(found) = look() {
                return Some(found);
            }
            if !waiter.changed(&progress).await {
                return None;
            }
        }
    }

    /// A wait whose looks take time: every change from now on ends one [`Waiter::changed`].
    pub(super) fn waiter(&self, patience: Patience, progress: u64) -> Waiter {
        let now = Instant::now();
        let end = now + patience.total;
        Waiter {
            changes: self.0.subscribe(),
            patience: patience.patience,
            deadline: end.min(now + patience.patience),
            end,
            progress,
        }
    }
}

/// One wait.
#[derive(Debug)]
pub(super) struct Waiter {
    changes: watch::Receiver<()>,
    patience: Duration,
    deadline: Instant,
    end: Instant,
    progress: u64,
}

impl Waiter {
    /// Waits for a change; `false` when patience is at its end.
    pub(super) async fn changed(&mut self, progress: impl Fn() -> u64) -> bool {
        loop {
            tokio::select! {
                _ = self.changes.changed() => return true,
                () = sleep_until(self.deadline) => {
                    let now = progress();
                    if now == self.progress || Instant::now() >= self.end {
                        return false;
                    }
                    self.progress = now;
                    self.deadline = self.end.min(Instant::now() + self.patience);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    const MOMENT: Duration = Duration::from_millis(10);
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_change_is_seen_at_once() {
        let (condition, value) = (Condition::new(), AtomicU64::new(0));
        let look = || Some(value.load(Ordering::Relaxed)).filter(|value| *value == 2);
        let change = async {
            for next in [1, 2] {
                value.store(next, Ordering::Relaxed);
                condition.notify();
                tokio::task::yield_now().await;
            }
        };
        let (found, ()) = tokio::join!(condition.wait(Patience::plain(LONG), || 0, look), change);
        assert_eq!(found, Some(2));
    }

    #[tokio::test]
    async fn patience_ends_without_progress_and_in_the_end_with_it() {
        let condition = Condition::new();
        let check = async |patience, total, progress: &dyn Fn() -> u64| {
            let started = Instant::now();
            let found = condition
                .wait(Patience { patience, total }, progress, || None::<()>)
                .await;
            assert_eq!(found, None);
            assert!(started.elapsed() >= patience);
            started.elapsed()
        };
        check(MOMENT, LONG, &|| 0).await;
        let counter = AtomicU64::new(0);
        let waited = check(MOMENT, 5 * MOMENT, &|| counter.fetch_add(1, Ordering::Relaxed)).await;
        assert!(waited >= 5 * MOMENT);
    }
}
