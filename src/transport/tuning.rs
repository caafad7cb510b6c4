//! quinn's settings and their reasons. Its defaults are made for the web: an initial window of 12 kB and a
//! stream window of 1.25 MB cost a compile several round trips.

use std::sync::Arc;
use std::time::Duration;

use quinn::{AckFrequencyConfig, MtuDiscoveryConfig, StreamId, TransportConfig, VarInt};

use super::congestion::Congestion;

/// Bytes a peer may send on one stream before we read: 24 MiB carry 1 Gbit/s over 200 ms. As many streams of bulk as a
/// client has at once (four) fit the peer's [`SEND_WINDOW`] together and leave room there: it is shared, and whoever
/// finds it full waits whatever its priority.
pub const STREAM_WINDOW: u32 = 24 << 20;
/// Bytes a peer may send on all streams before we read.
pub const CONNECTION_WINDOW: u32 = 256 << 20;
/// The same for a peer that connected and has shown nothing but its certificate: what it makes this side hold, on as
/// many connections as it may have.
const ARRIVING_WINDOW: u32 = 8 << 20;
/// Bytes accepted from our writers and not yet acknowledged.
pub const SEND_WINDOW: u64 = 128 << 20;
/// Run streams a peer may have open; a build of 500 jobs at once must not queue here.
const BIDIRECTIONAL_STREAMS: u32 = 2048;
/// Table, lease and blob streams a peer may have open.
const UNIDIRECTIONAL_STREAMS: u32 = 512;
/// A connection without a packet for so long is lost. [`super::liveness`] notices sooner where work waits.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a peer is pinged at least, and so heard, on a connection that work waits for.
pub(super) const PING_PAUSE: Duration = Duration::from_millis(400);
/// The same where nothing waits, or who waits says so ([`super::liveness::Watched`]): each ping costs both sides a tenth
/// of a millisecond or two of processor time.
const LEISURELY_KEEP_ALIVE: Duration = Duration::from_secs(2);
/// What is sent for a peer to acknowledge, and nobody to read: quinn has no ping that can be asked for.
pub(super) const PING: &[u8] = &[0];
/// Bytes of received pings kept, quinn's own for each included. The oldest are dropped.
const PINGS_KEPT: usize = 256;
/// Time for a connection to come about, hello included.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(2500);
/// First estimate of the round trip where the path is not known: for the first retransmission, and for the pace at which
/// what is sent early leaves.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// The same at least, however short a known path is: the first answer takes a busy peer some milliseconds.
const LEAST_INITIAL_RTT: Duration = Duration::from_millis(20);
/// The longest datagram looked for: Ethernet's, less IPv4 and UDP. Longer ones take a longer search on every other path,
/// and above 6500 bytes break segmentation offload in quinn-udp 0.5 (ten segments exceed 64 kB).
const MTU_LIMIT: u16 = 1472;
/// Priorities of streams, higher first, on both sides: nothing is said of them on the wire. The table and a lease carry
/// what others wait for.
pub const TABLE_PRIORITY: i32 = 2 << 20;
/// The first of the small requests and answers; see [`run_priority`].
const RUN_PRIORITY: i32 = 1 << 20;
/// Runs whose order is kept.
const RUNS_IN_ORDER: u64 = 1 << 16;
/// Requests and answers up to this many bytes leave in the order of their runs.
const SMALL_RUN: u64 = 64 << 10;
/// Larger ones.
const LARGE_RUN_PRIORITY: i32 = 10;
/// Blobs that an action waits for.
pub const BLOB_PRIORITY: i32 = 0;
/// Blobs in bulk: toolchains, and many headers at once.
pub const BULK_PRIORITY: i32 = -10;
/// Bytes from which blobs are bulk.
pub const BULK_FROM: u64 = 512 << 10;
/// Packets a peer acknowledges together, which saves packets the other way, and the time in which it acknowledges fewer:
/// the sooner, the sooner the loss of the last packets of a burst is noticed.
const ACKNOWLEDGED_TOGETHER: u32 = 10;
pub(super) const ACKNOWLEDGED_WITHIN: Duration = Duration::from_millis(5);

