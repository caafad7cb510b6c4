//! The model on a path of a few lines: one queue, one rate, acknowledgements packet by packet.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::cubic::Cubic;
use super::model::{INITIAL_WINDOW, Model};
use super::rounds::Rounds;
use crate::transport::path::Remembered;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const ROUND_TRIP: Duration = Duration::from_millis(50);
const PACKET: u16 = 1400;
/// Bytes per second: 100 Mbit/s.
const RATE: f64 = 12.5e6;
const PRODUCT: f64 = RATE * 0.05;

struct Path {
    model: Model,
    begun: Instant,
    now: Instant,
    free_at: Instant,
    /// Departure and return of each packet in flight, and whether it is lost.
    in_flight: VecDeque<(Instant, Instant, bool)>,
    sent: u64,
    /// Every so many-th packet is lost.
    loss: Option<u64>,
    /// Time that the packets of others make ours wait.
    others: Duration,
    delivered: u64,
    longest: Duration,
}

impl Path {
    fn new(remembered: Option<Remembered>) -> Self {
        let now = Instant::now();
        Self {
            model: Model::new(now, PACKET, remembered),
            begun: now,
            now,
            free_at: now,
            in_flight: VecDeque::new(),
            sent: 0,
            loss: None,
            others: Duration::ZERO,
            delivered: 0,
            longest: Duration::ZERO,
        }
    }

    fn send(&mut self) {
        let passes = Duration::from_secs_f64(f64::from(PACKET) / RATE);
        self.free_at = self.free_at.max(self.now) + passes;
        self.sent += 1;
        let is_lost = self.loss.is_some_and(|every| self.sent.is_multiple_of(every));
        let back = self.free_at + ROUND_TRIP + self.others;
        self.in_flight.push_back((self.now, back, is_lost));
        self.model.sent(self.now, PACKET.into());
    }

    /// The next packet comes back, or does not.
    fn receive(&mut self, is_limited_by_sender: bool) {
        let Some((sent, back, is_lost)) = self.in_flight.pop_front() else {
            return;
        };
        self.now = self.now.max(back);
        if is_lost {
            self.model.lost(PACKET.into(), false, self.now);
            return;
        }
        self.delivered += u64::from(PACKET);
        self.longest = self.longest.max(self.now - sent);
        self.model.acknowledged(self.now, sent, PACKET.into());
        let in_flight = self.in_flight.len() as u64 * u64::from(PACKET);
        self.model.batch_ends(self.now, in_flight, is_limited_by_sender);
    }

    /// Sends whatever the window takes for `time`. The share of the path used, and the longest round trip.
    fn bulk(&mut self, time: Duration) -> (f64, Duration) {
        let end = self.now + time;
        (self.delivered, self.longest) = (0, Duration::ZERO);
        while self.now < end {
            while (self.in_flight.len() as u64 + 1) * u64::from(PACKET) <= self.model.window() {
                self.send();
            }
            self.receive(false);
        }
        (self.delivered as f64 / RATE / time.as_secs_f64(), self.longest)
    }

    /// Sends `packets` now and waits for all, `times` times.
    fn jobs(&mut self, packets: usize, times: usize) {
        for _ in 0..times {
            (0..packets).for_each(|_| self.send());
            (0..packets).for_each(|_| self.receive(true));
            self.now += SECOND;
        }
    }

    fn window(&self) -> f64 {
        self.model.window() as f64
    }
}

fn remembered(rate: f64, round_trip: Duration, is_full: bool) -> Option<Remembered> {
    Some(Remembered {
        rate,
        round_trip,
        is_full,
    })
}

#[test]
fn a_path_is_filled_and_its_queue_kept_short() {
    for loss in [None, Some(50)] {
        let mut path = Path::new(None);
        path.loss = loss;
        path.bulk(3 * SECOND);
        let (share, longest) = path.bulk(10 * SECOND);
        let bound = if loss.is_some() { 0.88 } else { 0.95 };
        assert!(share >= bound, "{share:.3} with {loss:?}");
        assert!(
            longest <= ROUND_TRIP + 15 * MILLISECOND,
            "{longest:?} with {loss:?}"
        );
    }
}

#[test]
fn more_loss_than_a_lossy_link_has_takes_the_window_back() {
    let mut path = Path::new(None);
    path.bulk(3 * SECOND);
    path.loss = Some(3);
    path.bulk(3 * SECOND);
    assert!(path.window() < PRODUCT / 3.0, "{}", path.window());
}

#[test]
fn a_path_is_resumed_as_it_was_only_if_it_seems_to_be_the_same() {
    let three = 3.0 * PRODUCT;
    for (then, window) in [
        (remembered(3.0 * RATE, ROUND_TRIP, true), three),
        (remembered(3.0 * RATE, ROUND_TRIP * 3 / 2, true), three),
        (remembered(3.0 * RATE, ROUND_TRIP / 3, true), INITIAL_WINDOW),
        (remembered(3.0 * RATE, ROUND_TRIP * 3, true), INITIAL_WINDOW),
        // Slower than what is begun with: bulk knew it, jobs did not.
        (remembered(RATE, ROUND_TRIP, true), PRODUCT),
        (remembered(RATE, ROUND_TRIP, false), INITIAL_WINDOW),
        (None, INITIAL_WINDOW),
    ] {
        let mut path = Path::new(then);
        assert_eq!(path.window(), INITIAL_WINDOW);
        path.jobs(1, 1);
        let found = path.window();
        assert!((window * 0.95..window * 1.3).contains(&found), "{found} {then:?}");
    }
}

