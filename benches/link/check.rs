//! The link by itself: what the kernel's TCP carries over it, and how long a datagram is under way and back.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::queue::{Conditions, MBIT};
use crate::wire::Wire;

/// Round trips measured of a kind.
const ROUND_TRIPS: usize = 41;
/// How long TCP sends.
const SENDING: Duration = Duration::from_millis(2500);
/// The kernel's word for how TCP finds out what a link carries.
const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
/// What of it is not counted: the time in which TCP finds out what the link carries.
const STARTING: Duration = Duration::from_millis(1000);
const BOUND: Duration = Duration::from_secs(5);

/// Prints what each kind of link does.
pub fn run(wire: &Wire) -> Result<(), String> {
    let control = std::fs::read_to_string(CONGESTION_CONTROL).unwrap_or_default();
    println!(
        "\nThe link by itself: TUN, 1500 bytes a packet; UDP echo, {ROUND_TRIPS} times; kernel TCP ({}), Mbit/s from {STARTING:?} to {SENDING:?}:",
        control.trim()
    );
    println!(
        "{:>8}{:>8}{:>8}{:>12}{:>10}{:>10}{:>12}{:>12}{:>10}",
        "RTT ms", "Mbit/s", "loss %", "echo ms", "least", "most", "TCP up", "TCP down", "dropped"
    );
    let kinds = [
        (0, 100, 0.0),
        (25, 100, 0.0),
        (50, 100, 0.0),
        (100, 100, 0.0),
        (50, 100, 0.005),
        (0, 1000, 0.0),
        (50, 1000, 0.0),
    ];
    for (round_trip, rate, loss) in kinds {
        wire.set(Conditions {
            loss,
            ..Conditions::new(rate * MBIT, Duration::from_millis(round_trip))
        });
        // What is lost by chance is not echoed.
        let echoes = if loss > 0.0 { Vec::new() } else { echoes(wire)? };
        let at = |turn: usize| {
            echoes
                .get(turn)
                .map_or("-".to_owned(), |time| format!("{:.2}", time.as_secs_f64() * 1e3))
        };
        let before = wire.counts();
        let up = throughput(wire, true)?;
        let down = throughput(wire, false)?;
        let after = wire.counts();
        let dropped = after.0.since(&before.0).dropped + after.1.since(&before.1).dropped;
        println!(
            "{round_trip:8}{rate:8}{:8.1}{:>12}{:>10}{:>10}{:12.0}{:12.0}{:10}",
            loss * 100.0,
            at(echoes.len() / 2),
            at(0),
            at(echoes.len().saturating_sub(1)),
            up,
            down,
            dropped
        );
    }
    Ok(())
}

fn told(what: &str) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{what}: {error}")
}

/// Sorted times of small datagrams there and back, one after the other.
fn echoes(wire: &Wire) -> Result<Vec<Duration>, String> {
    let echoing = wire.farm.within(|| UdpSocket::bind((wire.farm.address, 0)));
    let echoing = echoing.map_err(told("a socket at the farm"))?;
    let there = echoing.local_addr().map_err(told("its address"))?;
    echoing.set_read_timeout(Some(BOUND)).map_err(told("a bound"))?;
    let asking = wire.client.within(|| UdpSocket::bind((wire.client.address, 0)));
    let asking = asking.map_err(told("a socket at the client"))?;
    asking.set_read_timeout(Some(BOUND)).map_err(told("a bound"))?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 64];
            for _ in 0..ROUND_TRIPS {
                let Ok((length, from)) = echoing.recv_from(&mut buffer) else {
                    return;
                };
                let _ = echoing.send_to(&buffer[..length], from);
            }
        });
        let mut times = Vec::new();
        for _ in 0..ROUND_TRIPS {
            let started = Instant::now();
            asking.send_to(&[0; 64], there).map_err(told("send"))?;
            asking.recv(&mut [0; 64]).map_err(told("no echo"))?;
            times.push(started.elapsed());
            // Away from the timer ticks of the one before.
            std::thread::sleep(Duration::from_millis(1));
        }
        times.sort();
        Ok(times)
    })
}

/// Megabits a second that arrive.
fn throughput(wire: &Wire, is_up: bool) -> Result<f64, String> {
    let (from, to) = if is_up {
        (&wire.client, &wire.farm)
    } else {
        (&wire.farm, &wire.client)
    };
    let listener = to
        .within(|| TcpListener::bind((to.address, 0)))
        .map_err(told("a listener"))?;
    let address = listener.local_addr().map_err(told("its address"))?;
    let mut sender = from
        .within(|| TcpStream::connect_timeout(&address, BOUND))
        .map_err(told("connect"))?;
    sender.set_write_timeout(Some(BOUND)).map_err(told("a bound"))?;
    let (mut receiver, _) = listener.accept().map_err(told("accept"))?;
    receiver.set_read_timeout(Some(BOUND)).map_err(told("a bound"))?;
    std::thread::scope(|scope| {
        let receiving = scope.spawn(move || {
            let mut buffer = vec![0; 1 << 18];
            let started = Instant::now();
            let (mut bytes, mut last) = (0_u64, started);
            while last.duration_since(started) < SENDING {
                let length = receiver.read(&mut buffer).map_err(told("receive"))?;
                last = Instant::now();
                if length == 0 {
                    break;
                }
                if last.duration_since(started) >= STARTING {
                    bytes += length as u64;
                }
            }
            Ok(bytes as f64 * 8.0
                / last
                    .duration_since(started)
                    .saturating_sub(STARTING)
                    .as_secs_f64()
                / 1e6)
        });
        let block = vec![0; 1 << 18];
        // Ends when the receiver has had enough.
        while sender.write_all(&block).is_ok() {}
        receiving.join().unwrap()
    })
}
