//! How much of a link bulk carries, and what it does to others.

use std::time::Duration;

use crate::net::{Link, Net};
use crate::world::World;

#[tokio::test(start_paused = true)]
async fn bulk_fills_a_long_link() {
    let world = World::new(Net::new(Link::new(1000.0, Duration::from_millis(100)), 1));
    let served = world.connect().await;
    let goodput = served.upload().goodput(Duration::from_secs(3)).await;
    assert!((500.0..1000.0).contains(&goodput), "{goodput} Mbit/s");
    assert_eq!(world.net.up().overflowed, 0);
}
