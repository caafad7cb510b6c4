//! UDP sockets: bound, with buffers as large as the kernel grants, with or without segmentation offload.

use std::ffi::OsStr;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Once};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::env;

/// Buffers asked of the kernel, bytes: 64 ms of 1 Gbit/s.
const BUFFER: usize = 8 << 20;
/// Buffers below which a fast link loses packets here, on this machine.
const BUFFER_ENOUGH: usize = 2 << 20;

/// Binds `address`.
pub(super) fn bind(address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    // The kernel clamps silently; Linux reports twice what it granted.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    tell_shortage(socket.recv_buffer_size()? / 2, socket.send_buffer_size()? / 2);
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    let socket = TokioRuntime.wrap_udp_socket(socket.into())?;
    let offloads = env::read(env::QUICC_QUIC_GSO).is_none_or(|value| is_on(&value));
    Ok(if offloads {
        socket
    } else {
        Arc::new(OneByOne(socket))
    })
}

fn is_on(value: &OsStr) -> bool {
    value != "0"
}

/// The settings of the kernel that keep buffers of so many bytes from being large enough.
fn too_small(receive: usize, send: usize) -> Option<&'static str> {
    match (receive < BUFFER_ENOUGH, send < BUFFER_ENOUGH) {
        (true, true) => Some("net.core.rmem_max and net.core.wmem_max"),
        (true, false) => Some("net.core.rmem_max"),
        (false, true) => Some("net.core.wmem_max"),
        (false, false) => None,
    }
}

/// Says once what limits the buffers.
fn tell_shortage(receive: usize, send: usize) {
    static TOLD: Once = Once::new();
    if let Some(sysctl) = too_small(receive, send) {
        TOLD.call_once(|| {
            tracing::warn!(
                receive,
                send,
                wanted = BUFFER,
                "small UDP buffers: a fast link will lose packets on this machine; raise {sysctl}"
            );
        });
    }
}

/// A socket that hands the kernel one datagram at a time: for drivers and virtual machines that spoil segmentation
/// offload.
#[derive(Debug)]
struct OneByOne(Arc<dyn AsyncUdpSocket>);

impl AsyncUdpSocket for OneByOne {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.0).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.try_send(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_recv(context, buffers, metas)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        1
    }

    fn max_receive_segments(&self) -> usize {
        self.0.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.0.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_buffers_are_told_by_the_setting_that_limits_them() {
        for (receive, send, sysctl) in [
            (212_992, 212_992, Some("net.core.rmem_max and net.core.wmem_max")),
            (212_992, BUFFER, Some("net.core.rmem_max")),
            (BUFFER, 212_992, Some("net.core.wmem_max")),
            (BUFFER_ENOUGH, BUFFER_ENOUGH, None),
        ] {
            assert_eq!(too_small(receive, send), sysctl);
        }
    }

    #[tokio::test]
    async fn without_offload_datagrams_leave_one_by_one() {
        assert!(is_on(OsStr::new("1")) && !is_on(OsStr::new("0")));
        let any = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let single = OneByOne(Arc::clone(&any));
        assert_eq!(single.max_transmit_segments(), 1);
        assert_eq!(single.local_addr().unwrap(), any.local_addr().unwrap());
        assert_eq!(single.max_receive_segments(), any.max_receive_segments());
    }
}
