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
    for (size, bound) in [(64 << 10, 1.15), (200 << 10, 1.25)] {
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

#[tokio::test(start_paused = true)]
async fn many() {
    let world = far();
    for n in 0..3 {
        let served = world.connect().await;
        for k in 0..2 {
            let jobs = (0..500)
                .map(|_| {
                    let c = served.near.clone();
                    tokio::spawn(async move { crate::world::job(&c, 2000, 4000).await })
                })
                .collect::<Vec<_>>();
            let mut times = Vec::new();
            for job in jobs {
                times.push(round_trips(job.await.unwrap()));
            }
            times.sort_by(f64::total_cmp);
            println!(
                "## many {n} {k} {:.2} {:.2} {:.2}  cwnd {} {}",
                times[0],
                times[250],
                times[499],
                served.near.stats().path.cwnd,
                served.far.stats().path.cwnd
            );
        }
        if n == 0 {
            let up = served.upload();
            let down = served.download();
            println!(
                "## {} {}",
                up.goodput(Duration::from_secs(2)).await,
                down.goodput(Duration::from_secs(1)).await
            );
        }
    }
}
