//! PURE: which action may start. Leases are told by clients' tickets and taken back by the scheduler; time is
//! the scheduler's and handed in. Never waits, never ends an action that runs.

use std::collections::BTreeMap;

use quicc_certs::TICKET_LEEWAY_SECONDS;
use quicc_protocol::identifiers::LeaseId;
use quicc_protocol::message::refusal::RefusalCode;

/// Leases remembered at once. A lease that ran out makes room; with all of them in force, further ones are
/// not taken.
pub const LEASES: usize = 4096;

/// Ends of leases remembered at once; with more, those whose tickets run out first are forgotten.
pub const ENDS: usize = 4 * LEASES;

/// Seconds a ticket of a lease that ended may be shown after its end: schedulers give tickets of minutes, and
/// none for a lease that is over.
const TICKET_LIFETIME: u64 = 3600;

/// SPKI hash of a client's certificate.
pub type ClientKey = [u8; 32];

/// What a ticket says of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTerms {
    /// Actions it may run at once.
    pub slots: u32,
    /// Second of the scheduler's clock at which it runs out.
    pub expires: u64,
}

/// Time as far as leases are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTime {
    /// Seconds of the scheduler's clock.
    pub now: u64,
    /// Seconds by which leases outlast their end, since no scheduler is there to renew them.
    pub extension: u64,
}

/// The right to run one action; to be handed back with [`Slots::release`].
#[derive(Debug, PartialEq, Eq)]
pub struct Slot {
    key: (ClientKey, LeaseId),
}

/// The right of one action to get its files while others run; to be handed back with [`Slots::leave`].
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    key: (ClientKey, LeaseId),
}

/// The slots of a builder and the leases on them.
#[derive(Debug)]
pub struct Slots {
    total: u32,
    running: u32,
    draining: bool,
    leases: BTreeMap<(ClientKey, LeaseId), Lease>,
    /// Leases the scheduler took back, each with the second of its clock from which no ticket revives it.
    ended: BTreeMap<LeaseId, u64>,
    /// Second of the scheduler's clock at which it was last known to be there.
    scheduler_seen: u64,
}

#[derive(Debug)]
struct Lease {
    terms: LeaseTerms,
    running: u32,
    waiting: u32,
    ended: bool,
}

impl Lease {
    fn is_used(&self) -> bool {
        self.running > 0 || self.waiting > 0
    }

    /// Extended is only what the scheduler could still have renewed when it went.
    fn in_force(&self, time: LeaseTime, scheduler_seen: u64) -> bool {
        let expires = self.terms.expires;
        let extended = scheduler_seen < expires && time.now < expires.saturating_add(time.extension);
        !self.ended && (time.now < expires || extended)
    }
}

impl Slots {
    /// `total` slots and no lease.
    pub fn new(total: u32) -> Self {
        Self {
            total,
            running: 0,
            draining: false,
            leases: BTreeMap::new(),
            ended: BTreeMap::new(),
            scheduler_seen: 0,
        }
    }

    /// Takes note of the time. Every call that is handed one does so; calls while the scheduler is there tell,
    /// once it is lost, which leases were in force.
    pub fn observe(&mut self, time: LeaseTime) {
        if time.extension == 0 {
            self.scheduler_seen = time.now;
        }
    }

    /// Learns or renews a lease from a ticket that was checked. One the scheduler took back stays so. `false`
    /// when there are [`LEASES`] in force already.
    pub fn present(&mut self, client: ClientKey, lease: LeaseId, terms: LeaseTerms, time: LeaseTime) -> bool {
        self.observe(time);
        let key = (client, lease);
        if let Some(known) = self.leases.get_mut(&key) {
            // Tickets of one second may come in any order: the larger one stands until the next second's.
            if terms.expires > known.terms.expires {
                known.terms = terms;
            } else if terms.expires == known.terms.expires {
                known.terms.slots = known.terms.slots.max(terms.slots);
            }
            return true;
        }
        if self.leases.len() >= LEASES {
            let seen = self.scheduler_seen;
            self.leases
                .retain(|_, lease| lease.is_used() || lease.in_force(time, seen));
        }
        if self.leases.len() >= LEASES {
            return false;
        }
        let lease = Lease {
            terms,
            running: 0,
            waiting: 0,
            ended: self.ended.contains_key(&lease),
        };
        self.leases.insert(key, lease);
        true
    }

    /// Whether the client has shown this lease.
    pub fn knows(&self, client: ClientKey, lease: LeaseId) -> bool {
        self.leases.contains_key(&(client, lease))
    }