#[test]
fn an_outage_begins_anew_and_is_not_for_ever() {
    let mut path = Path::new(None);
    path.bulk(3 * SECOND);
    path.model.lost(PACKET.into(), true, path.now);
    assert_eq!(path.model.window(), 16 * u64::from(PACKET));
    path.in_flight.clear();
    path.bulk(SECOND);
    assert!(path.window() > PRODUCT * 0.8, "{}", path.window());
}

#[test]
fn jobs_prove_a_window_unless_they_queue() {
    let mut path = Path::new(None);
    path.jobs(20, 40);
    let proven = path.window();
    assert!(proven > INITIAL_WINDOW * 1.5, "{proven}");
    // So many at once wait for 20 ms.
    path.jobs(180, 40);
    assert!(path.window() < proven / 2.0, "{}", path.window());
}

#[test]
fn where_others_queue_the_window_grows_until_it_loses_and_goes_back_once_they_left() {
    let mut path = Path::new(None);
    path.bulk(3 * SECOND);
    path.others = 30 * MILLISECOND;
    path.bulk(4 * SECOND);
    let claimed = path.window();
    assert!(claimed > 1.5 * PRODUCT, "{claimed}");
    path.model.lost(PACKET.into(), false, path.now);
    path.bulk(SECOND);
    assert!(path.window() < claimed, "{}", path.window());
    path.others = Duration::ZERO;
    path.bulk(14 * SECOND);
    let (share, longest) = path.bulk(5 * SECOND);
    assert!(share >= 0.95, "{share:.3}");
    assert!(longest <= ROUND_TRIP + 15 * MILLISECOND, "{longest:?}");
}

#[test]
fn what_the_path_carried_is_told() {
    let mut path = Path::new(None);
    let mut told = None;
    while path.now < path.begun + 3 * SECOND {
        while (path.in_flight.len() as u64 + 1) * u64::from(PACKET) <= path.model.window() {
            path.send();
        }
        let Some((sent, back, _)) = path.in_flight.pop_front() else {
            break;
        };
        path.now = path.now.max(back);
        path.model.acknowledged(path.now, sent, PACKET.into());
        let in_flight = path.in_flight.len() as u64 * u64::from(PACKET);
        told = path.model.batch_ends(path.now, in_flight, false).or(told);
    }
    let told = told.unwrap();
    assert!((RATE * 0.95..RATE * 1.05).contains(&told.rate), "{told:?}");
    assert!(
        told.is_full && told.round_trip < ROUND_TRIP + MILLISECOND,
        "{told:?}"
    );
}

#[test]
fn cubic_returns_to_what_it_had_and_goes_beyond() {
    let now = Instant::now();
    let mut cubic = Cubic::new(700e3, now);
    let at = |cubic: &Cubic, seconds: u32| cubic.window(now + seconds * SECOND, ROUND_TRIP, 1000.0);
    assert!((699e3..701e3).contains(&at(&cubic, 0)));
    // RFC 9438 §4.2: K is the cube root of 300 packets by 0.4.
    assert!((995e3..1005e3).contains(&at(&cubic, 9)));
    assert!(at(&cubic, 14) > 1040e3);
    cubic.lost(1000e3, now + 9 * SECOND, ROUND_TRIP);
    assert!((699e3..701e3).contains(&at(&cubic, 9)));
    cubic.lost(700e3, now + 9 * SECOND + MILLISECOND, ROUND_TRIP);
    assert!(
        (699e3..701e3).contains(&at(&cubic, 9)),
        "losses of one round trip count once"
    );
}

#[test]
fn a_round_lasts_until_a_packet_of_its_own_returns_and_silence_is_none_of_it() {
    let begun = Instant::now();
    let at = |milliseconds: u32| begun + milliseconds * MILLISECOND;
    let mut rounds = Rounds::new(begun);
    let end = |rounds: &mut Rounds, sent: u32, now: u32, in_flight: u64| {
        rounds.acknowledged(at(now), at(sent), 1000);
        rounds
            .batch_ends(at(now), in_flight, 2000.0, false)
            .unwrap()
            .ended
    };
    rounds.sent(at(500), 2000);
    let first = end(&mut rounds, 500, 550, 1000).unwrap();
    assert_eq!((first.duration, first.delivered), (50 * MILLISECOND, 1000));
    assert!(!first.is_full, "it ends with its first packet and tells no rate");
    rounds.sent(at(560), 1000);
    assert_eq!(
        end(&mut rounds, 500, 580, 1000),
        None,
        "it left before the round began"
    );
    let second = end(&mut rounds, 560, 610, 1000).unwrap();
    assert_eq!((second.duration, second.delivered), (60 * MILLISECOND, 2000));
    assert!(second.is_full);
    assert_eq!(second.least, 50 * MILLISECOND);
}
