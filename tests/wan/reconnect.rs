//! What it costs to come back: to a builder that is still the same, and to one that was restarted.

use std::time::Duration;

use quicc::transport::liveness::Watched;
use quicc::transport::refusal::Refusals;
use quicc::transport::{Pace, TransportError};
use tokio::time::{Instant, timeout};

use crate::net::{Link, Net};
use crate::world::{World, job};

const ROUND_TRIP: Duration = Duration::from_millis(100);

fn far() -> World {
    World::new(Net::new(Link::new(1000.0, ROUND_TRIP), 1))
}

/// Round trips from the decision to connect to the end of a first job.
async fn first_job(world: &World) -> (f64, bool) {
    let since = Instant::now();
    let begun = world.open().await;
    let is_early = begun.opened.is_early();
    let connection = begun.opened.connection.clone();
    let meeting = begun.meet();
    let job = async {
        job(&connection, 64 << 10, 64 << 10).await;
        since.elapsed().as_secs_f64() / ROUND_TRIP.as_secs_f64()
    };
    let (met, took) = tokio::join!(meeting, job);
    let _far = met.unwrap();
    // The next session's tickets come with the end of this one's handshake.
    tokio::time::sleep(2 * ROUND_TRIP).await;
    connection.close(0_u32.into(), b"");
    (took, is_early)
}

#[tokio::test(start_paused = true)]
async fn the_first_job_after_a_reconnect_takes_little_more_than_a_round_trip() {
    let world = far();
    let (took, is_early) = first_job(&world).await;
    // Handshake, then the job: its hello is not waited for.
    assert!(!is_early && (2.0..=2.3).contains(&took), "{took}");
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(600)).await;
        let (took, is_early) = first_job(&world).await;
        assert!(is_early && (1.0..=1.3).contains(&took), "{took}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_early_leaves_at_the_pace_of_a_path_that_is_known_and_is_not_lost_on_arrival() {
    for (milliseconds, size, bound) in [(25, 64 << 10, 1.2), (25, 200 << 10, 1.4), (50, 200 << 10, 1.35)] {
        let round_trip = Duration::from_millis(milliseconds);
        let world = World::new(Net::new(Link::new(1000.0, round_trip), 1));
        for is_known in [false, true] {
            let since = Instant::now();
            let begun = world.open().await;
            let connection = begun.opened.connection.clone();
            let job = async {
                job(&connection, size, size).await;
                since.elapsed().as_secs_f64() / round_trip.as_secs_f64()
            };
            let (met, took) = tokio::join!(begun.meet(), job);
            let _far = met.unwrap();
            tokio::time::sleep(2 * round_trip).await;
            connection.close(0_u32.into(), b"");
            assert!(
                !is_known || took <= bound,
                "{size} bytes, {round_trip:?}: {took:.2}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_watched_before_its_peer_has_answered_lasts() {
    let world = far();
    first_job(&world).await;
    let begun = world.open().await;
    assert!(begun.opened.is_early());
    let connection = begun.opened.connection.clone();
    let _watched = Watched::new(connection.clone(), Pace::Prompt, Refusals::default());
    let met = begun.meet().await;
    let (_near, _far) = met.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(connection.close_reason(), None);
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_early_to_a_restarted_builder_is_void_and_the_next_time_it_is_met_first() {
    let mut world = far();
    first_job(&world).await;
    world.restart_builder();
    let begun = world.open().await;
    assert!(begun.opened.is_early());
    let error = begun.meet().await.err().unwrap();
    assert!(matches!(error, TransportError::TooEarly { .. }), "{error}");
    let (took, is_early) = first_job(&world).await;
    assert!(!is_early && (2.0..=2.3).contains(&took), "{took}");
}

/// A unit's stream may be opened between the refusal and the notice of it.
#[tokio::test(start_paused = true)]
async fn a_builder_that_takes_a_later_stream_for_the_first_was_met_too_early_all_the_same() {
    let mut world = far();
    first_job(&world).await;
    world.restart_builder();
    let begun = world.open().await;
    assert!(begun.opened.is_early());
    let connection = begun.opened.connection.clone();
    // What came early is refused by then.
    tokio::time::sleep(ROUND_TRIP.mul_f64(1.5)).await;
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(&[7; 100]).await.unwrap();
    let closed = timeout(Duration::from_secs(30), connection.closed()).await;
    let is_by_peer = matches!(closed, Ok(quinn::ConnectionError::ApplicationClosed(_)));
    assert!(is_by_peer, "{closed:?}");
    let error = begun.meet().await.err().unwrap();
    assert!(matches!(error, TransportError::TooEarly { .. }), "{error}");
    let (took, is_early) = first_job(&world).await;
    assert!(!is_early && (2.0..=2.3).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_builder_is_noticed_with_the_first_packet_it_gets() {
    let mut world = far();
    let served = world.connect().await;
    served.job(2000, 4000).await;
    world.restart_builder();
    let since = Instant::now();
    let _stream = served
        .near
        .open_bi()
        .await
        .unwrap()
        .0
        .write_all(b"a request")
        .await;
    let closed = timeout(Duration::from_secs(30), served.near.closed())
        .await
        .unwrap();
    assert!(matches!(closed, quinn::ConnectionError::Reset), "{closed}");
    let took = since.elapsed().as_secs_f64() / ROUND_TRIP.as_secs_f64();
    assert!(took <= 1.3, "{took}");
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_address_changes_keeps_its_connection_and_its_job() {
    let world = far();
    let served = world.connect().await;
    served.job(64 << 10, 64 << 10).await;
    let up = served.upload();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.move_client();
    let took = timeout(Duration::from_secs(30), served.job(64 << 10, 64 << 10))
        .await
        .unwrap();
    let before = up.arrived();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(up.arrived() > before);
    assert!(served.near.close_reason().is_none() && served.far.close_reason().is_none());
    let trips = took.as_secs_f64() / ROUND_TRIP.as_secs_f64();
    assert!(trips <= 6.0, "{trips}");
}
