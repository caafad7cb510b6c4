//! A flow of the kernel's TCP across the link, under one of its congestion controls.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;

use crate::upload::Flow;
use crate::wire::Wire;

/// How long a flow may stand still before it counts as broken.
const BOUND: Duration = Duration::from_secs(30);
/// What the kernel can be told to use.
const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
/// Bytes of a write, and of a read at most.
const CHUNK: usize = 64 << 10;

/// Those of the congestion controls worth comparing with that this kernel has.
pub fn controls() -> Vec<&'static str> {
    let available = std::fs::read_to_string(AVAILABLE).unwrap_or_default();
    let has = |control: &&str| available.split_whitespace().any(|name| name == *control);
    ["cubic", "bbr"].into_iter().filter(has).collect()
}

/// An upload that lasts until it is dropped.
pub struct KernelFlow {
    sender: TcpStream,
    arrived: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl KernelFlow {
    /// Starts one from the client's end.
    pub fn start(wire: &Wire, control: &str) -> Result<Self, String> {
        let told = |what: &str, error: &dyn std::fmt::Display| format!("TCP, {control}: {what}: {error}");
        let listener = wire.farm.within(|| TcpListener::bind((wire.farm.address, 0)));
        let listener = listener.map_err(|error| told("a listener", &error))?;
        let address = listener
            .local_addr()
            .map_err(|error| told("its address", &error))?;
        let sender = wire.client.within(|| TcpStream::connect_timeout(&address, BOUND));
        let sender = sender.map_err(|error| told("connect", &error))?;
        let (mut receiver, _) = listener.accept().map_err(|error| told("accept", &error))?;
        let chosen = SockRef::from(&sender).set_tcp_congestion(control.as_bytes());
        chosen.map_err(|error| told("the congestion control", &error))?;
        for stream in [&sender, &receiver] {
            let bounded = stream.set_read_timeout(Some(BOUND));
            let bounded = bounded.and_then(|()| stream.set_write_timeout(Some(BOUND)));
            bounded.map_err(|error| told("a bound", &error))?;
        }
        let mut sending = sender.try_clone().map_err(|error| told("its stream", &error))?;
        let arrived = Arc::<AtomicU64>::default();
        let count = Arc::clone(&arrived);
        let threads = vec![
            std::thread::spawn(move || while sending.write_all(&[7; CHUNK]).is_ok() {}),
            std::thread::spawn(move || {
                let mut buffer = [0; CHUNK];
                while let Ok(length @ 1..) = receiver.read(&mut buffer) {
                    count.fetch_add(length as u64, Ordering::Relaxed);
                }
                // Ends the sender too, which may wait for room.
                let _ = receiver.shutdown(Shutdown::Both);
            }),
        ];
        Ok(Self {
            sender,
            arrived,
            threads,
        })
    }
}

impl Flow for KernelFlow {
    fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }
}

impl Drop for KernelFlow {
    fn drop(&mut self) {
        let _ = self.sender.shutdown(Shutdown::Both);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
