//! How much of a link bulk carries, and what it does to others.

use std::path::Path;
use std::time::Duration;

use quicc::transport::effort::Effort;
use quicc::transport::solid::Packer;
use quicc_protocol::BlobDigest;
use quicc_protocol::message::Message;

use crate::net::{Link, Net};
use crate::world::World;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Bulk on the second connection over a link: the share of its rate that arrives as payload, and the share of packets
/// that overflowed.
async fn second(link: Link, time: Duration) -> (f64, f64) {
    let megabits = link.rate / 1e6;
    let world = World::new(Net::new(link, 1));
    let first = world.connect().await;
    let bulk = first.upload();
    tokio::time::sleep(3 * SECOND).await;
    drop((bulk, first));
    let second = world.connect().await;
    let before = world.net.up();
    let goodput = second.upload().goodput(time).await;
    let after = world.net.up();
    let overflowed = (after.overflowed - before.overflowed) as f64;
    (
        goodput / megabits,
        overflowed / (after.packets - before.packets) as f64,
    )
}

#[tokio::test(start_paused = true)]
async fn bulk_fills_a_long_link_without_overflowing_it() {
    let (share, overflowed) = second(Link::new(1000.0, 100 * MILLISECOND), 10 * SECOND).await;
    assert!(share >= 0.92, "{share:.3} of 1 Gbit/s");
    assert!(overflowed < 0.001, "{overflowed:.4} lost to our own queue");
}

