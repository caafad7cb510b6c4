//! Timers of a runtime that wake it once each.
//!
//! Tokio keeps its timers in a wheel, which hands a far one down level by level, a wake each, and keeps the wake of a
//! deadline that was put off. A process that mostly waits, with a few timers a connection, spends more on those wakes than on
//! its messages. Here all deadlines of a runtime stand in one order and the kernel is asked for the first (timerfd_create(2)).
//! Threads of a runtime that was not made with [`install`] have tokio's timers, virtual time included.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

thread_local! {
    /// The timers of the runtime this thread works for.
    static OF_THIS_THREAD: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

/// The timers of a runtime that is being made; none serves yet.
#[derive(Debug)]
#[must_use = "timers serve while they run"]
pub struct Timers(Arc<Shared>);

/// Gives the runtime of several threads that `builder` makes timers of its own.
///
/// # Errors
/// Whatever keeps the kernel from giving a timer.
pub fn install(builder: &mut tokio::runtime::Builder) -> io::Result<Timers> {
    let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
    let shared = Arc::new(Shared {
        alarm: TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?,
        last: AtomicU64::new(0),
        queue: Mutex::default(),
    });
    let begun = Arc::clone(&shared);
    builder.on_thread_start(move || OF_THIS_THREAD.set(Some(Arc::clone(&begun))));
    let parked = Arc::clone(&shared);
    // What was put off or taken back is told the kernel once, before it would wake a thread for it.
    builder.on_thread_park(move || parked.set(parked.lock(), Change::Any));
    Ok(Timers(shared))
}

impl Timers {
    /// Has these timers serve from now on, if what is returned [runs](Running::run).
    ///
    /// # Errors
    /// No descriptor is left, or none can be waited for any more.
    ///
    /// # Panics
    /// Outside of a runtime with an I/O driver.
    pub fn start(self) -> io::Result<Running> {
        let alarm = self.0.alarm.as_fd().try_clone_to_owned()?;
        #[expect(
            deprecated,
            reason = "unsound for what may answer with another's descriptor (tokio#8587); an `OwnedFd` cannot"
        )]
        let alarm = AsyncFd::with_interest(alarm, Interest::READABLE)?;
        self.0.lock().is_running = true;
        Ok(Running {
            shared: self.0,
            alarm,
        })
    }
}

/// Timers that serve until this is dropped; from then on tokio's do.
#[derive(Debug)]
#[must_use = "whoever waits is woken by it"]
pub struct Running {
    shared: Arc<Shared>,
    alarm: AsyncFd<OwnedFd>,
}

impl Running {
    /// Wakes whoever is due, until it is dropped or fails.
    pub async fn run(self) {
        loop {
            match self.alarm.readable().await {
                // It is not read: setting it anew takes back that it rang, and each ringing is an edge.
                Ok(mut rung) => rung.clear_ready(),
                Err(error) => return tracing::error!(%error, "timers cannot be waited for"),
            }
            self.shared.ring(Instant::now());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end(self.shared.lock());
    }
}

/// Leaves everybody to tokio's timers.
fn end(mut queue: MutexGuard<'_, Queue>) {
    queue.is_running = false;
    let left = std::mem::take(&mut queue.waiting);
    drop(queue);
    left.into_values().for_each(Waker::wake);
}

/// As long as for ever: a later deadline might be none that a clock can tell.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A deadline, and which of the timers that have it.
type Key = (Instant, u64);

/// Who waits until when, and what the kernel was asked for.
#[derive(Debug, Default)]
struct Queue {
    is_running: bool,
    waiting: BTreeMap<Key, Waker>,
    set: Option<Instant>,
}

/// For which changes of the first deadline the kernel is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It would ring too late.
    Sooner,
    /// It would ring too late, or for nobody.
    Any,
}

impl Queue {
    /// `waker` is to be woken at the time of `key`. Gives the one that was to be.
    fn put(&mut self, key: Key, waker: &Waker) -> Option<Waker> {
        match self.waiting.get(&key) {
            Some(known) if known.will_wake(waker) => None,
            _ => self.waiting.insert(key, waker.clone()),
        }
    }

