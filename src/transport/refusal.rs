//! What the kernels of peers say of packets that came to a port where nobody listens (ICMP "port unreachable").
//!
//! A killed process leaves a kernel that answers so, but only few times a second for each host (icmp_ratelimit of icmp(7)),
//! and what QUIC sends again uses them up at once: whoever asks later hears nothing. So the answers to QUIC's own packets
//! are heard. Never decides what one means; anybody could have sent it.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use tokio::io::Interest;

use crate::host::task::{self, Task};

/// Peers of whom it is remembered; beyond it all are forgotten.
const PEERS: usize = 256;

/// Bytes of what the kernel says of one: itself and who said it, 44 at most, behind what quinn has it say of every packet.
const SAID: usize = 256;

/// Which peers' kernels said it.
#[derive(Debug, Clone, Default)]
pub struct Refusals(Arc<Mutex<Heard>>);

#[derive(Debug, Default)]
struct Heard {
    /// How many were heard, of whomever.
    all: u64,
    /// How many by the last of each peer.
    last: HashMap<SocketAddr, u64>,
}

impl Refusals {
    /// Hears those of what is sent through `socket`, of which this is another handle, as long as the task lives. The
    /// kernel says each once more to who sends or receives next: quinn passes over that, and what was to be sent is lost.
    pub(super) fn hear(&self, socket: UdpSocket) -> io::Result<Task<()>> {
        if socket.local_addr()?.is_ipv6() {
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
        }
        // On a socket for both families as well.
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        let heard = self.clone();
        Ok(task::spawn("refusals", async move {
            while socket.ready(Interest::ERROR).await.is_ok() {
                // Once none is left the socket is not ready any more.
                loop {
                    match socket.try_io(Interest::ERROR, || next_error(&socket)) {
                        Ok(Some(peer)) => heard.note(peer),
                        Ok(None) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(_) => return,
                    }
                }
            }
        }))
    }

    fn note(&self, peer: SocketAddr) {
        let mut heard = self.lock();
        if heard.last.len() >= PEERS && !heard.last.contains_key(&peer) {
            heard.last.clear();
        }
        heard.all += 1;
        let number = heard.all;
        heard.last.insert(peer, number);
    }

    /// The number of the last one known of `peer`, counted over all peers; 0 if none is. Only a greater number means that
    /// there was another since.
    pub(super) fn last(&self, peer: SocketAddr) -> u64 {
        self.lock()
            .last
            .get(&canonical(peer))
            .copied()
            .unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without the wrapping of IPv4 addresses on sockets for both families.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The next of the errors that wait: the peer of whom it is a refusal, or none if it is another.
fn next_error(socket: &impl AsRawFd) -> io::Result<Option<SocketAddr>> {
    let mut space = nix::cmsg_space!([u8; SAID]);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut [], Some(&mut space), flags)?;
    let is_refused = message.cmsgs().is_ok_and(|mut messages| {
        messages.any(|message| match message {
            ControlMessageOwned::Ipv4RecvErr(error, _) => error.ee_errno == Errno::ECONNREFUSED as u32,
            ControlMessageOwned::Ipv6RecvErr(error, _) => error.ee_errno == Errno::ECONNREFUSED as u32,
            _ => false,
        })
    });
    let to = message.address.as_ref();
    let v4 = || {
        to.and_then(|to| to.as_sockaddr_in())
            .map(|to| SocketAddr::from(SocketAddrV4::from(*to)))
    };
    let v6 = || {
        to.and_then(|to| to.as_sockaddr_in6())
            .map(|to| SocketAddr::from(SocketAddrV6::from(*to)))
    };
    Ok(v4().or_else(v6).map(canonical).filter(|_| is_refused))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;
    use crate::transport::socket;

    /// A port of `address` where nobody listens, and none will while the socket lives that has it.
    fn closed_port(address: &str) -> (UdpSocket, SocketAddr) {
        let connected = UdpSocket::bind((address, 0)).unwrap();
        let port = connected.local_addr().unwrap();
        // It takes packets of one peer only.
        connected.connect((address, 9)).unwrap();
        (connected, port)
    }

    #[tokio::test]
    async fn what_a_kernel_refuses_is_counted_by_peer_and_the_socket_goes_on() {
        for (own, peer) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")] {
            let refusals = Refusals::default();
            let own: IpAddr = own.parse().unwrap();
            let socket = socket::bind(SocketAddr::new(own, 0), Some(&refusals)).unwrap();
            let (_kept, closed) = closed_port(peer);
            let target = match (own, closed.ip()) {
                (IpAddr::V6(_), IpAddr::V4(v4)) => SocketAddr::new(v4.to_ipv6_mapped().into(), closed.port()),
                _ => closed,
            };
            let transmit = quinn::udp::Transmit {
                destination: target,
                ecn: None,
                contents: b"nobody",
                segment_size: None,
                src_ip: None,
            };
            let heard = async {
                while refusals.lock().all < 2 {
                    // The error of an earlier one takes the place of one now and then.
                    let _ = socket.try_send(&transmit);
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), heard)
                .await
                .unwrap();
            assert!(refusals.last(closed) >= 2 && refusals.last(closed) == refusals.last(target));
            let live = UdpSocket::bind((peer, 0)).unwrap();
            assert_eq!(refusals.last(live.local_addr().unwrap()), 0);
            // Errors that wait are no end of the socket.
            let mut buffer = [0; 64];
            let mut buffers = [io::IoSliceMut::new(&mut buffer)];
            let mut metas = [quinn::udp::RecvMeta::default()];
            let received =
                std::future::poll_fn(|context| socket.poll_recv(context, &mut buffers, &mut metas));
            let port = socket.local_addr().unwrap().port();
            live.send_to(b"somebody", (peer, port)).unwrap();
            let received = tokio::time::timeout(Duration::from_secs(10), received)
                .await
                .unwrap();
            assert_eq!((received.unwrap(), metas[0].len), (1, 8));
        }
    }

    #[test]
    fn what_is_forgotten_of_a_peer_is_no_other_refusal() {
        let refusals = Refusals::default();
        let peer = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let peers = u16::try_from(PEERS).unwrap();
        let mut before = 0;
        for port in 0..=peers {
            refusals.note(peer(port));
            before = before.max(refusals.last(peer(0)));
        }
        assert_eq!(refusals.lock().last.len(), 1);
        assert!(refusals.last(peer(0)) <= before);
        refusals.note(peer(0));
        assert!(refusals.last(peer(0)) > before);
    }
}
