//! The link: two networks, and a thread for each direction that carries packets between their devices.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl::set_timerslack;
use nix::sys::time::TimeSpec;
use nix::unistd::gettid;
use tappers::Tun;

use crate::queue::{Conditions, Fate, Queue};
use crate::side::{MTU, Side};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const FARM: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// Packets taken from a device before those that are due are looked after.
const BATCH: usize = 32;
/// Packets that may be under way in one direction; 1 Gbit/s over a second, and small ones.
const UNDER_WAY: usize = 1 << 18;
/// How often a thread without packets looks whether it shall end.
const IDLE: Duration = Duration::from_millis(50);
/// By how much the kernel may be late with a timer for a thread, nanoseconds.
const TIMER_SLACK: u64 = 1;
/// Buffers kept for later packets.
const SPARE: usize = 4096;

/// What went one way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    pub packets: u64,
    /// Of whole IP packets that came to the link, lost ones included.
    pub bytes: u64,
    /// For want of room in the queue.
    pub dropped: u64,
    /// By chance.
    pub lost: u64,
}

impl Count {
    pub fn since(&self, before: &Self) -> Self {
        Self {
            packets: self.packets - before.packets,
            bytes: self.bytes - before.bytes,
            dropped: self.dropped - before.dropped,
            lost: self.lost - before.lost,
        }
    }
}

/// A packet as it came to the link.
#[derive(Debug, Clone, Copy)]
pub struct Sighting {
    pub at: Instant,
    pub is_up: bool,
    pub bytes: usize,
}

/// What all share.
struct Shared {
    conditions: Mutex<Conditions>,
    counts: [Mutex<Count>; 2],
    is_ended: AtomicBool,
    is_watched: AtomicBool,
    sightings: Mutex<Vec<Sighting>>,
    /// Of the threads that carry.
    threads: Mutex<Vec<i32>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The link, until it is dropped.
pub struct Wire {
    pub client: Arc<Side>,
    pub farm: Arc<Side>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Share of the packets that are lost where nothing else is said.
    loss: f64,
}

impl Wire {
    /// Two new networks with a link between them; `seed` decides which packets are lost by chance, of which there is a
    /// share of `loss` unless conditions have their own.
    pub fn lay(conditions: Conditions, loss: f64, seed: u64) -> Result<Self, String> {
        let client = Arc::new(Side::new("quicc-client", CLIENT, FARM)?);
        let farm = Arc::new(Side::new("quicc-farm", FARM, CLIENT)?);
        let shared = Arc::new(Shared {
            conditions: Mutex::new(conditions),
            counts: Default::default(),
            is_ended: AtomicBool::new(false),
            is_watched: AtomicBool::new(false),
            sightings: Mutex::default(),
            threads: Mutex::default(),
        });
        let threads = [(&client, &farm, true), (&farm, &client, false)].map(|(from, to, is_up)| {
            let (from, to, shared) = (Arc::clone(from), Arc::clone(to), Arc::clone(&shared));
            std::thread::spawn(move || carry(&from.tun, &to.tun, &shared, is_up, seed ^ u64::from(is_up)))
        });
        Ok(Self {
            client,
            farm,
            shared,
            threads: threads.into(),
            loss,
        })
    }

    /// What comes from now on finds the link like this.
    pub fn set(&self, mut conditions: Conditions) {
        if conditions.loss == 0.0 {
            conditions.loss = self.loss;
        }
        *lock(&self.shared.conditions) = conditions;
    }

    pub fn conditions(&self) -> Conditions {
        *lock(&self.shared.conditions)
    }

    /// Up and down, since the link is there.
    pub fn counts(&self) -> (Count, Count) {
        (*lock(&self.shared.counts[1]), *lock(&self.shared.counts[0]))
    }

    /// What carrying took so far: the first figure of proc_pid_schedstat(5), nanoseconds.
    pub fn processor_time(&self) -> Duration {
        let of = |thread: &i32| {
            let text =
                std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).unwrap_or_default();
            text.split(' ')
                .next()
                .and_then(|number| number.parse().ok())
                .unwrap_or(0)
        };
        Duration::from_nanos(lock(&self.shared.threads).iter().map(of).sum())
    }

    /// Every packet that comes to the link while `work` is done.
    pub fn watch<T>(&self, work: impl FnOnce() -> T) -> (T, Vec<Sighting>) {
        lock(&self.shared.sightings).clear();
        self.shared.is_watched.store(true, Ordering::SeqCst);
        let done = work();
        self.shared.is_watched.store(false, Ordering::SeqCst);
        (done, std::mem::take(&mut lock(&self.shared.sightings)))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.is_ended.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Has the kernel run this thread before all others that are due: it stands for hardware. Without that right the
/// figures would be those of a busy machine.
fn take_precedence() {
    let done = Command::new("chrt")
        .args(["--fifo", "--pid", "20", &gettid().to_string()])
        .status();
    assert!(done.is_ok_and(|status| status.success()), "chrt --fifo");
    set_timerslack(TIMER_SLACK).unwrap();
}

/// Carries packets one way until the link ends.
fn carry(from: &Tun, to: &Tun, shared: &Shared, is_up: bool, seed: u64) {
    take_precedence();
    lock(&shared.threads).push(gettid().as_raw());
    let mut queue = Queue::new(Instant::now(), seed);
    let mut under_way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut spare: Vec<Vec<u8>> = Vec::new();
    let mut buffer = [0; MTU];
    while !shared.is_ended.load(Ordering::Relaxed) {
        let now = Instant::now();
        while under_way.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, packet)) = under_way.pop_front() else {
                break;
            };
            // A device that is down loses what is sent to it, as hardware does.
            let _ = to.send(&packet);
            if spare.len() < SPARE {
                spare.push(packet);
            }
        }
        let wait = under_way
            .front()
            .map_or(IDLE, |(due, _)| due.saturating_duration_since(now).min(IDLE));
        let mut polled = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut polled, Some(TimeSpec::from_duration(wait)), None) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => panic!("poll: {error}"),
        }
        let conditions = *lock(&shared.conditions);
        let mut count = *lock(&shared.counts[usize::from(is_up)]);
        for _ in 0..BATCH {
            let Ok(length) = from.recv(&mut buffer) else { break };
            let at = Instant::now();
            count.packets += 1;
            count.bytes += length as u64;
            if shared.is_watched.load(Ordering::Relaxed) {
                let bytes = length;
                lock(&shared.sightings).push(Sighting { at, is_up, bytes });
            }
            match queue.accept(&conditions, length, at) {
                Fate::Arrives(due) if under_way.len() < UNDER_WAY => {
                    let mut packet = spare.pop().unwrap_or_default();
                    packet.clear();
                    packet.extend_from_slice(&buffer[..length]);
                    under_way.push_back((due, packet));
                }
                Fate::Lost => count.lost += 1,
                Fate::Arrives(_) | Fate::Dropped => count.dropped += 1,
            }
        }
        *lock(&shared.counts[usize::from(is_up)]) = count;
    }
}