    /// Takes out whose time has come.
    fn due(&mut self, now: Instant) -> Vec<Waker> {
        let mut due = Vec::new();
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= now
        {
            due.push(first.remove());
        }
        due
    }

    /// What the alarm is to be set to now, if to anything else than it is.
    fn change(&self, heeded: Change) -> Option<Option<Instant>> {
        let first = self.waiting.first_key_value().map(|(&(deadline, _), _)| deadline);
        let is_sooner = first.is_some_and(|first| self.set.is_none_or(|set| first < set));
        (is_sooner || heeded == Change::Any && first != self.set).then_some(first)
    }
}

#[derive(Debug)]
struct Shared {
    alarm: TimerFd,
    /// Number of the last timer.
    last: AtomicU64,
    queue: Mutex<Queue>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the alarm to the first deadline.
    fn set(&self, mut queue: MutexGuard<'_, Queue>, heeded: Change) {
        let Some(first) = queue.change(heeded) else {
            return;
        };
        queue.set = first;
        let left = first.map(|first| first.saturating_duration_since(Instant::now()));
        let done = match left {
            // Nothing at all would unset it.
            Some(left) => self.alarm.set(
                Expiration::OneShot(TimeSpec::from_duration(left.max(Duration::from_nanos(1)))),
                TimerSetTimeFlags::empty(),
            ),
            None => self.alarm.unset(),
        };
        // The kernel has no reason to refuse, but whoever waits must not depend on that.
        if let Err(error) = done {
            tracing::error!(%error, "a timer could not be set");
            end(queue);
        }
    }

    /// The alarm rang.
    fn ring(&self, now: Instant) {
        let mut queue = self.lock();
        queue.set = None;
        let due = queue.due(now);
        self.set(queue, Change::Any);
        due.into_iter().for_each(Waker::wake);
    }

    /// Has `waker` woken at the time of `key`, if these timers serve.
    fn wait(&self, key: Key, waker: &Waker) -> bool {
        let mut queue = self.lock();
        if !queue.is_running {
            return false;
        }
        let before = queue.put(key, waker);
        self.set(queue, Change::Sooner);
        // Not under the lock: with the last of its wakers a task may end, and its timers.
        drop(before);
        true
    }

    fn forget(&self, key: Key) {
        let before = self.lock().waiting.remove(&key);
        drop(before);
    }
}

/// Ready at its deadline, or after it.
#[derive(Debug)]
pub struct Timer {
    deadline: Instant,
    kept: Kept,
}

/// Who keeps a timer.
#[derive(Debug)]
enum Kept {
    Here(Arc<Shared>, u64),
    Wheel(Pin<Box<tokio::time::Sleep>>),
}

impl Timer {
    /// A timer for `deadline`.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn new(deadline: Instant) -> Self {
        let kept = match OF_THIS_THREAD.with_borrow(Option::clone) {
            Some(shared) => {
                let number = shared.last.fetch_add(1, Ordering::Relaxed);
                Kept::Here(shared, number)
            }
            None => Kept::wheel(deadline),
        };
        Self { deadline, kept }
    }

    /// Another deadline in place of the last. Whoever waits has to ask again.
    pub fn reset(&mut self, deadline: Instant) {
        match &mut self.kept {
            Kept::Here(shared, number) => shared.forget((self.deadline, *number)),
            Kept::Wheel(sleep) => sleep.as_mut().reset(deadline.into()),
        }
        self.deadline = deadline;
    }
}

