//! The only place that spawns a task: named, owned, ended with its owner.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinHandle};
use tracing::Instrument as _;

/// A running task. Dropping it aborts the task; awaiting it gives its result.
#[derive(Debug)]
#[must_use = "a dropped task is aborted"]
pub struct Task<T> {
    handle: JoinHandle<T>,
    detached: bool,
}

impl<T> Task<T> {
    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Asks the task to end; it does at its next await.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Lets the task run on without an owner. For a task that ends by itself with the thing it watches.
    pub fn detach(mut self) {
        self.detached = true;
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if !self.detached {
            self.handle.abort();
        }
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handle).poll(context)
    }
}

/// Tells work that nobody waits for its result any more.
#[derive(Debug, Clone)]
pub struct Unwanted(watch::Receiver<()>);

impl Unwanted {
    /// Returns when that is so.
    pub async fn told(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

/// Runs `work` in a task that outlasts its owner: once the future is dropped, `work` is told and ends in its own time,
/// and only then lets go of what it holds. `None` when it panicked or the runtime is ending. `work` bounds how long
/// it goes on.
pub async fn to_its_end<T, F>(name: &'static str, work: impl FnOnce(Unwanted) -> F) -> Option<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (wanted, unwanted) = watch::channel(());
    let (tell, told) = oneshot::channel();
    let work = work(Unwanted(unwanted));
    let running = async move {
        // Fails when nobody waits: the result goes here.
        let _ = tell.send(work.await);
    };
    spawn(name, running).detach();
    let result = told.await.ok();
    drop(wanted);
    result
}

/// Spawns `future` in a span called `name`, which a log of that much shows: to enter one at each poll takes a part of what
/// an agent does for a unit, and a line's module tells nearly as much.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn spawn<F>(name: &'static str, future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Task {
        handle: tokio::spawn(future.instrument(tracing::debug_span!("task", name))),
        detached: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn work_that_is_cancelled_is_told_and_keeps_what_it_holds_until_it_ends() {
        let held = Arc::new(());
        let (told, has_been_told) = oneshot::channel();
        let (end, may_end) = oneshot::channel::<()>();
        let holds = Arc::clone(&held);
        let working = to_its_end("work", async move |unwanted: Unwanted| {
            unwanted.told().await;
            told.send(()).unwrap();
            may_end.await.unwrap();
            holds
        });
        tokio::select! {
            biased;
            _ = working => panic!("it ends when told"),
            () = tokio::task::yield_now() => {}
        }
        has_been_told.await.unwrap();
        assert_eq!(Arc::strong_count(&held), 2);
        end.send(()).unwrap();
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn work_that_is_awaited_gives_its_result() {
        assert_eq!(to_its_end("work", async |_| 7).await, Some(7));
    }
}
