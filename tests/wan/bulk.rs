//! How much of a link bulk carries, and what it does to others.

use std::time::Duration;

use crate::net::{Link, Net};
use crate::world::World;

const MILLISECOND: Duration = Duration::from_millis(1);

/// Megabits per second of bulk on the second connection over a link, and the share of its packets that overflowed.
async fn second(link: Link, time: Duration) -> (f64, f64) {
    let world = World::new(Net::new(link, 1));
    let first = world.connect().await;
    let bulk = first.upload();
    for _ in 0..10 {
        let before = world.net.up();
        let g = bulk.goodput(time / 10).await;
        let now = world.net.up();
        println!(
            "   1st {g:.0} over {} lost {} of {} cwnd {} rtt {:?}",
            now.overflowed - before.overflowed,
            now.lost - before.lost,
            now.packets - before.packets,
            first.near.stats().path.cwnd,
            first.near.rtt()
        );
    }
    drop(bulk);
    drop(first);
    let before = world.net.up();
    let served = world.connect().await;
    let bulk = served.upload();
    let mut sum = 0.0;
    for _ in 0..10 {
        let before = world.net.up();
        let g = bulk.goodput(time / 10).await;
        sum += g;
        let now = world.net.up();
        println!(
            "   {g:.0} over {} lost {} of {} cwnd {} rtt {:?}",
            now.overflowed - before.overflowed,
            now.lost - before.lost,
            now.packets - before.packets,
            served.near.stats().path.cwnd,
            served.near.rtt()
        );
    }
    let after = world.net.up();
    let overflowed = after.overflowed - before.overflowed;
    (
        sum / 10.0,
        overflowed as f64 / (after.packets - before.packets) as f64,
    )
}

#[tokio::test(start_paused = true)]
async fn bulk_fills_a_long_link() {
    for (name, link, time) in [
        ("1G 100", Link::new(1000.0, 100 * MILLISECOND), 10),
        (
            "1G 50 .5%",
            Link::new(1000.0, 50 * MILLISECOND).with_loss(0.005),
            10,
        ),
        (
            "100M 50 2%",
            Link::new(100.0, 50 * MILLISECOND).with_loss(0.02),
            10,
        ),
        ("100M 50", Link::new(100.0, 50 * MILLISECOND), 10),
        (
            "100M 50 q/10",
            Link {
                queue: 62e3,
                ..Link::new(100.0, 50 * MILLISECOND)
            },
            10,
        ),
        ("20M 20", Link::new(20.0, 20 * MILLISECOND), 10),
        ("5M 50", Link::new(5.0, 50 * MILLISECOND), 10),
        ("1G 1", Link::new(1000.0, 1 * MILLISECOND), 3),
    ] {
        println!("{name}");
        let start = std::time::Instant::now();
        let got = second(link, Duration::from_secs(time)).await;
        println!("{name} {got:.3?} {:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn fair() {
    for (rate, rtt) in [(100.0, 50), (100.0, 20), (20.0, 50), (500.0, 50)] {
        for first in [true, false] {
            let world = World::new(Net::new(Link::new(rate, rtt * MILLISECOND), 1));
            let served = world.connect().await;
            let (bulk, rival);
            if first {
                bulk = served.upload();
                tokio::time::sleep(5000 * MILLISECOND).await;
                rival = world.rival().await;
            } else {
                rival = world.rival().await;
                tokio::time::sleep(5000 * MILLISECOND).await;
                bulk = served.upload();
            }
            for _ in 0..10 {
                let (a, b) = tokio::join!(
                    bulk.goodput(Duration::from_secs(3)),
                    rival.goodput(Duration::from_secs(3))
                );
                println!(
                    "## {rate} {rtt} {first} {a:.0} {b:.0} cwnd {} rtt {:?}",
                    served.near.stats().path.cwnd,
                    served.near.rtt()
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two() {
    for (rate, rtt) in [(100.0, 50), (100.0, 20), (500.0, 50)] {
        let world = World::new(Net::new(Link::new(rate, rtt * MILLISECOND), 1));
        let served = world.connect().await;
        let bulk = served.upload();
        tokio::time::sleep(5000 * MILLISECOND).await;
        let served2 = world.connect().await;
        let rival = served2.upload();
        for _ in 0..10 {
            let (a, b) = tokio::join!(
                bulk.goodput(Duration::from_secs(2)),
                rival.goodput(Duration::from_secs(2))
            );
            println!(
                "## {rate} {rtt} two {a:.0} {b:.0} rtt {:?} {:?}",
                served.near.rtt(),
                served2.near.rtt()
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn beside() {
    for (name, link) in [
        ("100M 50", Link::new(100.0, 50 * MILLISECOND)),
        ("100M 50 2%", Link::new(100.0, 50 * MILLISECOND).with_loss(0.0)),
        ("20M 50", Link::new(20.0, 50 * MILLISECOND)),
    ] {
        let world = World::new(Net::new(link, 1));
        for n in 0..2 {
            let served = world.connect().await;
            let bulk = served.upload();
            let mut times = Vec::new();
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..400 {
                let c = served.near.clone();
                tasks.spawn(async move { crate::world::job(&c, 4000, 10000).await });
                tokio::time::sleep(47 * MILLISECOND).await;
            }
            while let Some(t) = tasks.join_next().await {
                times.push(t.unwrap());
            }
            let g = bulk.arrived() as f64 * 8.0 / 400.0 / 0.047 / 1e6;
            times.sort();
            println!(
                "## {name} {n} p50 {:?} p90 {:?} p99 {:?} max {:?} bulk {g:.0}",
                times[200], times[360], times[395], times[399]
            );
        }
    }
}
