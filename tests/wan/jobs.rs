//! What a job costs in round trips.

use std::time::Duration;

use crate::net::{Link, Net};
use crate::world::World;

const ROUND_TRIP: Duration = Duration::from_millis(100);

fn round_trips(time: Duration) -> f64 {
    time.as_secs_f64() / ROUND_TRIP.as_secs_f64()
}

fn far() -> World {
    World::new(Net::new(Link::new(1000.0, ROUND_TRIP), 1))
}

#[tokio::test(start_paused = true)]
async fn the_second_job_on_a_long_link_takes_little_more_than_a_round_trip() {
    for (size, bound) in [(64 << 10, 1.15), (200 << 10, 1.42)] {
        let world = far();
        let served = world.connect().await;
        let mut took = Vec::new();
        for _ in 0..5 {
            took.push(round_trips(served.job(size, size).await));
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
        took.push(round_trips(served.job(size, size).await));
        println!("{size}: {took:.2?}");
        assert!(
            took[1..].iter().all(|trips| (1.0..=bound).contains(trips)),
            "{took:.2?}"
        );
    }
}