impl Kept {
    fn wheel(deadline: Instant) -> Self {
        Self::Wheel(Box::pin(tokio::time::sleep_until(deadline.into())))
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        if let Kept::Here(shared, number) = &self.kept {
            let key = (deadline, *number);
            if Instant::now() >= deadline {
                shared.forget(key);
                return Poll::Ready(());
            }
            if shared.wait(key, context.waker()) {
                return Poll::Pending;
            }
            self.kept = Kept::wheel(deadline);
        }
        match &mut self.kept {
            Kept::Wheel(sleep) => sleep.as_mut().poll(context),
            Kept::Here(..) => Poll::Pending,
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Kept::Here(shared, number) = &self.kept {
            shared.forget((self.deadline, *number));
        }
    }
}

/// Ready after `length`, or after a year where that is longer.
pub fn sleep(length: Duration) -> Timer {
    Timer::new((tokio::time::Instant::now() + length.min(LONGEST)).into_std())
}

/// What `work` comes to within `length`, or `None`.
pub fn timeout<F: Future>(length: Duration, work: F) -> Timeout<F> {
    Timeout {
        work: Box::pin(work),
        timer: sleep(length),
    }
}

/// Work and the time it has.
#[derive(Debug)]
#[must_use = "nothing is done until it is awaited"]
pub struct Timeout<F> {
    /// Not within whatever awaits it: such futures contain each other, and all of them lie on a stack once.
    work: Pin<Box<F>>,
    timer: Timer,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<F::Output>> {
        if let Poll::Ready(result) = self.work.as_mut().poll(context) {
            return Poll::Ready(Some(result));
        }
        Pin::new(&mut self.timer).poll(context).map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc;
    use std::task::Wake;

    use proptest::prelude::*;
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);
    const HOUR: Duration = Duration::from_secs(3600);

    /// A runtime with timers of its own, which serve already, and what ends them.
    fn with_timers() -> (Runtime, Arc<Shared>, tokio::task::AbortHandle) {
        let mut builder = Builder::new_multi_thread();
        let timers = install(builder.worker_threads(1)).unwrap();
        let shared = Arc::clone(&timers.0);
        let runtime = builder.enable_all().build().unwrap();
        let running = {
            let _context = runtime.enter();
            timers.start().unwrap()
        };
        let running = runtime.spawn(running.run()).abort_handle();
        (runtime, shared, running)
    }

    /// Waits for what another thread does; fails if it does not.
    fn until(mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it does not come");
            std::thread::yield_now();
        }
    }

    fn is_of_ours(timer: &Timer) -> bool {
        matches!(timer.kept, Kept::Here(..))
    }

    #[test]
    fn all_sleeps_end_and_none_before_its_deadline() {
        let (runtime, shared, _) = with_timers();
        let (ended, order) = mpsc::channel();
        let begun = Instant::now();
        for length in [40, 10, 30, 0, 20] {
            let ended = ended.clone();
            runtime.spawn(async move {
                let timer = sleep(length * MILLISECOND);
                assert!(is_of_ours(&timer));
                timer.await;
                ended.send((length, begun.elapsed())).unwrap();
            });
        }
        drop(ended);
        let order: Vec<_> = order.iter().collect();
        assert!(
            order.iter().all(|&(length, after)| after >= length * MILLISECOND),
            "{order:?}"
        );
        assert_eq!(order.len(), 5);
        assert!(shared.lock().waiting.is_empty());
    }

    #[test]
    fn what_is_put_off_or_taken_back_is_not_rung_for() {
        let (runtime, shared, _) = with_timers();
        let (came, comes) = mpsc::channel();
        let waiting = runtime.spawn(async move {
            let mut timer = sleep(HOUR / 2);
            let taken_back = sleep(HOUR / 4);
            let later = Instant::now() + HOUR;
            let mut taken_back = Some(Box::pin(taken_back));
            std::future::poll_fn(|context| {
                let _ = Pin::new(&mut timer).poll(context);
                if let Some(mut timer) = taken_back.take() {
                    assert!(timer.as_mut().poll(context).is_pending());
                }
                timer.reset(later);
                came.send(later).unwrap();
                Pin::new(&mut timer).poll(context)
            })
            .await;
        });
        let later = comes.recv().unwrap();
        until(|| shared.lock().set == Some(later));
        let left = match shared.alarm.get().unwrap() {
            Some(Expiration::OneShot(left)) => Duration::from(left),
            other => panic!("{other:?}"),
        };
        assert!(left > 3 * HOUR / 4 && left <= HOUR, "{left:?}");
        waiting.abort();
        until(|| shared.lock().waiting.is_empty() && shared.lock().set.is_none());
        assert_eq!(shared.alarm.get().unwrap(), None);
    }

