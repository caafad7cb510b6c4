//! The effort one end of a connection spends on compressing: asks the path what it carries and a clock what the last
//! bytes took. Decides nothing; `level` does.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::level::{Capacity, Choice};
use crate::host::clock;

/// How hard to compress what goes to one peer.
#[derive(Debug, Default)]
pub struct Effort(Mutex<Choice>);

impl Effort {
    /// zstd's level for `bytes` that leave on `connection` next.
    pub fn level(&self, connection: &quinn::Connection, bytes: u64) -> i32 {
        let path = connection.stats().path;
        // The congestion controller's window is what it believes the path carries in a round trip.
        let path = Capacity {
            rate: path.cwnd as f64 / path.rtt.as_secs_f64(),
            window: path.cwnd,
        };
        self.choice().level(path, bytes)
    }

    /// Does `work`, which compresses `bytes` at `level` on this thread, and learns from what it takes.
    pub fn spend<T>(&self, level: i32, bytes: u64, work: impl FnOnce() -> T) -> T {
        let begun = clock::of_this_thread();
        let done = work();
        let spent = clock::of_this_thread().saturating_sub(begun);
        self.choice().learn(level, bytes, spent);
        done
    }

    fn choice(&self) -> MutexGuard<'_, Choice> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
