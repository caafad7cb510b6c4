//! The leases an agent holds: which of them the next unit uses, and which grant of each counts. Waits for nothing and
//! speaks to nobody; a lease knows the link to its builder.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use quicc_protocol::identifiers::LeaseId;
use quicc_protocol::message::lease::LeaseGrant;
use tokio::time::Instant;

use super::link::{Link, Presentation};

/// Leases whose latest grant is remembered before those that are gone are forgotten.
const GRANTS_NUMBERED: usize = 256;
/// What of a link's round trip a slot stands empty between two actions unless the next one is there already: below this
/// it is not worth a queue.
const QUEUED_FROM: Duration = Duration::from_millis(8);
/// Actions of this length keep a builder's slots busy with as many queued as a round trip lasts.
const SHORT_ACTION: Duration = Duration::from_millis(250);
/// Slots from which a lease has a queue though there are other leases: one of its actions ends soon.
const QUEUED_SLOTS: u32 = 4;

/// Slots on one builder.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) link: Arc<Link>,
    pub(super) slots: u32,
    pub(super) used: u32,
    pub(super) expires: Instant,
    /// As it was granted last.
    pub(super) grant: LeaseGrant,
    /// How it was shown there.
    presentation: Presentation,
    /// Since when the builder refuses its slots without taking up one.
    pub(super) refused: Option<Instant>,
}

/// How good it is to send one more action under a lease, the more the better: free slots come first, then builders that
/// do not refuse, then the emptiest.
type Rank = (bool, bool, u32);

impl Lease {
    fn rank(&self, alone: bool) -> Option<Rank> {
        let queue = queue(self.slots, self.link.round_trip(), alone);
        rank(self.slots, self.used, queue, self.refused.is_none())
    }

    /// Whether its builder stands, or is or may be met anew.
    pub(super) fn may_return(&self) -> bool {
        self.link.is_alive() || self.link.is_unsettled() || self.is_unmet()
    }

    /// Whether its builder cannot have met it on its link, which is void.
    pub(super) fn is_unmet(&self) -> bool {
        self.link.is_too_early() || self.link.is_restarted() && !self.presentation.has_arrived()
    }

    /// Whether more may be started under it at `now`; while the scheduler is away builders extend leases.
    fn is_in_force(&self, now: Instant, away: bool) -> bool {
        away || self.expires > now
    }
}

/// Actions sent beyond the slots, so that their files are there when a slot is free. Without other leases nothing is
/// lost by it; beside others an action that waits in a short queue might have found a slot elsewhere.
fn queue(slots: u32, round_trip: Duration, alone: bool) -> u32 {
    if round_trip < QUEUED_FROM || !(alone || slots >= QUEUED_SLOTS) {
        return 0;
    }
    let share = round_trip.as_secs_f64() / SHORT_ACTION.as_secs_f64();
    ((f64::from(slots) * share).ceil() as u32).min(slots)
}

/// `None` for a lease that is used up.
fn rank(slots: u32, used: u32, queue: u32, is_willing: bool) -> Option<Rank> {
    let free = slots.saturating_sub(used);
    if free > 0 {
        return Some((true, is_willing, free));
    }
    let room = slots.saturating_add(queue).saturating_sub(used);
    (room > 0 && is_willing && slots > 0).then_some((false, true, room))
}

/// The right to send an action.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) lease: LeaseId,
    pub(super) link: Arc<Link>,
    /// Whether it waits for a slot there.
    pub(super) is_queued: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: BTreeMap<LeaseId, Lease>,
    numbers: Numbers,
}

/// Grants received, and the latest of each lease: a later one counts, whichever is dialled first.
#[derive(Debug, Default)]
struct Numbers {
    last: u64,
    latest: HashMap<LeaseId, u64>,
}

impl Numbers {
    fn next(&mut self, lease: LeaseId, is_held: impl Fn(LeaseId) -> bool) -> u64 {
        // Of leases that are gone nothing need be known; a few that are only being dialled are numbered again.
        if self.latest.len() > GRANTS_NUMBERED {
            self.latest.retain(|lease, _| is_held(*lease));
        }
        self.last += 1;
        self.latest.insert(lease, self.last);
        self.last
    }

    fn is_latest(&self, lease: LeaseId, number: u64) -> bool {
        self.latest.get(&lease) == Some(&number)
    }
}

impl Leases {
    /// A number for a grant that arrived.
    pub(super) fn number_grant(&mut self, lease: LeaseId) -> u64 {
        let held = &self.held;
        self.numbers.next(lease, |lease| held.contains_key(&lease))
    }

    /// Whether a grant was neither followed by another of its lease nor ended.
    pub(super) fn is_latest(&self, lease: LeaseId, number: u64) -> bool {
        self.numbers.is_latest(lease, number)
    }

    /// Holds what was granted and presented on `link`; actions of the same lease go on.
    pub(super) fn hold(
        &mut self,
        (link, presentation): (Arc<Link>, Presentation),
        grant: LeaseGrant,
        expires: Instant,
    ) {
        let (id, slots) = (grant.lease, grant.slots);
        let used = self.held.get(&id).map_or(0, |lease| lease.used);
        let lease = Lease {
            link,
            slots,
            used,
            expires,
            grant,
            presentation,
            refused: None,
        };
        self.held.insert(id, lease);
    }