    #[test]
    fn a_deadline_before_all_others_is_heeded_whoever_has_it() {
        let (runtime, shared, _) = with_timers();
        runtime.spawn(async { sleep(HOUR).await });
        until(|| shared.lock().set.is_some());
        let begun = Instant::now();
        let elsewhere = runtime.spawn_blocking(|| {
            tokio::runtime::Handle::current().block_on(async {
                let timer = sleep(20 * MILLISECOND);
                assert!(is_of_ours(&timer));
                timer.await;
            })
        });
        runtime.block_on(elsewhere).unwrap();
        assert!(begun.elapsed() >= 20 * MILLISECOND && begun.elapsed() < HOUR / 2);
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn who_waits_when_the_timers_end_is_left_to_tokios() {
        let (runtime, shared, running) = with_timers();
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken).into();
        let (given, taken) = mpsc::channel();
        let waiting = runtime.spawn(async move {
            let mut timer = sleep(HOUR);
            let mut context = Context::from_waker(&waker);
            assert!(is_of_ours(&timer));
            assert!(Pin::new(&mut timer).poll(&mut context).is_pending());
            given.send(timer).unwrap();
        });
        runtime.block_on(waiting).unwrap();
        let mut timer = taken.recv().unwrap();
        assert!(!woken.0.load(Ordering::SeqCst));
        running.abort();
        until(|| woken.0.load(Ordering::SeqCst));
        assert!(!shared.lock().is_running && shared.lock().waiting.is_empty());
        let ended = runtime.spawn(async move {
            assert_eq!(timeout(MILLISECOND, &mut timer).await, None);
            timer.reset(Instant::now() + MILLISECOND);
            timer.await;
        });
        runtime.block_on(ended).unwrap();
    }

    #[test]
    fn a_runtime_without_them_has_tokios() {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let begun = Instant::now();
        runtime.block_on(async {
            let mut timer = sleep(HOUR);
            assert!(!is_of_ours(&timer));
            assert_eq!(timeout(HOUR / 2, &mut timer).await, None);
            timer.reset((tokio::time::Instant::now() + 2 * HOUR).into_std());
            assert_eq!(timeout(HOUR, &mut timer).await, None);
            assert_eq!(timeout(2 * HOUR, &mut timer).await, Some(()));
            sleep(Duration::MAX).await;
        });
        assert!(begun.elapsed() < HOUR);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u64, u64),
        Forget(u64, u64),
        Ring(u64),
        Set(Change),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let key = || (0..6_u64, 0..3_u64);
        proptest::collection::vec(
            prop_oneof![
                key().prop_map(|(at, number)| Step::Put(at, number)),
                key().prop_map(|(at, number)| Step::Forget(at, number)),
                (0..6_u64).prop_map(Step::Ring),
                prop_oneof![Just(Change::Sooner), Just(Change::Any)].prop_map(Step::Set),
            ],
            0..40,
        )
    }

    proptest! {
        /// Whatever happens, the alarm never rings after the first deadline, and after [`Change::Any`] not before it.
        #[test]
        fn the_alarm_is_never_late(steps in steps()) {
            let begun = Instant::now();
            let at = |second: u64| begun + Duration::from_secs(second);
            let mut queue = Queue::default();
            let mut model = std::collections::BTreeSet::new();
            for step in steps {
                let mut heeded = Change::Sooner;
                match step {
                    Step::Put(second, number) => {
                        queue.put((at(second), number), Waker::noop());
                        model.insert((second, number));
                    }
                    Step::Forget(second, number) => {
                        queue.waiting.remove(&(at(second), number));
                        model.remove(&(second, number));
                    }
                    Step::Ring(second) => {
                        queue.set = None;
                        let due = queue.due(at(second));
                        let (gone, left): (Vec<_>, Vec<_>) = model.into_iter().partition(|key| key.0 <= second);
                        prop_assert_eq!(due.len(), gone.len());
                        model = left.into_iter().collect();
                        heeded = Change::Any;
                    }
                    Step::Set(change) => heeded = change,
                }
                if let Some(first) = queue.change(heeded) {
                    prop_assert_ne!(queue.set, first);
                    queue.set = first;
                }
                let first = model.first().map(|key| at(key.0));
                prop_assert!(first.is_none_or(|first| queue.set.is_some_and(|set| set <= first)));
                prop_assert!(heeded == Change::Sooner || queue.set == first);
            }
        }
    }
}
