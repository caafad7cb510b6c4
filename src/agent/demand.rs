//! How many slots to ask the scheduler for, and when. Pure: knows neither leases nor connections.
//!
//! Rising need is told at once, falling need only when it lasts: a pause between two targets costs no lease. Some slots
//! are held ahead of need, so that no unit waits for a round trip to the scheduler or for a handshake with a builder.

use std::time::Duration;

/// Slots one agent asks for at most.
const LIMIT: u32 = 4096;
/// Slots held ahead of need by an agent that has just started or rested for a moment: the first units of a build.
const AHEAD_FEW: u32 = 4;
/// Slots held ahead of need at most; up to here it is as many as are needed, so that a build's growth finds them.
const AHEAD_MANY: u32 = 64;
/// Need that fell is told after this long.
pub const LINGERS: Duration = Duration::from_secs(10);
/// An agent that needed nothing for so long gives back what it held ahead and closes its connections to builders: the
/// pauses between two edits are shorter.
pub const RESTS: Duration = Duration::from_secs(10 * 60);

/// What the scheduler was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing yet.
    Nothing,
    /// This many slots are needed, and some ahead.
    Needs(u32),
    /// None, nor any ahead.
    Rests,
}

/// What to tell, and when unless the need changes before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Telling {
    /// How long from now.
    pub after: Duration,
    /// What will then be told.
    pub told: Told,
}

/// What is to be told next after `told` while `needed` slots are needed; `None` when it is told already.
pub fn next(told: Told, needed: u32) -> Option<Telling> {
    let needed = needed.min(LIMIT);
    let (after, next) = match told {
        Told::Rests if needed == 0 => return None,
        Told::Needs(0) if needed == 0 => (RESTS, Told::Rests),
        Told::Needs(before) if needed == before => return None,
        Told::Needs(before) if needed < before => (LINGERS, Told::Needs(needed)),
        _ => (Duration::ZERO, Told::Needs(needed)),
    };
    Some(Telling { after, told: next })
}

/// Slots needed, and slots wanted ahead of need, to tell `told`.
pub fn slots(told: Told) -> (u32, u32) {
    match told {
        Told::Needs(needed) => (needed, needed.clamp(AHEAD_FEW, AHEAD_MANY)),
        Told::Nothing | Told::Rests => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn need_that_rises_is_told_at_once_and_need_that_falls_when_it_lasts() {
        let at = |told, needed| next(told, needed).map(|telling| (telling.after, telling.told));
        assert_eq!(at(Told::Nothing, 0), Some((Duration::ZERO, Told::Needs(0))));
        assert_eq!(at(Told::Needs(0), 3), Some((Duration::ZERO, Told::Needs(3))));
        assert_eq!(at(Told::Needs(3), 3), None);
        assert_eq!(at(Told::Needs(3), 2), Some((LINGERS, Told::Needs(2))));
        assert_eq!(at(Told::Needs(3), 0), Some((LINGERS, Told::Needs(0))));
        assert_eq!(at(Told::Needs(0), 0), Some((RESTS, Told::Rests)));
        assert_eq!(at(Told::Rests, 0), None);
        assert_eq!(at(Told::Rests, 1), Some((Duration::ZERO, Told::Needs(1))));
        assert_eq!(
            at(Told::Needs(1), u32::MAX),
            Some((Duration::ZERO, Told::Needs(LIMIT)))
        );
        assert_eq!(at(Told::Needs(LIMIT), u32::MAX), None);
    }

    #[test]
    fn some_slots_are_held_ahead_unless_it_rests() {
        assert_eq!(slots(Told::Needs(0)), (0, 4));
        assert_eq!(slots(Told::Needs(1)), (1, 4));
        assert_eq!(slots(Told::Needs(20)), (20, 20));
        assert_eq!(slots(Told::Needs(1000)), (1000, 64));
        assert_eq!(slots(Told::Rests), (0, 0));
    }
}
