//! Whether a peer is still there and may still be, the former noticed sooner than an idle timeout and without mistaking a slow link for a
//! dead peer.
//!
//! A living peer answers our keep-alive pings, so packets arrive at least every [`tuning::KEEP_ALIVE`] plus a
//! round trip. After a short silence its UDP port is probed: a killed process leaves a kernel that answers
//! "port unreachable", which is proof. A machine or link that is gone answers nothing; then a longer silence
//! decides.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use quicc_protocol::close;
use quinn::VarInt;

use super::{certificate, tuning};

/// How often arrivals are counted.
const SAMPLE: Duration = Duration::from_millis(100);
/// Silence, beyond a keep-alive and a round trip, after which the port is probed.
const SUSPICION: Duration = Duration::from_millis(200);
/// Silence after which the connection is given up: with the handshake bound it keeps a waiting unit under the
/// 3 s promised for a silent network.
pub const SILENCE: Duration = Duration::from_millis(2200);
/// How long a probe waits for the kernel's refusal.
const PROBE: Duration = Duration::from_millis(150);

/// Returns when the peer is gone, its certificate has expired, or the connection has ended; closes the connection in
/// the first two cases.
pub async fn watch(connection: quinn::Connection) {
    tokio::select! {
        () = certificate::expiry(&connection) => {}
        () = watch_arrivals(&connection) => {}
    }
}

async fn watch_arrivals(connection: &quinn::Connection) {
    let mut heard = connection.stats().udp_rx.datagrams;
    let mut silent_since = tokio::time::Instant::now();
    loop {
        tokio::select! {
            _ = connection.closed() => return,
            () = tokio::time::sleep(SAMPLE) => {}
        }
        let now_heard = connection.stats().udp_rx.datagrams;
        if now_heard != heard {
            heard = now_heard;
            silent_since = tokio::time::Instant::now();
            continue;
        }
        let silence = silent_since.elapsed();
        let suspicious = tuning::KEEP_ALIVE + connection.rtt().min(SILENCE / 2) + SUSPICION;
        if silence >= SILENCE {
            connection.close(VarInt::from_u32(close::SILENT), b"nothing was heard");
            return;
        }
        if silence >= suspicious && port_is_closed(connection.remote_address()).await {
            connection.close(VarInt::from_u32(close::SILENT), b"the peer's port is closed");
            return;
        }
    }
}

/// Whether the kernel at `address` says that nobody listens there; silence counts as no.
async fn port_is_closed(address: SocketAddr) -> bool {
    let any: SocketAddr = if address.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let refused = async {
        let socket = tokio::net::UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        // One byte is no QUIC packet: a living endpoint drops it.
        socket.send(&[0]).await?;
        let mut byte = [0];
        socket.recv(&mut byte).await
    };
    matches!(
        tokio::time::timeout(PROBE, refused).await,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused
    )
}