    /// Whether a lease of the client's is in force, or an action runs under it still.
    pub fn entitles(&self, client: ClientKey, lease: LeaseId, time: LeaseTime) -> bool {
        let lease = self.leases.get(&(client, lease));
        lease.is_some_and(|lease| lease.is_used() || lease.in_force(time, self.scheduler_seen))
    }

    /// The scheduler took a lease back at the second `now` of its clock: it starts nothing more, be its ticket
    /// shown before or after. What runs goes on.
    pub fn end(&mut self, lease: LeaseId, now: u64) {
        let mut ticket_expires = now.saturating_add(TICKET_LIFETIME);
        for ((_, id), known) in &mut self.leases {
            if *id == lease {
                known.ended = true;
                ticket_expires = ticket_expires.max(known.terms.expires);
            }
        }
        if self.ended.len() >= ENDS {
            self.ended.retain(|_, until| now < *until);
        }
        if self.ended.len() >= ENDS {
            let soonest = self.ended.iter().min_by_key(|(_, until)| **until);
            if let Some(id) = soonest.map(|(id, _)| *id) {
                self.ended.remove(&id);
            }
        }
        let until = ticket_expires.saturating_add(TICKET_LEEWAY_SECONDS);
        self.ended.insert(lease, until);
    }

    /// Starts nothing more, whatever the lease.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Takes a slot for one action, or says why not: [`RefusalCode::Draining`]; [`RefusalCode::NotAllowed`] for
    /// a lease this client never showed; [`RefusalCode::Busy`] for one that is over or used up, and when every
    /// slot is taken.
    pub fn admit(&mut self, client: ClientKey, lease: LeaseId, time: LeaseTime) -> Result<Slot, RefusalCode> {
        self.observe(time);
        if self.draining {
            return Err(RefusalCode::Draining);
        }
        let key = (client, lease);
        let lease = self.leases.get_mut(&key).ok_or(RefusalCode::NotAllowed)?;
        let covered = lease.in_force(time, self.scheduler_seen) && lease.running < lease.terms.slots;
        if !covered || self.running >= self.total {
            return Err(RefusalCode::Busy);
        }
        lease.running += 1;
        self.running += 1;
        Ok(Slot { key })
    }

    /// Takes a place in the queue of a lease, where an action waits for a slot with its files at hand: at most as many
    /// as it has slots. Says why not as [`Self::admit`] does.
    pub fn queue(
        &mut self,
        client: ClientKey,
        lease: LeaseId,
        time: LeaseTime,
    ) -> Result<Place, RefusalCode> {
        self.observe(time);
        if self.draining {
            return Err(RefusalCode::Draining);
        }
        let key = (client, lease);
        let lease = self.leases.get_mut(&key).ok_or(RefusalCode::NotAllowed)?;
        if !lease.in_force(time, self.scheduler_seen) || lease.waiting >= lease.terms.slots {
            return Err(RefusalCode::Busy);
        }
        lease.waiting += 1;
        Ok(Place { key })
    }

    /// Takes a slot for the action at `place`; `None` while none is free. Says why there will be none as
    /// [`Self::admit`] does.
    pub fn advance(&mut self, place: &Place, time: LeaseTime) -> Result<Option<Slot>, RefusalCode> {
        let (client, lease) = place.key;
        let is_full = self.leases.get(&place.key).is_some_and(|lease| {
            let is_used_up = lease.running >= lease.terms.slots || self.running >= self.total;
            is_used_up && lease.in_force(time, self.scheduler_seen)
        });
        if is_full && !self.draining {
            return Ok(None);
        }
        self.admit(client, lease, time).map(Some)
    }

    /// Gives a place back.
    pub fn leave(&mut self, place: Place) {
        if let Some(lease) = self.leases.get_mut(&place.key) {
            lease.waiting = lease.waiting.saturating_sub(1);
        }
    }

    /// Gives a slot back.
    pub fn release(&mut self, slot: Slot) {
        self.running = self.running.saturating_sub(1);
        if let Some(lease) = self.leases.get_mut(&slot.key) {
            lease.running = lease.running.saturating_sub(1);
        }
    }

    /// Actions running now.
    pub fn running(&self) -> u32 {
        self.running
    }

    /// Actions that may run at once.
    pub fn total(&self) -> u32 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALICE: ClientKey = [1; 32];
    const BOB: ClientKey = [2; 32];

    fn at(now: u64) -> LeaseTime {
        LeaseTime { now, extension: 0 }
    }

    fn slots(total: u32, leases: &[(ClientKey, LeaseId, u32, u64)]) -> Slots {
        let mut slots = Slots::new(total);
        for &(client, lease, count, expires) in leases {
            let terms = LeaseTerms {
                slots: count,
                expires,
            };
            assert!(slots.present(client, lease, terms, at(0)));
        }
        slots
    }

