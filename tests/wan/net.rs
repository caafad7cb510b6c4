//! Two sites and the link between them, in one process and in tokio's paused time: what a packet meets there is decided
//! by a [`Link`], and counted. Owns no QUIC.
//!
//! tokio's timers tick in milliseconds: arrivals are rounded to the nearest, so that round trips are right on average.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes of IPv4 and UDP headers around each datagram.
const HEADERS: usize = 28;
/// Datagrams handed over in one call, as segmentation offload does.
const SEGMENTS: usize = 64;

/// Which end of the link an address belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    Client,
    Farm,
}

impl Site {
    /// An address of this site, of the range for documentation.
    pub(crate) fn address(self, host: u8, port: u16) -> SocketAddr {
        match self {
            Self::Client => ([192, 0, 2, host], port).into(),
            Self::Farm => ([198, 51, 100, host], port).into(),
        }
    }

    fn of(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) if v4.ip().octets()[0] == 192 => Self::Client,
            _ => Self::Farm,
        }
    }
}

/// One direction of the link.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// Bits per second.
    pub(crate) rate: f64,
    /// From the end of the queue to the other site.
    pub(crate) delay: Duration,
    /// Bytes that may wait.
    pub(crate) queue: f64,
    /// Share of packets lost at random.
    pub(crate) loss: f64,
    /// Packets arrive together, every so often, as radio links have it.
    pub(crate) slot: Duration,
    /// Share of packets held back, and for how long.
    pub(crate) reordering: (f64, Duration),
    /// Bytes of the longest datagram that passes.
    pub(crate) mtu: usize,
    /// Nothing passes.
    pub(crate) is_blackhole: bool,
}

impl Link {
    /// A link of `megabits` per second that takes half of `round_trip` and queues one product of both.
    pub(crate) fn new(megabits: f64, round_trip: Duration) -> Self {
        let rate = megabits * 1e6;
        Self {
            rate,
            delay: round_trip / 2,
            queue: (rate / 8.0 * round_trip.as_secs_f64()).max(64e3),
            loss: 0.0,
            slot: Duration::ZERO,
            reordering: (0.0, Duration::ZERO),
            mtu: 1472,
            is_blackhole: false,
        }
    }

    pub(crate) fn with_loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }
}

/// What one direction did so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    /// Datagrams handed in, and their bytes with headers.
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// Bytes of the longest one, without them.
    pub(crate) longest: usize,
    /// Of the datagrams: dropped because the queue was full, at random, because they were too long, into a blackhole or to
    /// nobody.
    pub(crate) overflowed: u64,
    pub(crate) lost: u64,
    pub(crate) oversize: u64,
    pub(crate) vanished: u64,
}

#[derive(Debug)]
struct Direction {
    link: Link,
    /// When the last packet of the queue has left.
    busy_until: Instant,
    count: Count,
}

#[derive(Debug)]
struct Packet {
    at: Instant,
    from: SocketAddr,
    bytes: Vec<u8>,
    ecn: Option<EcnCodepoint>,
}

#[derive(Debug, Default)]
struct Inbox {
    packets: VecDeque<Packet>,
    waker: Option<Waker>,
    /// The socket it belongs to: an address may be taken over.
    owner: u64,
}

struct State {
    start: Instant,
    up: Direction,
    down: Direction,
    inboxes: BTreeMap<SocketAddr, Inbox>,
    random: u64,
    /// Made so far.
    sockets: u64,
}

impl State {
    /// xorshift64*: a number in [0, 1).
    fn draw(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let bits = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
        bits as f64 / (1u64 << 53) as f64
    }

    fn carry(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8], ecn: Option<EcnCodepoint>) {
        let (now, start) = (Instant::now(), self.start);
        let (loss, reordering) = (self.draw(), self.draw());
        let direction = match Site::of(from) {
            Site::Client => &mut self.up,
            Site::Farm => &mut self.down,
        };
        let (link, count) = (&direction.link, &mut direction.count);
        let length = (bytes.len() + HEADERS) as f64;
        count.packets += 1;
        count.bytes += length as u64;
        count.longest = count.longest.max(bytes.len());
        let waiting = direction.busy_until.saturating_duration_since(now).as_secs_f64() * link.rate / 8.0;
        let fate = if link.is_blackhole || !self.inboxes.contains_key(&to) {
            &mut count.vanished
        } else if bytes.len() > link.mtu {
            &mut count.oversize
        } else if waiting + length > link.queue {
            &mut count.overflowed
        } else {
            direction.busy_until =
                direction.busy_until.max(now) + Duration::from_secs_f64(length * 8.0 / link.rate);
            if loss >= link.loss {
                let on_time = next_slot(start, direction.busy_until, link.slot) + link.delay;
                let held_back = if reordering < link.reordering.0 {
                    link.reordering.1
                } else {
                    Duration::ZERO
                };
                let at = nearest_tick(start, on_time + held_back);
                let packet = Packet {
                    at,
                    from,
                    bytes: bytes.to_vec(),
                    ecn,
                };
                self.inboxes.entry(to).or_default().put(packet);
                return;
            }
            &mut count.lost
        };
        *fate += 1;
    }
}