/// How soon the end of a peer has to be noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Within a second: the scheduler, seen by a builder.
    Prompt,
    /// Within some seconds, and within a second while work waits: builders, seen by a client.
    OnDemand,
    /// Within some seconds: the scheduler, seen by a client.
    Leisurely,
    /// By the side that only hears the pings of [`Self::OnDemand`]: one that is late must not look like an end.
    Heard,
}

impl Pace {
    /// How often a living peer is heard at least; more often while work waits.
    pub(super) const fn interval(self, is_awaited: bool) -> Duration {
        match self {
            Self::Prompt => PING_PAUSE,
            Self::OnDemand | Self::Leisurely => LEISURELY_KEEP_ALIVE,
            Self::Heard if is_awaited => PING_PAUSE.saturating_mul(2),
            Self::Heard => LEISURELY_KEEP_ALIVE.saturating_mul(2),
        }
    }

    /// Whether [`super::liveness`] pings while work waits.
    pub(super) const fn pings(self) -> bool {
        matches!(self, Self::OnDemand)
    }
}

/// The priority of what is sent on a run's stream, `bytes` in all. Small ones leave one after the other, so that the
/// first run is answered long before the last: among streams of one priority quinn sends a packet of each in turn, and
/// all would end together. Large ones share what is left and hold up nobody.
pub fn run_priority(stream: StreamId, bytes: u64) -> i32 {
    if bytes > SMALL_RUN {
        return LARGE_RUN_PRIORITY;
    }
    let number = stream.index() % RUNS_IN_ORDER;
    i32::try_from(number).map_or(RUN_PRIORITY, |number| RUN_PRIORITY - number)
}

/// The transport settings of a connection made from here. This side sends the pings that both are heard by.
pub(super) fn transport(pace: Pace, congestion: Congestion) -> Arc<TransportConfig> {
    let mut settings = settings(CONNECTION_WINDOW, congestion);
    settings.keep_alive_interval(Some(pace.interval(false)));
    Arc::new(settings)
}

/// Those of one that arrives.
pub(super) fn arriving_transport(congestion: Congestion) -> Arc<TransportConfig> {
    Arc::new(settings(ARRIVING_WINDOW, congestion))
}

/// What a round trip is taken for until one was measured, given the one that the path had last time.
fn first_round_trip(known: Option<Duration>) -> Duration {
    known.unwrap_or(INITIAL_RTT).clamp(LEAST_INITIAL_RTT, INITIAL_RTT)
}

fn settings(receive_window: u32, congestion: Congestion) -> TransportConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(MTU_LIMIT);
    let mut acknowledgement = AckFrequencyConfig::default();
    acknowledgement
        .ack_eliciting_threshold(VarInt::from_u32(ACKNOWLEDGED_TOGETHER))
        .max_ack_delay(Some(ACKNOWLEDGED_WITHIN));
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(receive_window))
        .send_window(SEND_WINDOW)
        .max_concurrent_bidi_streams(VarInt::from_u32(BIDIRECTIONAL_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(UNIDIRECTIONAL_STREAMS))
        .max_idle_timeout(IDLE_TIMEOUT.try_into().ok())
        .initial_rtt(first_round_trip(congestion.round_trip()))
        .datagram_receive_buffer_size(Some(PINGS_KEPT))
        .congestion_controller_factory(Arc::new(congestion))
        .mtu_discovery_config(Some(discovery))
        .ack_frequency_config(Some(acknowledgement));
    transport
}

#[cfg(test)]
mod tests {
    use super::*;
    use quinn::{Dir, Side};

    #[test]
    fn small_runs_leave_in_their_order_and_bulk_last() {
        let run = |number, bytes| run_priority(StreamId::new(Side::Client, Dir::Bi, number), bytes);
        let falling = [
            TABLE_PRIORITY,
            run(0, 0),
            run(1, SMALL_RUN),
            run(RUNS_IN_ORDER - 1, 0),
            run(0, SMALL_RUN + 1),
            BLOB_PRIORITY,
            BULK_PRIORITY,
        ];
        assert!(falling.is_sorted_by(|above, below| above > below), "{falling:?}");
        assert_eq!(run(7, SMALL_RUN + 1), run(8, u64::MAX));
        // The count begins anew, not below everything.
        assert_eq!(run(RUNS_IN_ORDER, 0), run(0, 0));
    }
}