    #[test]
    fn only_the_holder_of_a_lease_in_force_is_admitted() {
        let check = |client, lease, time, expected: Result<(), RefusalCode>| {
            let mut slots = slots(9, &[(ALICE, 1, 2, 100)]);
            assert_eq!(
                slots.admit(client, lease, time).map(drop),
                expected,
                "{lease} {time:?}"
            );
        };
        check(ALICE, 1, at(99), Ok(()));
        check(ALICE, 1, at(100), Err(RefusalCode::Busy));
        check(
            ALICE,
            1,
            LeaseTime {
                now: 100,
                extension: 1,
            },
            Ok(()),
        );
        check(
            ALICE,
            1,
            LeaseTime {
                now: 101,
                extension: 1,
            },
            Err(RefusalCode::Busy),
        );
        check(ALICE, 2, at(0), Err(RefusalCode::NotAllowed));
        check(BOB, 1, at(0), Err(RefusalCode::NotAllowed));
    }

    #[test]
    fn a_lease_entitles_while_it_is_in_force_or_an_action_of_it_runs() {
        let mut slots = slots(1, &[(ALICE, 1, 1, 100)]);
        assert!(slots.entitles(ALICE, 1, at(99)) && !slots.entitles(ALICE, 1, at(100)));
        assert!(!slots.entitles(BOB, 1, at(0)) && !slots.entitles(ALICE, 2, at(0)));
        let running = slots.admit(ALICE, 1, at(0)).unwrap();
        slots.end(1, 0);
        assert!(
            slots.entitles(ALICE, 1, at(100)),
            "its action waits for blobs, say"
        );
        slots.release(running);
        assert!(!slots.entitles(ALICE, 1, at(0)));
    }

    #[test]
    fn neither_a_lease_nor_the_builder_is_overdrawn() {
        let mut slots = slots(3, &[(ALICE, 1, 2, 100), (BOB, 1, 2, 100)]);
        let first = slots.admit(ALICE, 1, at(0)).unwrap();
        let _second = slots.admit(ALICE, 1, at(0)).unwrap();
        assert_eq!(slots.admit(ALICE, 1, at(0)), Err(RefusalCode::Busy));
        let _third = slots.admit(BOB, 1, at(0)).unwrap();
        assert_eq!(slots.admit(BOB, 1, at(0)), Err(RefusalCode::Busy));
        slots.release(first);
        slots.admit(BOB, 1, at(0)).unwrap();
        assert_eq!(slots.running(), 3);
    }

    #[test]
    fn as_many_actions_wait_as_a_lease_has_slots_and_advance_when_one_is_free() {
        let mut slots = slots(2, &[(ALICE, 1, 1, 100), (BOB, 2, 2, 100)]);
        let running = slots.admit(ALICE, 1, at(0)).unwrap();
        let place = slots.queue(ALICE, 1, at(0)).unwrap();
        assert_eq!(slots.queue(ALICE, 1, at(0)), Err(RefusalCode::Busy));
        assert_eq!(slots.queue(BOB, 1, at(0)), Err(RefusalCode::NotAllowed));
        assert_eq!(slots.advance(&place, at(0)), Ok(None), "its lease is used up");
        let other = slots.admit(BOB, 2, at(0)).unwrap();
        let elsewhere = slots.queue(BOB, 2, at(0)).unwrap();
        assert_eq!(slots.advance(&elsewhere, at(0)), Ok(None), "the builder is full");
        slots.release(running);
        let running = slots.advance(&place, at(0)).unwrap().unwrap();
        slots.leave(place);
        slots.release(other);
        let place = slots.queue(ALICE, 1, at(0)).unwrap();
        assert_eq!(
            slots.advance(&place, at(100)),
            Err(RefusalCode::Busy),
            "it ran out"
        );
        slots.end(2, 0);
        assert_eq!(slots.advance(&elsewhere, at(0)), Err(RefusalCode::Busy));
        slots.release(running);
        assert!(slots.entitles(ALICE, 1, at(100)), "one waits still");
        slots.drain();
        assert_eq!(slots.advance(&place, at(0)), Err(RefusalCode::Draining));
        assert_eq!(slots.queue(ALICE, 1, at(0)), Err(RefusalCode::Draining));
        slots.leave(place);
        assert!(!slots.entitles(ALICE, 1, at(100)));
    }