    /// The scheduler took a lease back. Running units keep their slots on the builder; only the right to start more
    /// ends.
    pub(super) fn end(&mut self, lease: LeaseId) {
        // Its builder may just be dialled: what comes of that is void.
        self.numbers.latest.remove(&lease);
        if let Some(lease) = self.held.get_mut(&lease) {
            lease.slots = 0;
            lease.expires = Instant::now();
        }
    }

    /// Takes a slot, or a place in a queue, of the lease that suits best. Leases whose time is over are forgotten; the
    /// scheduler knows of these.
    pub(super) fn take(&mut self, now: Instant, away: bool) -> Option<Taken> {
        self.held
            .retain(|_, lease| lease.is_in_force(now, away) || lease.used > 0);
        let alone = self.held.values().filter(|lease| lease.slots > 0).count() == 1;
        let usable = self
            .held
            .iter_mut()
            .filter(|(_, lease)| lease.link.is_alive() && lease.is_in_force(now, away));
        let ranked = usable.filter_map(|(id, lease)| Some((lease.rank(alone)?, id, lease)));
        let ((is_free, ..), id, lease) = ranked.max_by_key(|(rank, _, _)| *rank)?;
        lease.used += 1;
        Some(Taken {
            lease: *id,
            link: Arc::clone(&lease.link),
            is_queued: !is_free,
        })
    }

    /// Gives back what [`Self::take`] took.
    pub(super) fn give_back(&mut self, lease: LeaseId) {
        if let Some(lease) = self.held.get_mut(&lease) {
            lease.used = lease.used.saturating_sub(1);
        }
    }

    pub(super) fn get_mut(&mut self, lease: LeaseId) -> Option<&mut Lease> {
        self.held.get_mut(&lease)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.held.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (LeaseId, &mut Lease)> {
        self.held.iter_mut().map(|(id, lease)| (*id, lease))
    }

    /// Actions sent and not over.
    pub(super) fn used(&self) -> u32 {
        self.held.values().map(|lease| lease.used).sum()
    }

    /// Forgets those that are `gone`; says which they were.
    pub(super) fn forget(&mut self, gone: impl Fn(&Lease) -> bool) -> Vec<LeaseId> {
        let gone: Vec<_> = self
            .held
            .iter()
            .filter_map(|(id, lease)| gone(lease).then_some(*id))
            .collect();
        gone.iter().for_each(|id| {
            self.held.remove(id);
        });
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn a_lease_that_ended_while_its_builder_was_dialled_is_void() {
        let mut leases = Leases::default();
        let (ended, other): (LeaseId, LeaseId) = (1, 2);
        let first = leases.number_grant(ended);
        let kept = leases.number_grant(other);
        assert!(leases.is_latest(ended, first));
        leases.end(ended);
        assert!(!leases.is_latest(ended, first) && leases.is_latest(other, kept));
        let again = leases.number_grant(ended);
        assert!(leases.is_latest(ended, again) && !leases.is_latest(ended, first));
    }

    #[test]
    fn numbers_of_leases_that_are_gone_are_forgotten() {
        let mut numbers = Numbers::default();
        for lease in 0..=GRANTS_NUMBERED as LeaseId {
            numbers.next(lease, |lease| lease == 1);
        }
        let number = numbers.next(5000, |lease| lease == 1);
        assert_eq!(numbers.latest.len(), 2);
        assert!(numbers.is_latest(5000, number));
    }

    #[test]
    fn a_queue_is_as_long_as_short_actions_end_in_a_round_trip() {
        let check = |slots, round_trip: u32, alone, expected| {
            assert_eq!(
                queue(slots, round_trip * MILLISECOND, alone),
                expected,
                "{slots} {round_trip}"
            );
        };
        check(64, 1, true, 0);
        check(1, 50, true, 1);
        check(1, 50, false, 0);
        check(3, 50, false, 0);
        check(4, 50, false, 1);
        check(64, 50, false, 13);
        check(64, 100, true, 26);
        check(8, 2000, true, 8);
        check(0, 50, true, 0);
        check(u32::MAX, 10_000, true, u32::MAX);
    }

    #[test]
    fn free_slots_come_before_queues_and_the_willing_before_those_who_refuse() {
        let best = |ranks: &[(u32, u32, u32, bool)]| {
            let ranked = ranks
                .iter()
                .map(|&(slots, used, queue, willing)| rank(slots, used, queue, willing));
            (0..)
                .zip(ranked)
                .filter(|(_, rank)| rank.is_some())
                .max_by_key(|(_, rank)| *rank)
                .map(|(index, _)| index)
        };
        assert_eq!(best(&[(4, 4, 4, true), (1, 0, 0, true)]), Some(1));
        assert_eq!(best(&[(4, 4, 2, true), (8, 8, 3, true)]), Some(1));
        assert_eq!(best(&[(4, 0, 0, false), (1, 0, 0, true)]), Some(1));
        assert_eq!(best(&[(4, 4, 4, false), (0, 0, 4, true), (2, 4, 2, true)]), None);
    }
}
