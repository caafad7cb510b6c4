//! Max-min fair division of slots, and whose turn it is to have a slot that does not divide. Pure.
//!
//! Knows nothing of builders: where a slot lies is `placement`'s question.

use std::time::Duration;

use super::moment::Moment;

/// How long one claimant keeps an indivisible slot while another waits for it. Long beside one compile, so that
/// a mirror that had to be warmed pays; short beside a build, so that nobody sits one out.
pub const TURN: Duration = Duration::from_secs(30);

/// When a claimant had the slot that the fair level could not give to everybody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turn {
    since: Option<Moment>,
    last: Option<Moment>,
}

impl Turn {
    /// When the turn passes on to somebody who waits; `None` without a turn.
    pub fn ends(self) -> Option<Moment> {
        self.since.map(|since| since + TURN)
    }

    /// The turn after a division at `now` that gave, or did not give, an odd slot.
    #[must_use]
    pub fn after(self, now: Moment, has_odd_slot: bool) -> Self {
        match (has_odd_slot, self.ends()) {
            (true, Some(end)) if now < end => self,
            (true, _) => Self {
                since: Some(now),
                last: self.last,
            },
            (false, Some(_)) => Self {
                since: None,
                last: Some(now),
            },
            (false, None) => self,
        }
    }

    /// Order of claimants for an odd slot: whoever has it and whose turn lasts, then whoever went longest
    /// without, then those whose turn is over.
    fn rank(self, now: Moment) -> (u8, Option<Moment>) {
        match self.ends() {
            Some(end) if now < end => (0, self.since),
            None => (1, self.last),
            Some(_) => (2, self.since),
        }
    }
}

/// One claimant of a division.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Slots wanted.
    pub demand: u32,
    /// The claimant's history with odd slots.
    pub turn: Turn,
}

/// What a claimant gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Slots; never more than demanded.
    pub slots: u32,
    /// Whether one of them is above the fair level that others who wait have to be content with.
    pub has_odd_slot: bool,
}

/// Divides `capacity` slots: nobody gets more than demanded, and nobody gets less than another unless satisfied,
/// but for one slot where the number does not divide. Shares stand in the order of the claims.
pub fn divide(now: Moment, capacity: u64, claims: &[Claim]) -> Vec<Share> {
    let level = fair_level(capacity, claims);
    let mut shares: Vec<_> = claims
        .iter()
        .map(|claim| Share {
            slots: claim.demand.min(level),
            has_odd_slot: false,
        })
        .collect();
    let given: u64 = shares.iter().map(|share| u64::from(share.slots)).sum();
    let rest = usize::try_from(capacity.saturating_sub(given)).unwrap_or(usize::MAX);
    let mut waiting: Vec<_> = (0..claims.len())
        .filter(|&index| claims[index].demand > level)
        .collect();
    waiting.sort_by_key(|&index| claims[index].turn.rank(now));
    for &index in waiting.iter().take(rest) {
        shares[index] = Share {
            slots: level + 1,
            has_odd_slot: true,
        };
    }
    shares
}

/// The highest level up to which every claim can be filled.
fn fair_level(capacity: u64, claims: &[Claim]) -> u32 {
    let mut demands: Vec<_> = claims.iter().map(|claim| claim.demand).collect();
    demands.sort_unstable();
    let mut remaining = capacity;
    let mut claimants = demands.len() as u64;
    for demand in demands {
        let equal = remaining / claimants;
        if u64::from(demand) > equal {
            return u32::try_from(equal).unwrap_or(u32::MAX);
        }
        remaining -= u64::from(demand);
        claimants -= 1;
    }
    u32::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claims(demands: &[u32]) -> Vec<Claim> {
        demands
            .iter()
            .map(|&demand| Claim {
                demand,
                turn: Turn::default(),
            })
            .collect()
    }

    fn check(capacity: u64, demands: &[u32], expected: &[u32]) {
        let shares = divide(Moment(0), capacity, &claims(demands));
        let slots: Vec<_> = shares.iter().map(|share| share.slots).collect();
        assert_eq!(slots, expected, "{capacity} slots among {demands:?}");
    }

    #[test]
    fn small_claims_are_filled_and_large_ones_share_the_rest() {
        check(10, &[], &[]);
        check(10, &[3], &[3]);
        check(10, &[30], &[10]);
        check(10, &[30, 30], &[5, 5]);
        check(10, &[2, 30, 30], &[2, 4, 4]);
        check(10, &[2, 0, 30, 5], &[2, 0, 4, 4]);
        check(11, &[30, 30], &[6, 5]);
        check(2, &[1, 1, 1], &[1, 1, 0]);
        check(0, &[1, 1], &[0, 0]);
        check(u64::MAX, &[u32::MAX, 1], &[u32::MAX, 1]);
    }

    #[test]
    fn the_odd_slot_goes_round() {
        let mut turns = [Turn::default(); 3];
        let mut holders = Vec::new();
        for turn in 0..6 {
            let now = Moment(turn * TURN.as_millis() as u64);
            let claims = turns.map(|turn| Claim { demand: 9, turn });
            let shares = divide(now, 4, &claims);
            holders.push(shares.iter().position(|share| share.slots == 2).unwrap());
            for (turn, share) in turns.iter_mut().zip(shares) {
                *turn = turn.after(now, share.has_odd_slot);
            }
        }
        assert_eq!(holders, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn the_odd_slot_stays_while_the_turn_lasts() {
        let held = Turn::default().after(Moment(0), true);
        let claims = [Turn::default(), held].map(|turn| Claim { demand: 9, turn });
        let before_end = Moment(TURN.as_millis() as u64 - 1);
        assert_eq!(divide(before_end, 3, &claims)[1].slots, 2);
        assert_eq!(divide(held.ends().unwrap(), 3, &claims)[1].slots, 1);
        assert_eq!(held.after(before_end, false).ends(), None);
    }

    proptest! {
        #[test]
        fn division_is_max_min(capacity in 0_u64..100, demands in proptest::collection::vec(0_u32..40, 0..8)) {
            let shares = divide(Moment(0), capacity, &claims(&demands));
            let total: u64 = shares.iter().map(|share| u64::from(share.slots)).sum();
            let wanted: u64 = demands.iter().map(|&demand| u64::from(demand)).sum();
            prop_assert_eq!(total, capacity.min(wanted));
            for (share, &demand) in shares.iter().zip(&demands) {
                prop_assert!(share.slots <= demand);
                if share.slots < demand {
                    prop_assert!(shares.iter().all(|other| other.slots <= share.slots + 1));
                }
            }
        }
    }
}
