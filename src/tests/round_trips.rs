//! What a unit costs beside its compile, through the agent's own request path: leases, table, uploads, answer.

use std::sync::Arc;
use std::time::Duration;

use super::world::{ROUND_TRIP, World};

const GIGABIT: f64 = 1000.0;
/// Long enough for windows to be forgotten, too short for leases and connections to be given up.
const PAUSE: Duration = Duration::from_secs(20);
/// Longer than an agent holds leases and connections that it does not need.
const REST: Duration = Duration::from_secs(11 * 60);
/// Bytes of a file like a preprocessed source of a page or two.
const SOURCE: usize = 64 << 10;

#[tokio::test(start_paused = true)]
async fn a_unit_whose_files_the_builder_has_takes_its_compile_and_a_round_trip() {
    let world = World::new(GIGABIT).await;
    world.write("unit.c", "first", SOURCE);
    let unit = world.unit("unit.o", &["unit.c"]);
    world.run(&unit).await;
    for _ in 0..5 {
        let before = world.net.up().bytes;
        let took = world.run(&unit).await;
        let bytes = world.net.up().bytes - before;
        assert!((1.0..=1.15).contains(&took), "{took:.2} round trips");
        assert!(bytes < 8000, "{bytes} bytes");
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn new_files_travel_with_the_request() {
    let world = World::new(GIGABIT).await;
    for contents in ["first", "edited", "edited again"] {
        for name in ["a.c", "b.c", "c.c"] {
            world.write(name, &format!("{name} {contents}"), SOURCE);
            let unit = world.unit("unit.o", &[name]);
            let before = world.net.up().bytes;
            let took = world.run(&unit).await;
            let bytes = (world.net.up().bytes - before) as f64 / SOURCE as f64;
            assert!(
                (1.0..=1.15).contains(&took),
                "{name} {contents}: {took:.2} round trips"
            );
            assert!(
                (1.0..1.08).contains(&bytes),
                "{name} {contents} costs {bytes:.3} times"
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Round trips of units that begin at once, each with a file of `own` bytes and all with one of `common`, and how often
/// these bytes were handed to the link: on a slow one, what overflows its queue leaves twice.
async fn at_once(world: &Arc<World>, count: usize, own: usize, common: usize) -> (Vec<f64>, f64) {
    let header = format!("{common}.h");
    world.write(&header, &header, common);
    let units = (0..count).map(|number| {
        let name = format!("{common}-{number}.c");
        world.write(&name, &name, own);
        world.unit(&format!("{name}.o"), &[&name, &header])
    });
    let units = units.collect();
    let before = world.traffic.totals().0;
    let took = world.run_all(units).await;
    let bytes = (world.traffic.totals().0 - before) as f64;
    (took, bytes / (count * own + common) as f64)
}

#[tokio::test(start_paused = true)]
async fn what_several_units_need_at_once_is_sent_once() {
    let world = World::new(GIGABIT).await;
    // So much is sent unasked; more is asked for, which costs its round trip.
    for (common, least, most) in [(200 << 10, 1.0, 1.9), (300 << 10, 2.0, 2.9)] {
        let (took, times) = at_once(&world, 8, 2000, common).await;
        let is_within = took.iter().all(|trips| (least..=most).contains(trips));
        assert!(is_within, "{common} bytes: {took:.2?} round trips");
        assert!(
            (1.0..1.2).contains(&times),
            "{common} bytes were sent {times:.2} times"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_link_carries_what_is_on_its_way_once() {
    let world = World::new(5.0).await;
    let (_, times) = at_once(&world, 8, 100 << 10, 60 << 10).await;
    assert!((1.0..1.05).contains(&times), "sent {times:.2} times");
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_the_builder_lost_costs_one_more_round_trip() {
    let world = World::new(GIGABIT).await;
    for round in 0..3 {
        let (lost, other) = (format!("lost {round}"), format!("other {round}"));
        for contents in [&lost, &other] {
            world.write("a.h", contents, SOURCE);
            world.run(&world.unit("unit.o", &["a.h"])).await;
        }
        world.builder.lose_blobs();
        world.write("a.h", &lost, SOURCE);
        let unit = world.unit("unit.o", &["a.h"]);
        let took = world.run(&unit).await;
        assert!((1.9..=2.3).contains(&took), "{round}: {took:.2} round trips");
        let took = world.run(&unit).await;
        assert!(took <= 1.15, "{round}: {took:.2} round trips with it there again");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_unit_after_a_reconnect_takes_little_more_than_a_round_trip() {
    let world = World::new(GIGABIT).await;
    world.write("unit.c", "first", SOURCE);
    let unit = world.unit("unit.o", &["unit.c"]);
    world.run(&unit).await;
    let told = world.farm.table_records();
    for rests in [true, true, false, false] {
        if rests {
            tokio::time::sleep(REST).await;
        } else {
            tokio::time::sleep(PAUSE).await;
            world.builder.disconnect();
            tokio::time::sleep(ROUND_TRIP).await;
        }
        assert_eq!(world.farm.leases(), []);
        let before = world.net.up().bytes;
        // The lease comes from the scheduler first.
        let took = world.run(&unit).await - if rests { 1.0 } else { 0.5 };
        let bytes = world.net.up().bytes - before;
        assert!(
            (1.0..=1.3).contains(&took),
            "rests {rests}: {took:.2} round trips"
        );
        assert!(bytes < 16_000, "rests {rests}: {bytes} bytes");
        assert_eq!(world.farm.table_records(), told, "rests {rests}");
    }
}