/// The sources of this package: a batch of small files.
fn small_files() -> Vec<Vec<u8>> {
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut paths = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Bytes that leave the client for `files` in one batch, as hard compressed as the product finds right for a link of
/// `megabits` that it has used before.
async fn batch_on_the_wire(files: &[Vec<u8>], megabits: f64) -> u64 {
    let world = World::new(Net::new(Link::new(megabits, 50 * MILLISECOND), 1));
    let first = world.connect().await;
    let bulk = first.upload();
    tokio::time::sleep(3 * SECOND).await;
    drop((bulk, first));
    let served = world.connect().await;
    let size = files.iter().map(|file| file.len() as u64).sum();
    let level = Effort::default().level(&served.near, size);
    let mut packer = Packer::new(size, level).unwrap();
    for file in files {
        packer.add(BlobDigest::of(file), file).unwrap();
    }
    let (batch, wire) = packer.finish().unwrap();
    let before = world.net.up().bytes;
    let mut send = served.near.open_uni().await.unwrap();
    send.write_all(&[batch.to_frame(), wire].concat()).await.unwrap();
    send.finish().unwrap();
    let mut receive = served.far.accept_uni().await.unwrap();
    while receive.read_chunk(usize::MAX, true).await.unwrap().is_some() {}
    world.net.up().bytes - before
}

#[tokio::test(start_paused = true)]
async fn a_slow_link_carries_fewer_bytes_for_the_same_files() {
    let files = small_files();
    let slow = batch_on_the_wire(&files, 5.0).await;
    let fast = batch_on_the_wire(&files, 1000.0).await;
    assert!(
        slow * 10 < fast * 9,
        "{slow} bytes at 5 Mbit/s, {fast} at 1 Gbit/s"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_restarts_begins_with_what_the_path_carried() {
    let mut first_second = Vec::new();
    for writes_down in [true, false] {
        let mut world = World::new(Net::new(Link::new(1000.0, 100 * MILLISECOND), 1));
        let served = world.connect().await;
        let bulk = served.upload();
        tokio::time::sleep(2 * SECOND).await;
        drop((bulk, served));
        world.restart_client(writes_down);
        let served = world.connect().await;
        first_second.push(served.upload().goodput(SECOND).await);
    }
    assert!(first_second[0] >= 750.0, "{first_second:.0?} Mbit/s");
    assert!(first_second[1] <= 700.0, "{first_second:.0?} Mbit/s");
}

#[tokio::test(start_paused = true)]
async fn random_loss_costs_little_more_than_what_is_lost() {
    for (megabits, loss, bound) in [(1000.0, 0.005, 0.80), (100.0, 0.02, 0.75)] {
        let link = Link::new(megabits, 50 * MILLISECOND).with_loss(loss);
        let (share, overflowed) = second(link, 10 * SECOND).await;
        assert!(share >= bound, "{share:.3} of {megabits} Mbit/s");
        assert!(overflowed < 0.03, "{overflowed:.3} lost to our own queue");
    }
}

#[tokio::test(start_paused = true)]
async fn links_of_many_kinds_are_filled() {
    let shallow = |link: Link, queue| Link { queue, ..link };
    let slotted = Link {
        slot: 5 * MILLISECOND,
        ..Link::new(100.0, 50 * MILLISECOND)
    };
    let reordered = Link {
        reordering: (0.01, 4 * MILLISECOND),
        ..Link::new(100.0, 50 * MILLISECOND)
    };
    for (link, bound) in [
        (shallow(Link::new(100.0, 50 * MILLISECOND), 62e3), 0.88),
        (Link::new(20.0, 20 * MILLISECOND), 0.88),
        (Link::new(5.0, 50 * MILLISECOND), 0.82),
        (shallow(Link::new(1000.0, 2 * MILLISECOND), 1e6), 0.90),
        (Link::new(300.0, 200 * MILLISECOND), 0.85),
        (reordered, 0.85),
        (slotted, 0.85),
    ] {
        let name = format!("{link:?}");
        let (share, overflowed) = second(link, 4 * SECOND).await;
        assert!(share >= bound, "{share:.3} of {name}");
        assert!(
            overflowed < 0.03,
            "{overflowed:.3} lost to our own queue on {name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn bulk_and_a_flow_of_cubic_leave_each_other_a_fifth_of_the_link_at_least() {
    for (megabits, is_first) in [(100.0, true), (100.0, false), (20.0, true), (20.0, false)] {
        let world = World::new(Net::new(Link::new(megabits, 50 * MILLISECOND), 1));
        let served = world.connect().await;
        let (ours, theirs);
        if is_first {
            ours = served.upload();
            tokio::time::sleep(5 * SECOND).await;
            theirs = world.rival().await;
        } else {
            theirs = world.rival().await;
            tokio::time::sleep(5 * SECOND).await;
            ours = served.upload();
        }
        let (ours, theirs) = tokio::join!(ours.goodput(30 * SECOND), theirs.goodput(30 * SECOND));
        let shares = [ours / megabits, theirs / megabits];
        assert!(
            shares.iter().all(|share| *share >= 0.2),
            "{shares:.2?} of {megabits} Mbit/s, first {is_first}"
        );
        assert!(ours + theirs >= 0.85 * megabits, "{ours} and {theirs} Mbit/s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rival_that_ended_leaves_no_queue_behind() {
    let world = World::new(Net::new(Link::new(100.0, 50 * MILLISECOND), 1));
    let served = world.connect().await;
    let ours = served.upload();
    let theirs = world.rival().await;
    tokio::time::sleep(10 * SECOND).await;
    drop(theirs);
    // Two looks at the path, five seconds apart, tell.
    tokio::time::sleep(15 * SECOND).await;
    let goodput = ours.goodput(5 * SECOND).await;
    let round_trip = served.near.rtt();
    assert!(goodput >= 85.0, "{goodput} Mbit/s");
    assert!(round_trip <= 62 * MILLISECOND, "{round_trip:?}");
}

#[tokio::test(start_paused = true)]
async fn two_uploads_of_ours_share_a_link_and_keep_its_queue_short() {
    for megabits in [100.0, 500.0] {
        let world = World::new(Net::new(Link::new(megabits, 50 * MILLISECOND), 1));
        let first = world.connect().await;
        let early = first.upload();
        tokio::time::sleep(5 * SECOND).await;
        let second = world.connect().await;
        let late = second.upload();
        tokio::time::sleep(10 * SECOND).await;
        let (early, late) = tokio::join!(early.goodput(5 * SECOND), late.goodput(5 * SECOND));
        let shares = [early / megabits, late / megabits];
        let is_fair = shares.iter().all(|share| *share >= 0.25);
        assert!(is_fair, "{shares:.2?} of {megabits} Mbit/s");
        assert!(early + late >= 0.85 * megabits, "{early} and {late} Mbit/s");
        let round_trip = second.near.rtt();
        assert!(round_trip <= 62 * MILLISECOND, "{round_trip:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_uploads_of_ours_leave_a_flow_of_cubic_its_part_and_do_not_overflow_the_link() {
    let count = 8;
    let world = World::new(Net::new(Link::new(100.0, 50 * MILLISECOND), 1));
    // What the path carried is known then.
    world.connect().await.upload().goodput(3 * SECOND).await;
    let mut ours = Vec::new();
    for _ in 0..count {
        let served = world.connect().await;
        ours.push((served.upload(), served));
    }
    let theirs = world.rival().await;
    tokio::time::sleep(15 * SECOND).await;
    let before = world.net.up();
    let goodput = theirs.goodput(15 * SECOND).await;
    let after = world.net.up();
    let fair = 100.0 / f64::from(count + 1);
    assert!(goodput >= fair / 2.0, "{goodput} of {fair} Mbit/s");
    let overflowed = (after.overflowed - before.overflowed) as f64;
    let overflowed = overflowed / (after.packets - before.packets) as f64;
    assert!(overflowed < 0.01, "{overflowed:.4}");
}
