//! The only place that spawns a task: named, owned, ended with its owner.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::{JoinError, JoinHandle};
use tracing::Instrument as _;

/// A running task. Dropping it aborts the task; awaiting it gives its result.
#[derive(Debug)]
#[must_use = "a dropped task is aborted"]
pub struct Task<T>(JoinHandle<T>);

impl<T> Task<T> {
    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Asks the task to end; it does at its next await.
    pub fn abort(&self) {
        self.0.abort();
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

/// Spawns `future` in a span called `name`.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn spawn<F>(name: &'static str, future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Task(tokio::spawn(future.instrument(tracing::info_span!("task", name))))
}