/// The end of the slot around `at`.
fn next_slot(start: Instant, at: Instant, slot: Duration) -> Instant {
    if slot.is_zero() {
        return at;
    }
    let slots = at.duration_since(start).as_nanos().div_ceil(slot.as_nanos());
    start + slot * u32::try_from(slots).unwrap()
}

/// The millisecond next to `at`.
fn nearest_tick(start: Instant, at: Instant) -> Instant {
    let micros = at.duration_since(start).as_micros() as u64;
    start + Duration::from_millis((micros + 500) / 1000)
}

impl Inbox {
    fn put(&mut self, packet: Packet) {
        let place = self.packets.partition_point(|other| other.at <= packet.at);
        self.packets.insert(place, packet);
        if place == 0
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }
}

/// The link and everything on its way.
#[derive(Clone)]
pub(crate) struct Net(Arc<Mutex<State>>);

impl fmt::Debug for Net {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Net")
    }
}

impl Net {
    /// The same link both ways.
    pub(crate) fn new(link: Link, seed: u64) -> Self {
        let now = Instant::now();
        let direction = |link| Direction {
            link,
            busy_until: now,
            count: Count::default(),
        };
        Self(Arc::new(Mutex::new(State {
            start: now,
            up: direction(link.clone()),
            down: direction(link),
            inboxes: BTreeMap::new(),
            random: seed | 1,
            sockets: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Changes both directions from now on.
    pub(crate) fn change(&self, change: impl Fn(&mut Link)) {
        let mut state = self.state();
        change(&mut state.up.link);
        change(&mut state.down.link);
    }

    /// What was sent from the client.
    pub(crate) fn up(&self) -> Count {
        self.state().up.count
    }

    /// What went to the client so far.
    pub(crate) fn down(&self) -> Count {
        self.state().down.count
    }

    /// A socket at `address`. One that was there is deaf from now on.
    pub(crate) fn socket(&self, address: SocketAddr) -> Arc<SimulatedSocket> {
        let mut state = self.state();
        state.sockets += 1;
        let number = state.sockets;
        let inbox = Inbox {
            owner: number,
            ..Inbox::default()
        };
        state.inboxes.insert(address, inbox);
        drop(state);
        Arc::new(SimulatedSocket {
            number,
            address: Mutex::new(address),
            net: self.clone(),
            sleep: Mutex::new(None),
        })
    }
}

/// A UDP socket of one site.
#[derive(Debug)]
pub(crate) struct SimulatedSocket {
    number: u64,
    address: Mutex<SocketAddr>,
    net: Net,
    sleep: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl SimulatedSocket {
    fn address(&self) -> SocketAddr {
        *self.address.lock().unwrap()
    }

    /// The machine is elsewhere in the network now: it sends from `address`, and what is sent to the old one is lost.
    pub(crate) fn move_to(&self, address: SocketAddr) {
        let old = std::mem::replace(&mut *self.address.lock().unwrap(), address);
        let mut state = self.net.state();
        let mut inbox = state.inboxes.remove(&old).unwrap();
        inbox.packets.clear();
        if let Some(waker) = inbox.waker.take() {
            waker.wake();
        }
        state.inboxes.insert(address, inbox);
    }
}

impl Drop for SimulatedSocket {
    fn drop(&mut self) {
        let (address, mut state) = (self.address(), self.net.state());
        let inbox = state.inboxes.get(&address);
        if inbox.is_some_and(|inbox| inbox.owner == self.number) {
            state.inboxes.remove(&address);
        }
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for SimulatedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let (from, mut state) = (self.address(), self.net.state());
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len());
        for datagram in transmit.contents.chunks(segment) {
            state.carry(from, transmit.destination, datagram, transmit.ecn);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let address = self.address();
        loop {
            let mut state = self.net.state();
            let inbox = state.inboxes.get_mut(&address);
            let Some(inbox) = inbox.filter(|inbox| inbox.owner == self.number) else {
                return Poll::Pending;
            };
            let (now, mut count) = (Instant::now(), 0);
            let is_due = |packet: &Packet| packet.at <= now;
            while count < buffers.len()
                && inbox.packets.front().is_some_and(is_due)
                && let Some(packet) = inbox.packets.pop_front()
            {
                let length = packet.bytes.len();
                buffers[count][..length].copy_from_slice(&packet.bytes);
                metas[count] = RecvMeta {
                    addr: packet.from,
                    len: length,
                    stride: length,
                    ecn: packet.ecn,
                    dst_ip: None,
                };
                count += 1;
            }
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            inbox.waker = Some(context.waker().clone());
            let Some(at) = inbox.packets.front().map(|packet| packet.at) else {
                return Poll::Pending;
            };
            drop(state);
            let mut sleep = self.sleep.lock().unwrap();
            let sleep = sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
            sleep.as_mut().reset(at);
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address())
    }

    fn max_transmit_segments(&self) -> usize {
        SEGMENTS
    }

    fn may_fragment(&self) -> bool {
        false
    }
}
