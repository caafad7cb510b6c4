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
        mut look: impl AsyncFnMut() -> Option<T>,
    ) -> Option<T> {
        let mut changes = self.0.subscribe();
        let end = Instant::now() + patience.total;
        let mut seen = progress();
        let mut deadline = end.min(Instant::now() + patience.patience);
        loop {
            if let Some(found) = look().await {
                return Some(found);
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep_until(deadline) => {
                    let now = progress();
                    if now == seen || Instant::now() >= end {
                        return None;
                    }
                    seen = now;
                    deadline = end.min(Instant::now() + patience.patience);
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
        let look = async || Some(value.load(Ordering::Relaxed)).filter(|value| *value == 2);
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
                .wait(Patience { patience, total }, progress, async || None::<()>)
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
