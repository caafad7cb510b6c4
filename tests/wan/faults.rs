//! Links that change, shrink, stop or lead elsewhere while they are used.

use std::time::Duration;

use crate::net::{Link, Net, Site};
use crate::world::World;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const ROUND_TRIP: Duration = Duration::from_millis(50);

fn world() -> World {
    World::new(Net::new(Link::new(100.0, ROUND_TRIP), 1))
}

#[tokio::test(start_paused = true)]
async fn datagrams_are_as_long_as_the_path_takes_them() {
    for mtu in [1252, 1400, 1472] {
        let world = World::new(Net::new(
            Link {
                mtu,
                ..Link::new(100.0, ROUND_TRIP)
            },
            1,
        ));
        let served = world.connect().await;
        tokio::time::sleep(2 * SECOND).await;
        let found = usize::from(served.near.stats().path.current_mtu);
        assert!(
            (1200..=mtu).contains(&found) && mtu - found < 60,
            "{found} of {mtu}"
        );
        let took = served.job(64 << 10, 64 << 10).await;
        assert!(took < 2 * ROUND_TRIP, "{took:?} with {mtu}");
    }
}

/// Above 6500 bytes ten segments are more than the kernel takes in one call.
#[tokio::test(start_paused = true)]
async fn no_datagram_is_longer_than_ethernet_takes_even_where_the_path_takes_more() {
    let world = World::new(Net::new(
        Link {
            mtu: 9000,
            ..Link::new(1000.0, ROUND_TRIP)
        },
        1,
    ));
    let served = world.connect().await;
    let (up, down) = (served.upload(), served.download());
    tokio::time::sleep(3 * SECOND).await;
    assert!(up.arrived() > 1 << 20 && down.arrived() > 1 << 20);
    for longest in [world.net.up().longest, world.net.down().longest] {
        assert!((1440..=1472).contains(&longest), "{longest}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_that_takes_shorter_datagrams_than_before_is_noticed_within_a_second() {
    let world = world();
    let served = world.connect().await;
    let bulk = served.upload();
    tokio::time::sleep(2 * SECOND).await;
    world.net.change(|link| link.mtu = 1300);
    tokio::time::sleep(SECOND).await;
    assert!(served.near.stats().path.current_mtu <= 1300);
    let goodput = bulk.goodput(2 * SECOND).await;
    assert!(goodput >= 60.0, "{goodput} Mbit/s");
}

#[tokio::test(start_paused = true)]
async fn an_upload_goes_on_after_an_outage() {
    let world = world();
    let served = world.connect().await;
    let bulk = served.upload();
    tokio::time::sleep(2 * SECOND).await;
    world.net.change(|link| link.is_blackhole = true);
    tokio::time::sleep(1500 * MILLISECOND).await;
    world.net.change(|link| link.is_blackhole = false);
    // The next probe leaves after twice the time of the one before, at the latest.
    tokio::time::sleep(3 * SECOND).await;
    let goodput = bulk.goodput(2 * SECOND).await;
    assert!(goodput >= 80.0, "{goodput} Mbit/s");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_stays_dead_ends_its_connections() {
    let world = world();
    let served = world.connect().await;
    world.net.change(|link| link.is_blackhole = true);
    let begun = tokio::time::Instant::now();
    served.near.closed().await;
    assert!(begun.elapsed() <= 6 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_upload_follows_a_client_to_another_address() {
    for (host, port) in [(1, 5001), (7, 5000)] {
        let world = world();
        let served = world.connect().await;
        let bulk = served.upload();
        tokio::time::sleep(2 * SECOND).await;
        world.socket.move_to(Site::Client.address(host, port));
        tokio::time::sleep(2 * SECOND).await;
        let goodput = bulk.goodput(2 * SECOND).await;
        assert!(goodput >= 80.0, "{goodput} Mbit/s from {host}:{port}");
        let took = served.job(4000, 10_000).await;
        assert!(
            took <= ROUND_TRIP + 20 * MILLISECOND,
            "{took:?} from {host}:{port}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_becomes_slower_gets_no_standing_queue() {
    let world = world();
    let served = world.connect().await;
    let bulk = served.upload();
    tokio::time::sleep(3 * SECOND).await;
    world.net.change(|link| link.rate /= 4.0);
    tokio::time::sleep(4 * SECOND).await;
    let goodput = bulk.goodput(3 * SECOND).await;
    let round_trip = served.near.rtt();
    assert!(goodput >= 20.0, "{goodput} Mbit/s");
    assert!(round_trip <= ROUND_TRIP + 25 * MILLISECOND, "{round_trip:?}");
}
