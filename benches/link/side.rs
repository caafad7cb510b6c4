//! A network of its own with one device: one end of the link.

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use tappers::{Interface, Tun};

/// Packets the kernel keeps for a device that nobody reads from for a moment.
const DEVICE_QUEUE: &str = "8192";
/// Bytes of a packet, at most.
pub const MTU: usize = 1500;

/// A network namespace without a name, which lives as long as something is in it or holds this.
pub struct Side {
    pub namespace: File,
    pub address: Ipv4Addr,
    pub tun: Tun,
}

impl Side {
    /// A new one at `address`, whose device leads to `other`.
    pub fn new(name: &str, address: Ipv4Addr, other: Ipv4Addr) -> Result<Self, String> {
        thread::scope(|scope| scope.spawn(|| Self::make(name, address, other)).join())
            .unwrap_or_else(|_| Err("a thread panicked".to_owned()))
    }

    fn make(name: &str, address: Ipv4Addr, other: Ipv4Addr) -> Result<Self, String> {
        let told = |what: &str, error: &dyn std::fmt::Display| format!("{name}: {what}: {error}");
        unshare(CloneFlags::CLONE_NEWNET).map_err(|error| told("a network namespace", &error))?;
        let namespace =
            File::open("/proc/thread-self/ns/net").map_err(|error| told("its namespace", &error))?;
        let tun = Interface::new(name).and_then(Tun::new_named);
        let mut tun = tun.map_err(|error| told("a TUN device", &error))?;
        tun.set_nonblocking(true)
            .map_err(|error| told("its device", &error))?;
        let (address_text, other) = (address.to_string(), other.to_string());
        for line in [
            &["link", "set", "lo", "up"][..],
            &["addr", "add", &address_text, "peer", &other, "dev", name],
            &[
                "link",
                "set",
                name,
                "mtu",
                &MTU.to_string(),
                "txqueuelen",
                DEVICE_QUEUE,
                "up",
            ],
        ] {
            let output = Command::new("ip").args(line).output();
            let output = output.map_err(|error| told("ip", &error))?;
            if !output.status.success() {
                let line = line.join(" ");
                return Err(told(&line, &String::from_utf8_lossy(&output.stderr)));
            }
        }
        Ok(Self {
            namespace,
            address,
            tun,
        })
    }

    /// Takes this thread there, with all threads and processes it starts from now on.
    pub fn enter(&self) {
        setns(&self.namespace, CloneFlags::CLONE_NEWNET).unwrap();
    }

    /// Does `work` there.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let there = || {
            self.enter();
            work()
        };
        thread::scope(|scope| scope.spawn(there).join().unwrap())
    }
}
