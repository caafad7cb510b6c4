//! Which builder an agent's next slots lie on, and which it gives up first. Pure.
//!
//! Never says how many slots an agent may have: that is [`super::share`]'s question. Builders of another ELF
//! machine never become candidates.

use std::cmp::Reverse;

use super::ledger::BuilderId;

/// A builder with less memory to spare is given actions only when no other is free: one C++ unit takes that much.
pub const MEMORY_TO_SPARE: u64 = 1 << 30;
/// A builder whose load exceeds this many thousandths of its slots is busy with work that is not ours.
pub const LOAD_PER_SLOT_PERMILLE: u64 = 1_500;

/// What a builder said of its load, as far as placement cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burden {
    /// One-minute load average per slot, in thousandths.
    pub load_per_slot_permille: u64,
    /// Memory available for new actions, bytes.
    pub memory_available: u64,
}

impl Burden {
    /// The burden of a builder with `slots`, by its offer's figures.
    pub fn new(slots: u32, load_permille: u32, memory_available: u64) -> Self {
        Self {
            load_per_slot_permille: u64::from(load_permille) / u64::from(slots.max(1)),
            memory_available,
        }
    }

    fn is_strained(self) -> bool {
        self.load_per_slot_permille > LOAD_PER_SLOT_PERMILLE || self.memory_available < MEMORY_TO_SPARE
    }
}

/// A builder as one agent sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which builder.
    pub builder: BuilderId,
    /// Slots nobody holds.
    pub free: u32,
    /// Slots the agent holds there.
    pub held: u32,
    /// Whether the agent asked for others first.
    pub avoided: bool,
    /// Position in the list of builders the client used lately, 0 the latest; `None` when not in it.
    pub recency: Option<usize>,
    /// How busy it is.
    pub burden: Burden,
}

/// The builder for an agent that wants `wanted` more slots; `None` when no candidate has one free.
///
/// An agent stays where its mirror and its toolchain are. A builder that can hold all it wants comes before one
/// that cannot, so that a client spreads only when it must.
pub fn choose(wanted: u32, candidates: impl IntoIterator<Item = Candidate>) -> Option<BuilderId> {
    candidates
        .into_iter()
        .filter(|candidate| candidate.free > 0)
        .min_by_key(|candidate| {
            (
                candidate.avoided,
                candidate.burden.is_strained(),
                candidate.held == 0,
                candidate.recency.unwrap_or(usize::MAX),
                Reverse(candidate.free.min(wanted)),
                candidate.burden.load_per_slot_permille,
                Reverse(candidate.burden.memory_available),
                candidate.builder,
            )
        })
        .map(|candidate| candidate.builder)
}

/// The builder on which an agent gives up a slot first: an avoided one, a strained one, then the one where it
/// holds least, so that it ends up on fewer builders. `None` when it holds nothing.
pub fn choose_to_leave(candidates: impl IntoIterator<Item = Candidate>) -> Option<BuilderId> {
    candidates
        .into_iter()
        .filter(|candidate| candidate.held > 0)
        .min_by_key(|candidate| {
            (
                !candidate.avoided,
                !candidate.burden.is_strained(),
                candidate.held,
                Reverse(candidate.recency.unwrap_or(usize::MAX)),
                Reverse(candidate.builder),
            )
        })
        .map(|candidate| candidate.builder)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Candidate = Candidate {
        builder: BuilderId(0),
        free: 4,
        held: 0,
        avoided: false,
        recency: None,
        burden: Burden {
            load_per_slot_permille: 100,
            memory_available: 8 << 30,
        },
    };

    /// Numbers the candidates in order and expects the one at `expected`.
    fn check(wanted: u32, mut candidates: Vec<Candidate>, expected: Option<u64>) {
        for (number, candidate) in candidates.iter_mut().enumerate() {
            candidate.builder = BuilderId(number as u64);
        }
        let chosen = choose(wanted, candidates.iter().copied());
        assert_eq!(chosen, expected.map(BuilderId), "{wanted} of {candidates:#?}");
    }

    fn with(change: impl FnOnce(&mut Candidate)) -> Candidate {
        let mut candidate = PLAIN;
        change(&mut candidate);
        candidate
    }

    #[test]
    fn nothing_free_means_nothing_chosen() {
        check(1, vec![], None);
        check(1, vec![with(|it| it.free = 0)], None);
    }

    #[test]
    fn an_agent_stays_where_it_is_or_was() {
        let roomy = with(|it| it.free = 64);
        check(8, vec![roomy, with(|it| it.held = 1)], Some(1));
        check(8, vec![roomy, with(|it| it.recency = Some(3))], Some(1));
        check(
            8,
            vec![with(|it| it.recency = Some(1)), with(|it| it.recency = Some(0))],
            Some(1),
        );
        check(
            8,
            vec![with(|it| it.recency = Some(0)), with(|it| it.held = 1)],
            Some(1),
        );
    }

    #[test]
    fn a_newcomer_goes_where_all_fits_then_where_less_runs() {
        let roomy = with(|it| it.free = 64);
        let idle = with(|it| it.burden.load_per_slot_permille = 0);
        let large = with(|it| it.burden.memory_available = 64 << 30);
        check(8, vec![idle, roomy], Some(1));
        check(4, vec![roomy, idle], Some(1));
        check(4, vec![PLAIN, large], Some(1));
        check(4, vec![PLAIN, PLAIN], Some(0));
    }

    #[test]
    fn strained_builders_come_late_and_avoided_ones_last() {
        let loaded = with(|it| it.burden.load_per_slot_permille = 3_000);
        let full = with(|it| it.burden.memory_available = 1 << 20);
        let avoided = with(|it| (it.avoided, it.held) = (true, 2));
        check(4, vec![loaded, PLAIN], Some(1));
        check(4, vec![full, PLAIN], Some(1));
        check(4, vec![avoided, full], Some(1));
        check(4, vec![avoided], Some(0));
    }

    #[test]
    fn slots_are_given_up_where_they_are_worth_least() {
        let numbered = |number, held, avoided| Candidate {
            builder: BuilderId(number),
            held,
            avoided,
            ..PLAIN
        };
        let check = |candidates: &[Candidate], expected| {
            let left = choose_to_leave(candidates.iter().copied());
            assert_eq!(left, expected, "{candidates:#?}");
        };
        check(&[numbered(1, 0, true)], None);
        check(
            &[numbered(1, 3, false), numbered(2, 1, false)],
            Some(BuilderId(2)),
        );
        check(&[numbered(1, 3, true), numbered(2, 1, false)], Some(BuilderId(1)));
        check(
            &[numbered(1, 2, false), numbered(2, 2, false)],
            Some(BuilderId(2)),
        );
    }
}
