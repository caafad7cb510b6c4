//! PURE: how hard to compress for a path: as hard as saves more of its time than it takes of the processor's.
//!
//! What is sent waits for both one after the other where it is little, and the machine has compiles to run where it is
//! much: a second of either counts alike.

use std::time::Duration;

/// What a level of zstd does to source text.
#[derive(Debug, Clone, Copy)]
struct Level {
    /// zstd's number.
    number: i32,
    /// Seconds of processor time a byte takes on the machine this was measured on. Others differ by a factor, which is
    /// learned; the levels among each other do not differ much.
    cost: f64,
    /// Bytes it leaves of a byte.
    leaves: f64,
}

/// Measured with headers of C++ and of the kernel and with the sources of zstd, in batches as they are sent; see
/// `benches/blobs.rs`. Faster levels leave more and take hardly less.
const LEVELS: [Level; 4] = [
    level(1, 2.1e-9, 0.220),
    level(3, 3.1e-9, 0.198),
    level(6, 8.2e-9, 0.175),
    level(9, 14e-9, 0.169),
];

const fn level(number: i32, cost: f64, leaves: f64) -> Level {
    Level { number, cost, leaves }
}

/// For what leaves at once whatever becomes of it, and where nothing is known.
const ORDINARY: Level = LEVELS[0];
/// Another level is taken when it costs this much of the present one's, at most: estimates of a path waver.
const WORTH_A_CHANGE: f64 = 0.95;
/// Bytes from which the time they took says something.
const TELLING: u64 = 64 << 10;
/// How far a machine may differ from the measured one: what is beyond is a mistake of a clock.
const SLOWNESS: std::ops::RangeInclusive<f64> = 0.25..=16.0;
/// Weight of the latest measurement against all earlier ones.
const LATEST: f64 = 0.25;

/// What a path is believed to carry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capacity {
    /// Bytes per second.
    pub(super) rate: f64,
    /// Bytes that may be on their way at once.
    pub(super) window: u64,
}

/// The level for one path.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    present: Option<Level>,
    /// Processor time this machine takes, as a multiple of what [`LEVELS`] says.
    slowness: f64,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            present: None,
            slowness: 1.0,
        }
    }
}

impl Choice {
    /// zstd's level for `bytes` on a path. What its window takes at once arrives no sooner for being smaller.
    pub(super) fn level(&mut self, path: Capacity, bytes: u64) -> i32 {
        let rate = path.rate;
        let fits = bytes as f64 * ORDINARY.leaves <= path.window as f64;
        if fits || rate.is_nan() || rate <= 0.0 {
            return ORDINARY.number;
        }
        let slowness = self.slowness;
        let takes = |level: &Level| level.leaves / rate + level.cost * slowness;
        let best = LEVELS.into_iter().min_by(|a, b| takes(a).total_cmp(&takes(b)));
        let kept = self.present.filter(|present| {
            best.as_ref()
                .is_none_or(|best| takes(best) > takes(present) * WORTH_A_CHANGE)
        });
        self.present = kept.or(best);
        self.present.map_or(ORDINARY.number, |level| level.number)
    }

    /// `bytes` were compressed at a level of [`Self::level`] and took `spent` of a processor.
    pub(super) fn learn(&mut self, level: i32, bytes: u64, spent: Duration) {
        let Some(level) = LEVELS.iter().find(|known| known.number == level) else {
            return;
        };
        if bytes >= TELLING {
            let measured = spent.as_secs_f64() / (bytes as f64 * level.cost);
            let measured = measured.clamp(*SLOWNESS.start(), *SLOWNESS.end());
            self.slowness += (measured - self.slowness) * LATEST;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBIT: f64 = 125e3;
    const BATCH: u64 = 4 << 20;

    fn path(mbit: f64) -> Capacity {
        Capacity {
            rate: mbit * MBIT,
            window: 0,
        }
    }

    #[test]
    fn the_slower_the_path_the_stronger_the_level() {
        for (rate, expected) in [
            (1.0, 9),
            (10.0, 6),
            (30.0, 6),
            (50.0, 3),
            (100.0, 3),
            (1000.0, 1),
            (f64::INFINITY, 1),
            (0.0, 1),
            (f64::NAN, 1),
        ] {
            assert_eq!(Choice::default().level(path(rate), BATCH), expected, "{rate}");
        }
    }

    #[test]
    fn what_fits_the_window_is_not_squeezed() {
        let path = |window| Capacity { window, ..path(10.0) };
        for (bytes, window, expected) in [
            (30_000, 64_000, 1),
            (200_000, 64_000, 1),
            (BATCH, 64_000, 6),
            (BATCH, 1_000_000, 1),
        ] {
            let level = Choice::default().level(path(window), bytes);
            assert_eq!(level, expected, "{bytes} bytes, {window}");
        }
    }

    #[test]
    fn compressing_takes_less_than_two_fifths_of_the_time_of_sending() {
        for mbit in 1..10_000 {
            for slowness in [0.5, 1.0, 3.0, 10.0] {
                let mut choice = Choice {
                    slowness,
                    ..Choice::default()
                };
                let path = path(mbit.into());
                choice.level(path, BATCH);
                let present = choice.present.unwrap();
                let share = present.cost * slowness / (present.leaves / path.rate);
                assert!(
                    share < 0.4 || present.number == ORDINARY.number,
                    "{present:?} at {mbit} Mbit/s takes {share}"
                );
            }
        }
    }

    #[test]
    fn an_estimate_that_wavers_changes_nothing_and_one_that_moves_does() {
        let mut choice = Choice::default();
        let mut levels =
            |mbit: &[f64]| -> Vec<i32> { mbit.iter().map(|mbit| choice.level(path(*mbit), BATCH)).collect() };
        assert_eq!(levels(&[100.0, 50.0, 250.0, 30.0, 100.0]), [3; 5]);
        assert_eq!(levels(&[10.0, 30.0, 50.0]), [6; 3]);
        assert_eq!(levels(&[1000.0, 170.0, 120.0]), [1; 3]);
    }

    #[test]
    fn a_slow_machine_compresses_less() {
        let mut choice = Choice::default();
        assert_eq!(choice.level(path(10.0), BATCH), 6);
        for _ in 0..20 {
            let level = choice.level(path(10.0), BATCH);
            let nominal = LEVELS.iter().find(|known| known.number == level).unwrap().cost;
            choice.learn(
                level,
                BATCH,
                Duration::from_secs_f64(nominal * BATCH as f64 * 8.0),
            );
        }
        assert_eq!(choice.level(path(10.0), BATCH), 3);
        // Neither few bytes, nor unknown levels, nor broken clocks say much.
        let learned = choice.slowness;
        choice.learn(1, 100, Duration::from_secs(10));
        choice.learn(7, BATCH, Duration::from_secs(10));
        assert!((choice.slowness - learned).abs() < 1e-9);
        (0..100).for_each(|_| choice.learn(1, BATCH, Duration::from_secs(3600)));
        assert!(choice.slowness <= *SLOWNESS.end());
        (0..100).for_each(|_| choice.learn(1, BATCH, Duration::ZERO));
        assert!(choice.slowness >= *SLOWNESS.start());
    }
}
