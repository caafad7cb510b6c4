//! UDP sockets: bound, with buffers as large as the kernel grants, with or without segmentation offload.

use std::ffi::OsStr;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use socket2::{Domain, Protocol, Socket, Type};

use super::refusal::Refusals;
use crate::config::env;
use crate::host::task::Task;
use crate::host::timer::{self, Timer};

/// Buffers asked of the kernel, bytes: 64 ms of 1 Gbit/s.
const BUFFER: usize = 8 << 20;
/// Buffers below which a fast link loses packets here, on this machine.
const BUFFER_ENOUGH: usize = 2 << 20;

/// How long a socket is left alone that has no room, where nothing tells when it has.
const FULL: Duration = Duration::from_millis(1);

/// Binds `address`. What kernels of peers refuse is heard by `refusals`, if given.
pub(super) fn bind(address: SocketAddr, refusals: Option<&Refusals>) -> io::Result<Arc<dyn AsyncUdpSocket>> {
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
    let ear = match refusals {
        Some(refusals) => {
            let heard = socket.try_clone().and_then(|socket| refusals.hear(socket.into()));
            // Silence tells as well, only later.
            heard
                .inspect_err(|error| tracing::warn!(%error, "what peers' kernels refuse is not heard"))
                .ok()
        }
        None => None,
    };
    let socket = TokioRuntime.wrap_udp_socket(socket.into())?;
    let socket = with_offload(socket, env::read(env::QUICC_QUIC_GSO).as_deref());
    Ok(match ear {
        Some(ear) => Arc::new(Adapted {
            socket,
            segments: None,
            ear: Some(ear),
            is_full: AtomicBool::new(false),
        }),
        None => socket,
    })
}

/// `socket` as the `switch` of the environment wants it: only `0` takes segmentation offload away.
fn with_offload(socket: Arc<dyn AsyncUdpSocket>, switch: Option<&OsStr>) -> Arc<dyn AsyncUdpSocket> {
    if switch.is_some_and(|value| value == "0") {
        Arc::new(Adapted {
            socket,
            segments: Some(1),
            ear: None,
            is_full: AtomicBool::new(false),
        })
    } else {
        socket
    }
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

/// A socket that is used otherwise than quinn would.
#[derive(Debug)]
struct Adapted {
    socket: Arc<dyn AsyncUdpSocket>,
    /// How many datagrams the kernel gets at a time, if not as many as it takes: drivers and virtual machines may spoil
    /// segmentation offload.
    segments: Option<usize>,
    /// Hears what is refused.
    ear: Option<Task<()>>,
    /// The kernel had no room for what was sent last.
    is_full: AtomicBool,
}

/// Tells when the kernel has room. Once something was refused tokio takes the socket for one that will never have to be
/// waited for again (epoll's `EPOLLERR`), and quinn would try to send without end.
#[derive(Debug)]
struct Room {
    of: Arc<Adapted>,
    poller: Pin<Box<dyn UdpPoller>>,
    pause: Option<Timer>,
}

impl UdpPoller for Room {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(pause) = &mut self.pause {
            ready!(Pin::new(pause).poll(context));
            self.pause = None;
            return Poll::Ready(Ok(()));
        }
        let polled = self.poller.as_mut().poll_writable(context);
        if !self.of.is_full.swap(false, Ordering::Relaxed) || polled.is_pending() {
            return polled;
        }
        // There was none a moment ago, and nothing was waited for.
        let mut pause = timer::sleep(FULL);
        let polled = Pin::new(&mut pause).poll(context).map(Ok);
        self.pause = Some(pause);
        polled
    }
}

impl AsyncUdpSocket for Adapted {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let poller = Arc::clone(&self.socket).create_io_poller();
        if self.ear.is_none() {
            return poller;
        }
        Box::pin(Room {
            of: self,
            poller,
            pause: None,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.socket.try_send(transmit);
        if matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            self.is_full.store(true, Ordering::Relaxed);
        }
        sent
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_recv(context, buffers, metas)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.segments
            .unwrap_or_else(|| self.socket.max_transmit_segments())
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
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
        let address = ([127, 0, 0, 1], 0).into();
        let any = bind(address, None).unwrap();
        for (switch, is_single) in [
            (None, false),
            (Some("1"), false),
            (Some(""), false),
            (Some("0"), true),
        ] {
            let chosen = with_offload(Arc::clone(&any), switch.map(OsStr::new));
            let expected = if is_single { 1 } else { any.max_transmit_segments() };
            assert_eq!(chosen.max_transmit_segments(), expected, "{switch:?}");
            assert_eq!(chosen.local_addr().unwrap(), any.local_addr().unwrap());
            assert_eq!(chosen.max_receive_segments(), any.max_receive_segments());
        }
    }

    /// A socket that has no room but says it had, and counts who tries.
    #[derive(Debug, Default)]
    struct Full(std::sync::atomic::AtomicUsize);

    #[derive(Debug)]
    struct AlwaysReady;

    impl UdpPoller for AlwaysReady {
        fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncUdpSocket for Full {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            Box::pin(AlwaysReady)
        }

        fn try_send(&self, _: &Transmit<'_>) -> io::Result<()> {
            let tries = self.0.fetch_add(1, Ordering::Relaxed);
            assert!(tries < 1000, "it is tried without end");
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            _: &mut [IoSliceMut<'_>],
            _: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(([127, 0, 0, 1], 1).into())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_socket_that_seems_to_have_room_is_not_tried_without_end() {
        let full = Arc::new(Full::default());
        let socket: Arc<dyn AsyncUdpSocket> = Arc::new(Adapted {
            socket: Arc::<Full>::clone(&full),
            segments: None,
            ear: Some(crate::host::task::spawn("ear", async {})),
            is_full: AtomicBool::new(false),
        });
        let mut poller = Arc::clone(&socket).create_io_poller();
        let transmit = Transmit {
            destination: ([127, 0, 0, 1], 2).into(),
            ecn: None,
            contents: b"",
            segment_size: None,
            src_ip: None,
        };
        // As quinn does.
        let sending = async {
            loop {
                let ready = std::future::poll_fn(|context| poller.as_mut().poll_writable(context));
                ready.await.unwrap();
                socket.try_send(&transmit).unwrap_err();
            }
        };
        let ended: Result<(), _> = tokio::time::timeout(100 * FULL, sending).await;
        ended.unwrap_err();
        let tries = full.0.load(Ordering::Relaxed);
        assert!((50..=101).contains(&tries), "{tries}");
    }

    /// Set for the process that [`the_switch_of_the_environment_reaches_the_sockets_that_are_bound`] starts.
    const INSIDE: &str = "QUICC_TEST_WITHOUT_OFFLOAD";

    /// In a process of its own, whose environment it is.
    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a test that starts itself again")]
    async fn the_switch_of_the_environment_reaches_the_sockets_that_are_bound() {
        if std::env::var_os(INSIDE).is_some() {
            let socket = bind(([127, 0, 0, 1], 0).into(), None).unwrap();
            assert_eq!(socket.max_transmit_segments(), 1);
            return;
        }
        let own = std::env::current_exe().unwrap();
        let mut process = std::process::Command::new(own);
        process
            .args([
                "--exact",
                "transport::socket::tests::the_switch_of_the_environment_reaches_the_sockets_that_are_bound",
            ])
            .env(INSIDE, "1")
            .env(env::QUICC_QUIC_GSO, "0");
        let output = process.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}