    #[test]
    fn a_lease_taken_back_starts_nothing_and_kills_nothing() {
        let mut slots = slots(3, &[(ALICE, 1, 2, 100)]);
        let running = slots.admit(ALICE, 1, at(0)).unwrap();
        slots.end(1, 0);
        assert_eq!(
            (slots.admit(ALICE, 1, at(0)), slots.running()),
            (Err(RefusalCode::Busy), 1)
        );
        let terms = LeaseTerms {
            slots: 9,
            expires: 900,
        };
        assert!(slots.present(ALICE, 1, terms, at(0)));
        assert_eq!(
            slots.admit(ALICE, 1, at(0)),
            Err(RefusalCode::Busy),
            "its ticket revives it not"
        );
        slots.release(running);
        assert_eq!(slots.running(), 0);
    }

    #[test]
    fn a_lease_that_ended_is_revived_by_no_ticket() {
        let terms = LeaseTerms {
            slots: 1,
            expires: 100,
        };
        let mut unseen = Slots::new(1);
        unseen.end(1, 10);
        assert!(unseen.present(ALICE, 1, terms, at(20)));
        assert_eq!(
            unseen.admit(ALICE, 1, at(20)),
            Err(RefusalCode::Busy),
            "shown late"
        );
        let mut pruned = slots(1, &[(ALICE, 1, 1, 100)]);
        pruned.end(1, 10);
        for lease in 2..=LEASES as LeaseId + 1 {
            assert!(pruned.present(BOB, lease, terms, at(20)));
        }
        assert!(!pruned.knows(ALICE, 1));
        assert!(pruned.present(ALICE, 1, terms, at(100)), "its leeway");
        let away = LeaseTime {
            now: 100,
            extension: 3600,
        };
        assert_eq!(pruned.admit(ALICE, 1, away), Err(RefusalCode::Busy));
    }

    #[test]
    fn ends_are_forgotten_when_no_ticket_can_be_left_and_bounded() {
        let mut slots = Slots::new(1);
        for lease in 0..=ENDS as LeaseId {
            slots.end(lease, lease.min(1));
        }
        assert_eq!(slots.ended.len(), ENDS);
        assert!(!slots.ended.contains_key(&0) && slots.ended.contains_key(&1));
        slots.end(0, u64::MAX);
        assert_eq!(slots.ended.len(), 1);
    }

    #[test]
    fn only_leases_in_force_when_the_scheduler_was_lost_are_extended() {
        let check = |seen: u64, expected: Result<(), RefusalCode>| {
            let mut slots = slots(1, &[(ALICE, 1, 1, 100)]);
            slots.observe(at(seen));
            let away = LeaseTime {
                now: 150,
                extension: 3600,
            };
            slots.observe(away);
            assert_eq!(slots.admit(ALICE, 1, away).map(drop), expected, "{seen}");
        };
        check(99, Ok(()));
        check(100, Err(RefusalCode::Busy));
        check(149, Err(RefusalCode::Busy));
    }

    #[test]
    fn a_ticket_renews_and_a_draining_builder_refuses() {
        let mut slots = slots(3, &[(ALICE, 1, 1, 100)]);
        let terms = LeaseTerms {
            slots: 1,
            expires: 200,
        };
        slots.present(ALICE, 1, terms, at(99));
        slots.admit(ALICE, 1, at(150)).unwrap();
        slots.drain();
        assert_eq!(slots.admit(ALICE, 1, at(150)), Err(RefusalCode::Draining));
    }

    #[test]
    fn leases_that_ran_out_make_room() {
        let terms = |expires| LeaseTerms { slots: 1, expires };
        let mut slots = Slots::new(1);
        for lease in 0..LEASES as LeaseId {
            assert!(slots.present(ALICE, lease, terms(if lease == 7 { 10 } else { 100 }), at(0)));
        }
        assert!(!slots.present(BOB, 1, terms(100), at(9)));
        assert!(slots.present(BOB, 1, terms(100), at(10)));
        assert!(!slots.knows(ALICE, 7) && slots.knows(ALICE, 8));
    }

    proptest! {
        #[test]
        fn running_never_exceeds_what_is_there(steps in proptest::collection::vec((0_u8..4, 0_u64..3, 0_u64..30), 0..80)) {
            let mut slots = slots(3, &[(ALICE, 0, 2, 20), (ALICE, 1, 2, 25), (BOB, 2, 1, 10)]);
            let mut held = Vec::new();
            for (verb, lease, now) in steps {
                let client = if lease == 2 { BOB } else { ALICE };
                match verb {
                    0 | 1 => held.extend(slots.admit(client, lease, at(now)).ok()),
                    2 => if let Some(slot) = held.pop() { slots.release(slot) },
                    _ => slots.end(lease, now),
                }
                prop_assert_eq!(slots.running() as usize, held.len());
                prop_assert!(held.len() <= 3);
                for (id, most) in [(0, 2), (1, 2), (2, 1)] {
                    prop_assert!(held.iter().filter(|slot| slot.key.1 == id).count() <= most);
                }
            }
        }
    }
}
