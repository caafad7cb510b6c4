//! What jobs cost in round trips and bytes, alone and beside bulk.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::net::{Link, Net};
use crate::world::{Served, World, job};

const MILLISECOND: Duration = Duration::from_millis(1);
const ROUND_TRIP: Duration = Duration::from_millis(100);

fn round_trips(time: Duration) -> f64 {
    time.as_secs_f64() / ROUND_TRIP.as_secs_f64()
}

fn far() -> World {
    World::new(Net::new(Link::new(1000.0, ROUND_TRIP), 1))
}

#[tokio::test(start_paused = true)]
async fn the_second_job_on_a_long_link_takes_little_more_than_a_round_trip() {
    for (size, bound) in [(64 << 10, 1.15), (200 << 10, 1.25)] {
        let world = far();
        let served = world.connect().await;
        let mut took = Vec::new();
        for _ in 0..5 {
            took.push(round_trips(served.job(size, size).await));
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
        let before = world.net.up();
        took.push(round_trips(served.job(size, size).await));
        let bytes = (world.net.up().bytes - before.bytes) as f64 / size as f64;
        let is_within = took[1..].iter().all(|trips| (1.0..=bound).contains(trips));
        assert!(is_within, "{size} bytes take {took:.2?} round trips");
        assert!((1.0..1.08).contains(&bytes), "{size} bytes cost {bytes:.3} times");
    }
}

/// Round trips of 500 jobs that begin at once: of the median, and of the slowest.
async fn burst(served: &Served) -> (f64, f64) {
    let mut running = JoinSet::new();
    for _ in 0..500 {
        let connection = served.near.clone();
        running.spawn(async move { job(&connection, 2000, 4000).await });
    }
    let mut took: Vec<_> = running.join_all().await.into_iter().map(round_trips).collect();
    took.sort_by(f64::total_cmp);
    (took[250], took[499])
}

#[tokio::test(start_paused = true)]
async fn five_hundred_jobs_at_once_are_answered_in_a_round_trip_on_a_path_that_is_known() {
    let world = far();
    let first = world.connect().await;
    let (_, unknown) = burst(&first).await;
    // Nobody knows yet what the path carries: 2 MB leave at the rate of the initial window.
    assert!(unknown <= 2.6, "{unknown:.2} round trips");
    let (up, down) = (first.upload(), first.download());
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop((up, down, first));
    let second = world.connect().await;
    for _ in 0..2 {
        let (median, slowest) = burst(&second).await;
        assert!(slowest <= 1.2, "{slowest:.2} round trips");
        assert!(
            median <= 1.12,
            "{median:.2} round trips: jobs are not answered one by one"
        );
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn small_jobs_beside_bulk_wait_ten_milliseconds_at_most() {
    let round_trip = 50 * MILLISECOND;
    let world = World::new(Net::new(Link::new(100.0, round_trip), 1));
    // The first connection does not know the path: its first jobs meet the queue that the search for the rate makes.
    for (searches, queue) in [(4, 15), (0, 10)] {
        let served = world.connect().await;
        let bulk = served.upload();
        let mut running = JoinSet::new();
        for _ in 0..400 {
            let connection = served.near.clone();
            running.spawn(async move { job(&connection, 4000, 10_000).await });
            tokio::time::sleep(47 * MILLISECOND).await;
        }
        let goodput = bulk.arrived() as f64 * 8.0 / (400.0 * 0.047) / 1e6;
        let mut took = running.join_all().await;
        took.sort();
        let p99 = took[395];
        assert!(p99 <= round_trip + queue * MILLISECOND, "{p99:?}");
        let worst = took[399 - searches];
        assert!(worst <= round_trip + 20 * MILLISECOND, "{worst:?}");
        assert!(goodput >= 85.0, "{goodput:.1} Mbit/s of bulk");
    }
}

/// The first one begins with a window of several times what the path and its queue hold: it pays for that, and it alone.
#[tokio::test(start_paused = true)]
async fn only_the_first_large_job_overflows_a_short_path() {
    const SIZE: usize = 1_000_000;
    // Megabits per second, and what the first job and each further one may take more than one round trip and its bytes.
    for (rate, first, further) in [(100.0, 0.25, 0.22), (20.0, 0.45, 0.12)] {
        let round_trip = 25 * MILLISECOND;
        let least = round_trip.as_secs_f64() + 2.0 * SIZE as f64 * 8.0 / (rate * 1e6);
        let world = World::new(Net::new(Link::new(rate, round_trip), 1));
        let overflowed = || world.net.up().overflowed + world.net.down().overflowed;
        let served = world.connect().await;
        let mut before = 0;
        for number in 0..8 {
            let took = served.job(SIZE, SIZE).await.as_secs_f64() / least - 1.0;
            let bound = if number == 0 { first } else { further };
            assert!(
                took <= bound,
                "{number}, {rate} Mbit/s: {took:.3} more than the least"
            );
            if number > 0 {
                assert_eq!(overflowed(), before, "{number}, {rate} Mbit/s");
            }
            before = overflowed();
            tokio::time::sleep(8 * round_trip).await;
        }
        assert!(
            before > 0,
            "{rate} Mbit/s: nothing is shown where nothing overflows"
        );
    }
}
